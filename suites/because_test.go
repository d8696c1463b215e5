package suites_test

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"

	"mesh-egress-conformance/fixtures"
	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/fixture"
	"mesh-egress-conformance/framework/internet"
	"mesh-egress-conformance/framework/why"
	"mesh-egress-conformance/suites"
)

var (
	namesNothing = regexp.MustCompile(`^no ServiceEntry or Service of the case names ([^,(]+)`)
	// settled are statements that leave nothing else open: one entry, the call's own host and port, and no word of anything else.
	settled = regexp.MustCompile(`^ServiceEntry \S+ names ([^ ,]+) and has port \d+ \(\S+\)$`)
	closed  = regexp.MustCompile(`^no ServiceEntry or Service of the case names [^,(]+, and the outbound policy is REGISTRY_ONLY$`)
)

// What is said of why a case expects an outcome agrees with what its objects are and with what it expects.
func TestReasonsAreTrue(t *testing.T) {
	cases, clients, err := suites.Load()
	if err != nil {
		t.Fatal(err)
	}
	hosts, err := internet.DefaultHosts()
	if err != nil {
		t.Fatal(err)
	}
	nothing, opened, shut := 0, 0, 0
	for _, c := range cases {
		c = c.On("1.31")
		var files []egress.Object
		for _, f := range c.Fixtures {
			objs, err := fixture.Load(t.Context(), fixtures.FS, f)
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range objs {
				files = append(files, o.Object)
			}
		}
		said := why.World{Clients: clients, Hosts: hosts}.Expected(c, files)
		for _, ph := range c.Phases() {
			there := standing(c, files, ph)
			for i, p := range c.Probes {
				at := fmt.Sprintf("%s, phase %s, %s", c.Name, ph, p)
				if len(said[ph]) != len(c.Probes) || len(said[ph][i]) == 0 {
					t.Errorf("%s: nothing is said of why", at)
					continue
				}
				for _, r := range said[ph][i] {
					m := namesNothing.FindStringSubmatch(r.String())
					if m == nil {
						continue
					}
					for _, name := range strings.Split(m[1], " or ") {
						nothing++
						for _, o := range there {
							if hasHost(o, strings.TrimSpace(name)) {
								t.Errorf("%s: %q, and %v has it", at, r, o["metadata"])
							}
						}
					}
				}
				if len(said[ph][i]) > 1 {
					continue
				}
				one, want := said[ph][i][0].String(), p.Wants[ph]
				if settled.MatchString(one) {
					opened++
					if want&^egress.Blocked == 0 {
						t.Errorf("%s: %q, and it is to be %s", at, one, want)
					}
				}
				if closed.MatchString(one) && c.Policy == "" {
					shut++
					if want&^(egress.Reached|egress.Open|egress.Cut) == 0 {
						t.Errorf("%s: %q, and it is to be %s", at, one, want)
					}
				}
			}
		}
	}
	// The patterns follow the words of the statements: where these change, they must not go on finding nothing.
	const many = 100
	if nothing < many || opened < many || shut < many {
		t.Errorf("%d statements that nothing has a name, %d that settle a call as open, %d as closed: fewer than there should be", nothing, opened, shut)
	}
}

// standing are the objects of a phase, found otherwise than by what is tested.
func standing(c egress.Case, files []egress.Object, ph egress.Phase) []egress.Object {
	id := func(o egress.Object) string {
		meta, _ := o["metadata"].(map[string]any)
		return fmt.Sprint(o["kind"], "/", meta["name"], "/", meta["namespace"])
	}
	there := map[string]egress.Object{}
	put := func(objs []egress.Object) {
		for _, o := range objs {
			there[id(o)] = o
		}
	}
	put(c.Setup)
	if ph == egress.Applied || ph == egress.Changed {
		put(files)
		put(c.Objects)
	}
	if ph == egress.Changed {
		for k := range there {
			if slices.ContainsFunc(c.Delete, func(d string) bool { return strings.HasPrefix(k, d+"/") }) {
				delete(there, k)
			}
		}
		put(c.Change)
	}
	var out []egress.Object
	for _, o := range there {
		out = append(out, o)
	}
	return out
}

// hasHost says whether a ServiceEntry or a Service has a name, by other means than what is tested.
func hasHost(o egress.Object, name string) bool {
	meta, _ := o["metadata"].(map[string]any)
	spec, _ := o["spec"].(map[string]any)
	switch o["kind"] {
	case "Service":
		return name == meta["name"] || strings.HasPrefix(name, fmt.Sprint(meta["name"], ".")) && strings.HasSuffix(name, ".svc.cluster.local")
	case "ServiceEntry":
	default:
		return false
	}
	hosts, _ := spec["hosts"].([]any)
	for _, h := range hosts {
		pattern := "(?i)^" + strings.ReplaceAll(regexp.QuoteMeta(fmt.Sprint(h)), `\*`, ".+") + `\.?$`
		if regexp.MustCompile(pattern).MatchString(name) {
			return true
		}
	}
	ip, err := netip.ParseAddr(name)
	addresses, _ := spec["addresses"].([]any)
	for _, a := range addresses {
		if one, bad := netip.ParseAddr(fmt.Sprint(a)); err == nil && bad == nil && one == ip {
			return true
		}
		if many, bad := netip.ParsePrefix(fmt.Sprint(a)); err == nil && bad == nil && many.Contains(ip) {
			return true
		}
	}
	return false
}
