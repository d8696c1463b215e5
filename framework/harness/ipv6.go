package harness

import (
	"fmt"
	"io/fs"
	"net/netip"
	"slices"

	"mesh-egress-conformance/framework/casefile"
	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/internet"
)

// noIPv6 is the constraint of the harness's own clusters: their pods have IPv4 addresses alone, so a host's IPv6
// address is one that nobody can call.
type noIPv6 struct {
	hosts *internet.Hosts
	files fs.FS
}

// skipReason says why a case cannot run where pods have no IPv6; "" if it can.
func (n noIPv6) skipReason(c egress.Case) (string, error) {
	for _, p := range c.Probes {
		h, ok := n.hosts.Find(p.Destination())
		if ok && len(h.Addresses()) > 0 && !slices.ContainsFunc(h.Addresses(), netip.Addr.Is4) {
			return fmt.Sprintf("%s has IPv6 addresses alone, and pods here have none", h.Name), nil
		}
	}
	text, err := casefile.Text(c, n.files)
	if err != nil {
		return "", err
	}
	for _, r := range internet.Ranges(text) {
		if r.Addr().Is6() && slices.ContainsFunc(n.hosts.Hosts, func(h internet.Host) bool { return h.In(r) }) {
			return fmt.Sprintf("it names %s, an IPv6 address of a host, and pods here have no IPv6", r), nil
		}
	}
	return "", nil
}
