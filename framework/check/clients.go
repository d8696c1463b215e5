package check

import (
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	meshv1alpha1 "istio.io/api/mesh/v1alpha1"

	"mesh-egress-conformance/framework/casefile"
	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/input"
)

// proxyConfig is the annotation with the configuration of a pod's own proxy.
const proxyConfig = "proxy.istio.io/config"

// client looks at a description of a client.
func (c *checker) client(k casefile.Client) {
	bad := func(what, remedy string, path ...any) {
		c.mistake(input.Mistake{File: k.File, Line: input.At(k.Node, path...).Line, What: what}, "%s", remedy)
	}
	if _, twice := c.known[k.Name]; twice {
		bad(fmt.Sprintf("client %q is described twice, or is one of the built-in clients", k.Name), "give it another name", "name")
	}
	c.known[k.Name] = k.Client
	if _, err := egress.RevisionsOf(slices.Collect(maps.Values(c.known))); err != nil && k.Istiod != nil {
		bad(err.Error(), "", "revision")
	}
	if c.env.Manifests != nil {
		if _, err := fs.Stat(c.env.Manifests, k.Manifest); err != nil {
			bad(fmt.Sprintf("client %q: there is no manifest %s", k.Name, k.Manifest), "leave it out for a plain pod with curl and a shell", "manifest")
		}
	}
	config, ok := k.Annotations[proxyConfig]
	if !ok {
		return
	}
	at := input.At(k.Node, "annotations", proxyConfig)
	docs, err := input.Documents(k.File, []byte(config))
	if err != nil || len(docs) != 1 {
		bad(fmt.Sprintf("annotation %s is no YAML document", proxyConfig), "", "annotations", proxyConfig)
		return
	}
	for _, m := range strictProto(docs[0], (&meshv1alpha1.ProxyConfig{}).ProtoReflect().Type()) {
		c.mistake(input.Mistake{File: k.File, Line: at.Line, What: "annotation " + proxyConfig + ": " + m.what}, "%s", m.remedy)
	}
}

// clients looks at every place in which a case names one.
func (c *checker) clients(l *casefile.Loaded) {
	known := slices.Sorted(maps.Keys(c.known))
	look := func(name string, path ...any) {
		if _, ok := c.known[name]; ok || name == "" {
			return
		}
		remedy := fmt.Sprintf("describe it in a file clients.yaml: - {name: %s}; or use one of %s", name, strings.Join(known, ", "))
		if near := input.Near(name, known); near != "" {
			remedy = fmt.Sprintf("did you mean %s? Or %s", near, remedy)
		}
		c.mistake(l.At(fmt.Sprintf("client %q is unknown", name), path...), "%s", remedy)
	}
	for i, p := range l.Case.Probes {
		look(p.From, "probes", i, "from")
		for ph, n := range p.Through {
			look(n, l.PathIn(ph, i, "through")...)
		}
	}
	for i, n := range l.Case.Unchanged {
		look(n, "unchanged", i)
	}
	c.outside(l)
	c.unsuitable(l)
	c.istiods(l)
}

// outside finds cases all of whose clients are without sidecar: no rule of the mesh concerns them.
func (c *checker) outside(l *casefile.Loaded) {
	clients := l.Case.Clients()
	if len(clients) == 0 || slices.ContainsFunc(clients, func(n string) bool {
		k, known := c.known[n]
		return !known || k.Captured()
	}) {
		return
	}
	c.mistake(l.At(fmt.Sprintf("no probe of case %s calls from a client with a sidecar, so that nothing it applies concerns it", l.Case.Name), "probes", 0, "from"), "leave from out in one probe, which means client, or name another client that has one")
}

// istiods finds those that a case sends away and that serve none of its clients.
func (c *checker) istiods(l *casefile.Loaded) {
	var bound []string
	for _, n := range l.Case.Clients() {
		if r := c.known[n].Revision; r != "" && !slices.Contains(bound, r) {
			bound = append(bound, r)
		}
	}
	for ph, revisions := range l.Case.Istiod {
		for name := range revisions {
			if !slices.Contains(bound, name) {
				c.mistake(l.At(fmt.Sprintf("istiod: revision %q serves no client of the case", name), "istiod", ph.String(), name), "probe from a client of clients.yaml that says revision: %s; those of the case's clients are: %s", name, list(bound))
			}
		}
	}
}

// unsuitable finds clients that cannot do what a probe asks of them.
func (c *checker) unsuitable(l *casefile.Loaded) {
	for i, p := range l.Case.Probes {
		k, ok := c.known[p.From]
		if ok && k.Injection == egress.NoInjection && len(p.Counts) > 0 {
			c.mistake(l.At(fmt.Sprintf("counts: client %s has no sidecar", p.From), "probes", i, "counts"), "probe from a client with one, such as client-stats")
		}
	}
}

// list joins names; "nothing" where there is none.
func list(names []string) string {
	if len(names) == 0 {
		return "nothing"
	}
	return strings.Join(names, ", ")
}
