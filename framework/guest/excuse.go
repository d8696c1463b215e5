package guest

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/internet"
)

// Terms are what a guest may do and what it finds.
type Terms struct {
	Hosts   *internet.Hosts
	Clients []egress.Client
	// OwnPolicy says that the mesh is not REGISTRY_ONLY, so that the run sets it for its own namespaces
	// with a Sidecar.
	OwnPolicy bool
	// Files are the fixtures that cases name.
	Files fs.FS
}

var addressRE = regexp.MustCompile(`\b\d{1,3}(?:\.\d{1,3}){3}(?:/\d{1,2})?\b`)

// Excuse says why a case cannot run on somebody else's cluster; "" if it can.
func (t Terms) Excuse(c egress.Case) string {
	if c.Alone() || len(c.Ground) > 0 {
		return "it changes what the whole mesh sees, and this cluster belongs to somebody else"
	}
	text, err := t.text(c)
	if err != nil {
		return err.Error()
	}
	for _, n := range c.Clients() {
		i := slices.IndexFunc(t.Clients, func(x egress.Client) bool { return x.Name == n })
		if i < 0 {
			continue
		}
		x := t.Clients[i]
		if x.Manifest != "sleep.yaml" || x.Injection == egress.ManualInjection {
			return fmt.Sprintf("client %s needs an image or a program that only the harness's own clusters have", n)
		}
		for name, a := range x.Annotations {
			if strings.HasSuffix(name, "/includeOutboundIPRanges") {
				return "the hosts of the internet are pods, so they lie in the cluster's own ranges"
			}
			text += " " + a
		}
	}
	if a := t.address(text); a != "" {
		return fmt.Sprintf("it names the address %s, which no pod can own", a)
	}
	for _, p := range c.Probes {
		if why := t.excuseProbe(p); why != "" {
			return why
		}
	}
	for _, o := range slices.Concat(c.Setup, c.Objects, c.Change) {
		kind, _ := o["kind"].(string)
		meta, _ := o["metadata"].(map[string]any)
		spec, _ := o["spec"].(map[string]any)
		switch {
		case spec["externalName"] != nil:
			return "the cluster's own DNS would have to know the hermetic internet"
		case t.OwnPolicy && kind == "Sidecar":
			return "the mesh is not REGISTRY_ONLY, and the Sidecar that makes the run's namespaces so would meet the case's own"
		case meta["namespace"] != nil:
			return fmt.Sprintf("it makes a %s in namespace %v, which is not the run's", kind, meta["namespace"])
		}
	}
	if strings.Contains(text, `"egress-`) || strings.Contains(text, "/egress-") {
		return "it names a namespace that on this cluster is called otherwise"
	}
	return ""
}

// text is all that a case says, its fixtures included.
func (t Terms) text(c egress.Case) (string, error) {
	b, err := json.Marshal(c)
	for _, f := range c.Fixtures {
		if err != nil {
			break
		}
		var more []byte
		more, err = fs.ReadFile(t.Files, f)
		b = append(b, more...)
	}
	return string(b), err
}

func (t Terms) excuseProbe(p egress.Probe) string {
	if p.Dead {
		return "it needs an address that nobody owns"
	}
	if p.Scheme() == "icmp" {
		return "pods without privileges cannot log echo requests"
	}
	if h, ok := t.Hosts.Find(p.Destination()); ok && (h.Dead || len(h.More) > 0) {
		return fmt.Sprintf("%s is a host that no single pod can play", h.Name)
	}
	return ""
}

// address finds an address of the internet, or a range that holds one.
func (t Terms) address(text string) string {
	for _, m := range addressRE.FindAllString(text, -1) {
		r, err := netip.ParsePrefix(m)
		if err != nil {
			a, err := netip.ParseAddr(m)
			if err != nil {
				continue
			}
			r = netip.PrefixFrom(a, a.BitLen())
		}
		for _, h := range t.Hosts.Hosts {
			if slices.ContainsFunc(append([]netip.Addr{h.Address}, h.More...), r.Masked().Contains) {
				return m
			}
		}
	}
	return ""
}

// Names lists the hosts that cases name.
func (t Terms) Names(cases []egress.Case) []string {
	var all strings.Builder
	for _, c := range cases {
		if text, err := t.text(c); err == nil && t.Excuse(c) == "" {
			all.WriteString(text)
		}
	}
	var out []string
	for _, h := range t.Hosts.Hosts {
		named := slices.ContainsFunc(append([]string{h.Name}, h.Aliases...), func(n string) bool { return strings.Contains(all.String(), n) })
		if named && !h.Dead && len(h.More) == 0 {
			out = append(out, h.Name)
		}
	}
	return out
}
