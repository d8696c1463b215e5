// Package live says which cases make sense against the real internet, whose hosts have the names that the
// cases use, addresses that nobody here chooses, and no log of what arrives.
package live

import (
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"mesh-egress-conformance/framework/casefile"
	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/internet"
)

// Constraints are what is known of the real internet before cases run.
type Constraints struct {
	// Hosts are those of the hermetic internet; some of them are real.
	Hosts *internet.Hosts
	// Files are the fixtures that cases name.
	Files fs.FS
	// Found has, for each name that was looked up, what the control client found.
	Found map[string]Host
}

// Host is a name of the real internet as the control client found it.
type Host struct {
	Address netip.Addr // at which it answered; the zero address where it did not
	Detail  string
}

// Names lists the real hosts that cases call.
func (t Constraints) Names(cases []egress.Case) []string {
	var out []string
	for _, c := range cases {
		for _, p := range c.Probes {
			n := p.Destination()
			if h, ok := t.Hosts.Find(n); ok && h.Real && !slices.Contains(out, n) {
				out = append(out, n)
			}
		}
	}
	slices.Sort(out)
	return out
}

// SkipReason says why a case makes no sense against the real internet; "" if it does. An error means that a fixture cannot
// be read, which is no reason to skip.
func (t Constraints) SkipReason(c egress.Case) (string, error) {
	text, err := casefile.Text(c, t.Files)
	if err != nil {
		return "", err
	}
	return t.skipReason(c, text), nil
}

func (t Constraints) skipReason(c egress.Case, text string) string {
	for _, h := range t.Hosts.Hosts {
		if !h.Real && h.NamedIn(text) {
			return fmt.Sprintf("%s exists in the hermetic internet alone", h.Name)
		}
	}
	for _, p := range c.Probes {
		if why := t.skipProbe(p); why != "" {
			return why
		}
	}
	return t.skipRanges(c, internet.Ranges(strings.ReplaceAll(text, `\\.`, ".")))
}

func (t Constraints) skipProbe(p egress.Probe) string {
	_, ours := t.Hosts.Find(p.Destination()) // else it is a user's own, who knows what it serves
	switch {
	case ours && p.Scheme() != "" && !p.Protocol().Real:
		return fmt.Sprintf("%s does not speak %s", p.Destination(), p.Scheme())
	case p.Dead:
		return "it needs an address that nobody owns"
	case len(p.Arrival)+len(p.Arrivals)+len(p.ArrivesAt) > 0:
		return "it asks what arrived and where, which no real host tells"
	case p.Provokes() >= 500:
		return "an error that it provokes looks like trouble of the real host's"
	}
	if port := dialled(p); ours && port != "" && port != "80" && port != "443" {
		return fmt.Sprintf("%s does not listen on port %s", p.Destination(), port)
	}
	return ""
}

// dialled is the port that a probe names; "" for none.
func dialled(p egress.Probe) string {
	if p.Connect != "" {
		return p.Connect[strings.LastIndex(p.Connect, ":")+1:]
	}
	u, err := url.Parse(strings.NewReplacer("${", "", "}", "").Replace(p.URL))
	if err != nil {
		return ""
	}
	return u.Port()
}

// skipRanges compares the ranges that a case names with where the real hosts are today: a rule for
// Wikipedia's published ranges says nothing about a Wikipedia that answers from elsewhere.
func (t Constraints) skipRanges(c egress.Case, ranges []netip.Prefix) string {
	for _, r := range ranges {
		for _, h := range t.Hosts.Hosts {
			if h.In(r) && !h.Real {
				return fmt.Sprintf("%s is an address of the hermetic internet alone", r)
			}
		}
	}
	for _, p := range c.Probes {
		h, known := t.Hosts.Find(p.Destination())
		now := t.Found[p.Destination()].Address
		if !known || !now.IsValid() {
			continue
		}
		holds := func(r netip.Prefix) bool { return r.Contains(now) }
		meant := slices.ContainsFunc(ranges, h.In)
		outside := func(cidr string) bool {
			within, err := netip.ParsePrefix(cidr)
			return err != nil || !holds(within.Masked())
		}
		if meant != slices.ContainsFunc(ranges, holds) || slices.ContainsFunc(slices.Collect(maps.Values(p.Within)), outside) {
			return fmt.Sprintf("it is about address ranges, and %s is at %s today", p.Destination(), now)
		}
	}
	return ""
}

// Unreachable says which of a case's hosts the control client cannot reach; "" if there is none. Nothing can
// be proven about the mesh then.
func (t Constraints) Unreachable(c egress.Case) string {
	for _, p := range c.Probes {
		if h, looked := t.Found[p.Destination()]; looked && !h.Address.IsValid() {
			return fmt.Sprintf("the control client cannot reach %s (%s): nothing is proven about the mesh", p.Destination(), h.Detail)
		}
	}
	return ""
}

// Summary is one line on what was found.
func (t Constraints) Summary() string {
	var dead, detail []string
	for n, h := range t.Found {
		if !h.Address.IsValid() {
			dead = append(dead, n)
			detail = append(detail, h.Detail)
		}
	}
	slices.Sort(dead)
	switch {
	case len(dead) == 0:
		return fmt.Sprintf("live; the control client reaches all %d hosts that cases call", len(t.Found))
	case len(dead) == len(t.Found):
		return fmt.Sprintf("live, but the control client reaches none of %s (%s): every case that calls one is inconclusive", strings.Join(dead, ", "), detail[0])
	}
	return fmt.Sprintf("live, but the control client does not reach %s: cases that call them are inconclusive", strings.Join(dead, ", "))
}
