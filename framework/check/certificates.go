package check

import (
	"fmt"
	"slices"
	"strings"

	"mesh-egress-conformance/framework/casefile"
	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/input"
	"mesh-egress-conformance/framework/internet"
)

// certificates looks for probes that call a name which no host has, are led to a host whose certificate lacks it, and
// want an answer nevertheless. The client or its sidecar would refuse the certificate, as is right, and the mesh would be
// blamed for it. Where a probe wants that failure, the missing name is what the case is about.
func (c *checker) certificates(l *casefile.Loaded) {
	if c.env.Hosts == nil {
		return
	}
	for i, p := range l.Case.Probes {
		name := strings.ToLower(nameIn(p.URL))
		if _, known := c.env.Hosts.Find(name); known || name == "" || placeholderRE.MatchString(name) {
			continue
		}
		for _, ph := range l.Case.Phases() {
			if w := p.Wants[ph]; w == 0 || w&^egress.Arrived != 0 {
				continue
			}
			if host, path := c.leads(l, i, name, ph); c.lacks(host, name) && (verifies(p) || p.Protocol().Status && !speaksTLS(p) && originates(l, name, ph)) {
				c.mistake(l.At(fmt.Sprintf("%s has no certificate for %s, so that probe %d, which wants an answer, cannot get one", host, name, i+1), path...), "%s", c.certify(l, p, name))
				break
			}
		}
	}
}

// nameIn is the name in a URL, whatever is dialled in its place.
func nameIn(url string) string { return targetOf(egress.Probe{URL: url}).host }

// verifies says whether the client itself looks at the certificate's names, as the probe agent does for a URL with https
// or wss, and curl unless it is told not to.
func verifies(p egress.Probe) bool {
	insecure := slices.ContainsFunc(p.Args, func(a string) bool {
		return a == "--insecure" || len(a) > 1 && a[0] == '-' && a[1] != '-' && strings.Contains(a, "k")
	})
	return (p.Scheme() == "https" || p.Scheme() == "wss") && !insecure
}

// leads is the host at which a probe's name, that no host has, leads in a phase, and the path to what says so; "" for
// none. What a phase says of DNS is valid until the case ends.
func (c *checker) leads(l *casefile.Loaded, probe int, name string, ph egress.Phase) (host string, path []any) {
	p := l.Case.Probes[probe]
	if at := p.ArrivesAt[ph]; at != "" && at != egress.Anywhere {
		host, path = at, l.PathIn(ph, probe, "arrivesAt")
	} else {
		for _, since := range []egress.Phase{egress.Applied, egress.Changed} {
			if to, ok := l.Case.DNS[since][name]; ok && ph >= since {
				host, path = to, []any{"dns", since.String(), name}
			}
		}
	}
	// The control client knows no name but by DNS: it dials what it is told to.
	if p.Connect != "" && p.Server == "" && verifies(p) && !c.lacks(host, name) {
		host, path = targetOf(p).host, []any{"probes", probe, "connect"}
	}
	return host, path
}

// lacks says whether a host, sound otherwise, shows no certificate for a name. One that is wrong on purpose is another matter.
func (c *checker) lacks(host, name string) bool {
	h, known := c.find(host)
	return host != "" && known && h.Certificate == internet.Sound && !h.Certifies(name)
}

// originates says whether the mesh encrypts calls of a name in a phase, by a DestinationRule that has it compare the
// certificate with that name: without sni and subjectAltNames of its own, a sidecar takes the name that was called.
func originates(l *casefile.Loaded, name string, ph egress.Phase) bool {
	in := map[string]bool{"setup": true, "objects": ph == egress.Applied || ph == egress.Changed, "fixtures": ph == egress.Applied || ph == egress.Changed, "change": ph == egress.Changed}
	for _, d := range l.Objects {
		if text(d.Node, "kind") != "DestinationRule" || !strings.EqualFold(text(d.Node, "spec", "host"), name) || !in[d.Field] {
			continue
		}
		// What replaces or removes it is the later word.
		if ph == egress.Changed && d.Field != "change" && len(l.Case.Change)+len(l.Case.Delete) > 0 {
			continue
		}
		if checksName(input.Value(d.Node, "spec")) {
			return true
		}
	}
	return false
}

// checksName says whether a rule has TLS settings anywhere that make a sidecar compare the certificate with the name called.
func checksName(n *input.Node) bool {
	if n == nil {
		return false
	}
	if tls := input.Value(n, "tls"); tls != nil {
		mode := text(tls, "mode")
		names := input.Value(tls, "subjectAltNames")
		if (mode == "SIMPLE" || mode == "MUTUAL") && text(tls, "sni") == "" && (names == nil || len(names.Content) == 0) && text(tls, "insecureSkipVerify") != "true" {
			return true
		}
	}
	return slices.ContainsFunc(n.Content, checksName)
}

// certify says how a name gets a host with a certificate for it.
func (c *checker) certify(l *casefile.Loaded, p egress.Probe, name string) string {
	var first []string
	if slices.Contains(l.Case.Names(), name) {
		first = append(first, "take the name out of dns")
	}
	if p.Connect != "" {
		first = append(first, "leave connect out")
	}
	services := "{port: 443, kind: https}"
	if !p.Protocol().TLS {
		services = "{port: 80, kind: http}, " + services
	}
	return fmt.Sprintf("%s:\nhosts:\n  - {name: %s, services: [%s]}\nor lead it to a host of yours that has it in certificateNames; if that the certificate does not fit is the claim, want CERT where the client speaks TLS, 503UF where its sidecar does",
		strings.Join(append(first, "and add a host to hosts.yaml"), ", "), name, services)
}

// clusterRanges tells of hosts in the ranges that clusters of ours use for pods and Services. They are refused there, and
// possible in somebody else's cluster, which may have other ranges.
func (c *checker) clusterRanges(f *casefile.Folder) {
	for _, h := range f.Hosts {
		for _, m := range input.Lines(".", lines(h.Collides(internet.ClusterRanges()...))) {
			m.What += ", which embedded and kind clusters have for their pods and Services: they refuse such a host"
			m.Remedy = "give it another address or range; in a cluster of yours with other ranges (--kubeconfig) it may stay"
			c.notices = append(c.notices, m)
		}
	}
}

// lines are texts as an error; nil for none.
func lines(texts []string) error {
	if len(texts) == 0 {
		return nil
	}
	return fmt.Errorf("%s", strings.Join(texts, "\n"))
}
