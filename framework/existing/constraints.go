package existing

import (
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"mesh-egress-conformance/framework/casefile"
	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/internet"
)

// Constraints are what a run may do on an existing cluster, and what it finds there.
type Constraints struct {
	Hosts   *internet.Hosts
	Clients []egress.Client
	// OwnPolicy says that the mesh is not REGISTRY_ONLY, so that the run sets it for its own namespaces
	// with a Sidecar.
	OwnPolicy bool
	// Live says that cases call the real internet, and not pods that play it.
	Live bool
	// OwnIstio says that the run has installed the cluster's Istio, and may put further istiods beside it.
	OwnIstio bool
	// Files are the fixtures that cases name.
	Files fs.FS
	// Beyond says of cases, by name, which of their objects would not lie in the run's own namespaces; see Outside.
	Beyond map[string][]string
}

// SkipReason says why a case cannot run on somebody else's cluster; "" if it can. An error means that a fixture cannot be
// read, which is no reason to skip.
func (t Constraints) SkipReason(c egress.Case) (string, error) {
	text, err := casefile.Text(c, t.Files)
	if err != nil {
		return "", err
	}
	return t.skipReason(c, text), nil
}

func (t Constraints) skipReason(c egress.Case, text string) string {
	if c.ChangesMesh() || len(c.BaseMeshConfig) > 0 {
		return "it changes what the whole mesh sees, and this cluster belongs to somebody else"
	}
	for _, n := range c.Clients() {
		i := slices.IndexFunc(t.Clients, func(x egress.Client) bool { return x.Name == n })
		if i < 0 {
			continue
		}
		x := t.Clients[i]
		if x.Revision != "" && !t.OwnIstio {
			return fmt.Sprintf("client %s needs an istiod of its own (revision %s), and the cluster's Istio belongs to somebody else; where there is none, --allow-install lets the run install both", n, x.Revision)
		}
		if x.Manifest != "sleep/sleep.yaml" || x.Injection == egress.ManualInjection {
			return fmt.Sprintf("client %s needs an image or a program that only the harness's own clusters have", n)
		}
		for name, a := range x.Annotations {
			if !t.Live && strings.HasSuffix(name, "/includeOutboundIPRanges") {
				return "the hosts of the internet are pods, so they lie in the cluster's own ranges"
			}
			text += " " + a
		}
	}
	if a := t.address(text); a != "" && !t.Live {
		return fmt.Sprintf("it names the address %s, which no pod can own", a)
	}
	if why := t.unplayed(c); why != "" && !t.Live {
		return why
	}
	for _, o := range slices.Concat(c.Setup, c.Objects, c.Change) {
		kind, _ := o["kind"].(string)
		spec, _ := o["spec"].(map[string]any)
		switch {
		case spec["externalName"] != nil && !t.Live:
			return "the cluster's own DNS would have to know the hermetic internet"
		case t.OwnPolicy && kind == "Sidecar":
			return "the mesh is not REGISTRY_ONLY, and the Sidecar that makes the run's namespaces so would meet the case's own"
		}
	}
	if beyond := t.Beyond[c.Name]; len(beyond) > 0 {
		return strings.Join(beyond, "; ")
	}
	if strings.Contains(text, `"egress-`) || strings.Contains(text, "/egress-") {
		return "it names a namespace that on this cluster is called otherwise"
	}
	return ""
}

// unplayed says what a case asks of the internet that pods cannot play.
func (t Constraints) unplayed(c egress.Case) string {
	var called []string
	for _, p := range c.Probes {
		switch {
		case p.Dead:
			return "it needs an address that nobody owns"
		case p.Protocol().Privileged:
			return "pods without privileges cannot log echo requests"
		}
		called = append(called, p.Destination())
		called = slices.AppendSeq(called, maps.Values(p.ArrivesAt))
		for _, spread := range p.Spread {
			called = append(called, spread.Hosts()...)
		}
	}
	for _, answers := range c.DNS {
		called = slices.AppendSeq(called, maps.Values(answers))
	}
	slices.Sort(called)
	for _, n := range called {
		if h, ok := t.Hosts.Find(n); ok && h.NoPod() != "" {
			return fmt.Sprintf("%s is a host that no single pod can play: %s", h.Name, h.NoPod())
		}
	}
	return ""
}

// address finds an address of the internet, or a range that holds one.
func (t Constraints) address(text string) string {
	for _, r := range internet.Ranges(text) {
		if slices.ContainsFunc(t.Hosts.Hosts, func(h internet.Host) bool { return h.In(r) }) {
			return r.String()
		}
	}
	return ""
}

// Names lists the hosts that cases name.
func (t Constraints) Names(cases []egress.Case) []string {
	var all strings.Builder
	for _, c := range cases {
		if text, err := casefile.Text(c, t.Files); err == nil && t.skipReason(c, text) == "" {
			all.WriteString(text)
		}
	}
	var out []string
	for _, h := range t.Hosts.Hosts {
		if h.NamedIn(all.String()) && h.NoPod() == "" {
			out = append(out, h.Name)
		}
	}
	return out
}
