// Package check finds what users get wrong in cases before anything runs: hosts that nobody has, fields that do not
// exist, objects that the API server would refuse. It needs no cluster and opens no connection.
//
// A mistake has file, line and what to write instead. A notice is something that is allowed and may be meant otherwise.
package check

import (
	"fmt"
	"io/fs"
	"slices"

	"mesh-egress-conformance/framework/casefile"
	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/input"
	"mesh-egress-conformance/framework/internet"
)

// Environment is what cases may count on.
type Environment struct {
	// Hosts are those of the hermetic internet, to which the folder adds its own; nil does not check hosts, as for the real
	// internet.
	Hosts *internet.Hosts
	// Clients may be named besides those of the folder.
	Clients []egress.Client
	// Manifests has the files that clients are made of; nil does not check them.
	Manifests fs.FS
	// Schemas are those of the custom resources of the Istio version; nil does not check objects of Istio.
	Schemas *Schemas
	// Istio is the version, such as "1.31", whose cases are checked; "" takes all cases as applicable.
	Istio string
	// OthersKinds says that the cluster may have kinds of its own, so that an unknown API group is no mistake.
	OthersKinds bool
}

// rule is one kind of mistake.
type rule struct {
	name, finds string
	look        func(*checker, *casefile.Loaded)
}

// rules are looked at one after another for every case.
var rules = []rule{
	{"names", "two cases of one name", (*checker).names},
	{"clients", "clients that nobody describes", (*checker).clients},
	{"hosts", "hosts that the internet does not have", (*checker).hosts},
	{"ports", "ports that nothing serves, and URLs that lack one", (*checker).ports},
	{"places", "arrivesAt, within and dns that no arrival can match", (*checker).places},
	{"certificates", "names for which the host that they lead to has no certificate", (*checker).certificates},
	{"arrival", "fields that the arrival log does not have", (*checker).arrival},
	{"accessLog", "fields that the access log does not have", (*checker).accessLog},
	{"placeholders", "placeholders that nothing replaces", (*checker).placeholders},
	{"meshConfig", "mesh configuration that Istio does not know", (*checker).meshConfig},
	{"objects", "objects that the API server would refuse", (*checker).objects},
	{"entries", "ServiceEntries that Istio's webhook refuses", (*checker).entries},
	{"protocols", "entries whose protocol is not that of the probe", (*checker).protocols},
	{"delete", "objects that the case deletes and never applies", (*checker).deleted},
	{"namespaces", "objects that no client of the case can see", (*checker).namespaces},
}

// checker is one check of a folder.
type checker struct {
	env      Environment
	known    map[string]egress.Client
	cases    map[string]*casefile.Loaded
	own      []string // groups of custom resources that the folder's own objects define
	mistakes input.Mistakes
	notices  input.Mistakes
}

// Folder finds all mistakes in a folder, those of reading it among them, sorted by file and line.
func Folder(f *casefile.Folder, env Environment) (mistakes, notices input.Mistakes) {
	c := &checker{env: env, known: map[string]egress.Client{}, cases: map[string]*casefile.Loaded{}}
	if env.Hosts != nil {
		var wrong input.Mistakes
		// Without the hosts that do not fit, every probe that calls one would be a mistake too.
		c.env.Hosts, wrong = f.Internet(env.Hosts)
		c.mistakes = append(c.mistakes, wrong...)
		c.clusterRanges(f)
	}
	for _, k := range env.Clients {
		c.known[k.Name] = k
	}
	for _, k := range f.Clients {
		c.client(k)
	}
	for _, l := range f.Loaded {
		c.own = append(c.own, definedGroups(l)...)
	}
	for _, l := range f.Loaded {
		for _, r := range rules {
			r.look(c, l)
		}
	}
	return slices.Concat(f.Mistakes, c.mistakes).Sorted(), slices.Concat(f.Notices, c.notices).Sorted()
}

func (c *checker) mistake(m input.Mistake, remedy string, a ...any) {
	if len(a) > 0 {
		remedy = fmt.Sprintf(remedy, a...)
	}
	m.Remedy = remedy
	c.mistakes = append(c.mistakes, m)
}

// applies says whether a case is about the Istio version that is checked.
func (c *checker) applies(l *casefile.Loaded) bool {
	if c.env.Istio == "" {
		return true
	}
	ok, _ := l.Case.AppliesTo(c.env.Istio)
	return ok
}

func (c *checker) names(l *casefile.Loaded) {
	if other, taken := c.cases[l.Case.Name]; taken {
		c.mistake(l.At(fmt.Sprintf("case %s has the name of another one, in %s:%d", l.Case.Name, other.Case.File, other.Node.Line)),
			"give one of them a name of its own: name: %s-2", l.Case.Name)
		return
	}
	c.cases[l.Case.Name] = l
}

// deleted looks at delete, which names objects as Kind/name.
func (c *checker) deleted(l *casefile.Loaded) {
	var applied []string
	for _, d := range l.Objects {
		if d.Field == "objects" || d.Field == "fixtures" {
			applied = append(applied, text(d.Node, "kind")+"/"+text(d.Node, "metadata", "name"))
		}
	}
	for i, name := range l.Case.Delete {
		if !slices.Contains(applied, name) && !l.Broken {
			c.mistake(l.At(fmt.Sprintf("delete: the case applies no %s", name), "delete", i), "it applies: %s", list(applied))
		}
	}
}

// namespaces tells of rules that are exported to a namespace in which no client of the case lives. That is a claim like
// any other, and often a slip.
func (c *checker) namespaces(l *casefile.Loaded) {
	var live []string
	for _, n := range l.Case.Clients() {
		live = append(live, c.known[n].Namespace)
	}
	for _, d := range l.Objects {
		ns := text(d.Node, "metadata", "namespace")
		to := input.Value(d.Node, "spec", "exportTo")
		if ns == "" || placeholderRE.MatchString(ns) || to == nil || len(to.Content) != 1 || to.Content[0].Value != "." || slices.Contains(live, ns) {
			continue
		}
		c.notices = append(c.notices, input.Mistake{
			File: d.File, Line: to.Line,
			What:   fmt.Sprintf("exportTo \".\" shows this %s to namespace %s alone, and the clients of case %s are in %s", text(d.Node, "kind"), ns, l.Case.Name, list(live)),
			Remedy: "leave the namespace out, export it to \"*\", or name a client of that namespace in clients.yaml",
		})
	}
}

// text is a scalar below a node; "" where there is none.
func text(n *input.Node, path ...any) string {
	if v := input.Value(n, path...); v != nil {
		return v.Value
	}
	return ""
}
