//go:build linux

package embedded

import (
	"os"
	"os/exec"
	"slices"
	"strings"

	"mesh-egress-conformance/framework/egress"
)

// kernelFeatures are what this machine's kernel lets a cluster do besides.
func kernelFeatures() []egress.Feature {
	var out []egress.Feature
	if knows("targets", "TPROXY") || haveModule("xt_TPROXY") {
		out = append(out, egress.TPROXY)
	}
	// What enforces them writes tables of iptables' legacy kind, which not every kernel has.
	if knows("matches", "set") && knows("matches", "physdev") || haveModule("iptable_filter") && haveModule("xt_set") && haveModule("xt_physdev") && haveModule("ip_set_hash_net") {
		out = append(out, egress.NetworkPolicy)
	}
	return out
}

// knows says whether the kernel has an extension of iptables. A module that nobody has used yet it does not tell of: that is
// loaded by the first rule that needs it.
func knows(kind, name string) bool {
	known, err := os.ReadFile("/proc/net/ip_tables_" + kind)
	return err == nil && slices.Contains(strings.Fields(string(known)), name)
}

// haveModule says whether a kernel module is loaded or can be.
func haveModule(name string) bool {
	if _, err := os.Stat("/sys/module/" + name); err == nil {
		return true
	}
	return exec.Command("modprobe", "-n", name).Run() == nil //nolint:noctx // answers at once
}
