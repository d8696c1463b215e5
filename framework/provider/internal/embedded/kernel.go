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
	known, err := os.ReadFile("/proc/net/ip_tables_targets")
	// A module that nobody has used yet is loaded by the first rule that needs it.
	if err == nil && slices.Contains(strings.Fields(string(known)), "TPROXY") || haveModule("xt_TPROXY") {
		return []egress.Feature{egress.TPROXY}
	}
	return nil
}

// haveModule says whether a kernel module is loaded or can be.
func haveModule(name string) bool {
	if _, err := os.Stat("/sys/module/" + name); err == nil {
		return true
	}
	return exec.Command("modprobe", "-n", name).Run() == nil //nolint:noctx // answers at once
}
