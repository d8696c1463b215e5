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

// families is the constraint of the harness's own clusters: a host's IPv6 address is one that nobody can call, but for clients
// that have such an address themselves, where the cluster gives them one.
type families struct {
	hosts   *internet.Hosts
	files   fs.FS
	clients []egress.Client
	ipv6    bool // the cluster has it
}

// skipReason says why a case cannot run where a client has no IPv6; "" if it can.
func (f families) skipReason(c egress.Case) (string, error) {
	if why, err := f.dualStack(c); why != "" || err != nil {
		return why, err
	}
	for _, p := range c.Probes {
		h, ok := f.hosts.Find(p.Destination())
		if ok && len(h.Addresses()) > 0 && !slices.ContainsFunc(h.Addresses(), netip.Addr.Is4) && !f.reaches(p.From) {
			return fmt.Sprintf("%s has IPv6 addresses alone, and %s", h.Name, f.lacks(p.From)), nil
		}
	}
	if slices.ContainsFunc(c.Clients(), f.reaches) {
		return "", nil
	}
	text, err := casefile.Text(c, f.files)
	if err != nil {
		return "", err
	}
	for _, r := range internet.Ranges(text) {
		if r.Addr().Is6() && slices.ContainsFunc(f.hosts.Hosts, func(h internet.Host) bool { return h.In(r) }) {
			return fmt.Sprintf("it names %s, an IPv6 address of a host, and %s", r, f.lacks("")), nil
		}
	}
	return "", nil
}

// dualStack says why a case cannot run where no pod has addresses of both families; "" if it can.
func (f families) dualStack(c egress.Case) (string, error) {
	names := c.Clients()
	i := slices.IndexFunc(f.clients, func(k egress.Client) bool { return k.DualStack && slices.Contains(names, k.Name) })
	if f.ipv6 || i < 0 {
		return "", nil
	}
	return fmt.Sprintf("its client %s has addresses of both families (dualStack), and pods here have no IPv6", f.clients[i].Name), nil
}

// reaches says whether a client can call IPv6 addresses.
func (f families) reaches(client string) bool {
	return f.ipv6 && (client == egress.ControlClient || slices.ContainsFunc(f.clients, func(k egress.Client) bool { return k.Name == client && k.DualStack }))
}

// lacks says who has no IPv6: pods at all, or a client, "" for all of a case, that was not given any.
func (f families) lacks(client string) string {
	switch {
	case !f.ipv6:
		return "pods here have no IPv6"
	case client == "":
		return "none of its clients has one (give one dualStack: true)"
	}
	return fmt.Sprintf("client %s has none (give it dualStack: true)", client)
}
