package verify

import (
	"slices"
	"strings"
	"testing"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/internet"
	"mesh-egress-conformance/framework/why"
)

// safeOf is the outside of a text that may be asked in place, and what is not asked.
func safeOf(t *testing.T, s Safe, e *Expectations, text string) (*Model, *Outside, []Unasked) {
	t.Helper()
	base, err := internet.DefaultHosts()
	if err != nil {
		t.Fatal(err)
	}
	m, _ := inPlaceModel(t, cart+text)
	all, err := NewOutside(base, e, m)
	if err != nil {
		t.Fatal(err)
	}
	o, left := all.Safe(m, s)
	return m, o, left
}

func TestSafe(t *testing.T) {
	tls := "ports: [{number: 443, name: tls, protocol: TLS}]"
	expects := func(to string) *Expectations {
		return &Expectations{Allow: []Allow{{From: []string{"*"}, To: []string{to}}}}
	}
	const strangers = "https://unregistered.example http://unregistered.example"
	for name, x := range map[string]struct {
		s        Safe
		expected *Expectations
		text     string
		want     string // in its order, each with how it is asked
	}{
		"a host":                  {Safe{}, nil, entryText("a", "hosts: [api.example], "+tls), "https://api.example"},
		"of HTTP":                 {Safe{}, nil, entryText("a", "hosts: [api.example], ports: [{number: 80, protocol: HTTP}]"), "http://api.example"},
		"of bytes":                {Safe{}, nil, entryText("a", "hosts: [db.example], resolution: DNS, ports: [{number: 5432, protocol: TCP}, {number: 3306, protocol: MYSQL}]"), "tcp://db.example:3306 (bare) tcp://db.example:5432 (bare)"},
		"of TLS at any port":      {Safe{}, nil, entryText("a", "hosts: [kafka.example], ports: [{number: 9093, protocol: TLS}]"), "https://kafka.example:9093 (tls://kafka.example:9093)"},
		"of HTTPS at any port":    {Safe{}, nil, entryText("a", "hosts: [api.example], ports: [{number: 8443, protocol: HTTPS}]"), "https://api.example:8443"},
		"of datagrams":            {Safe{}, nil, entryText("a", "hosts: [dns.example], ports: [{number: 53, protocol: UDP}]"), ""},
		"of gRPC":                 {Safe{}, nil, entryText("a", "hosts: [api.example], ports: [{number: 8080, protocol: GRPC}]"), ""},
		"a wildcard":              {Safe{}, nil, entryText("a", `hosts: ["*.example.com"], `+tls), ""},
		"and a name below it":     {Safe{}, expects("https://www.example.com"), entryText("a", `hosts: ["*.example.com"], `+tls), "https://www.example.com"},
		"a wildcard is expected":  {Safe{}, expects("https://*.example.com"), "", ""},
		"a name like the sample":  {Safe{}, nil, entryText("a", `hosts: ["*.example.com"], `+tls) + entryText("b", "hosts: [any.example.com], "+tls), "https://any.example.com"},
		"a range":                 {Safe{}, nil, entryText("a", "hosts: [x.internal.example], addresses: [203.0.113.0/28], resolution: NONE, ports: [{number: 5432, protocol: TCP}]"), "tcp://x.internal.example:5432 (bare)"},
		"an address":              {Safe{}, nil, entryText("a", "hosts: [x.internal.example], addresses: [203.0.113.77], resolution: NONE, ports: [{number: 5432, protocol: TCP}]"), "tcp://203.0.113.77:5432 (bare) tcp://x.internal.example:5432 (bare)"},
		"an address of the mesh":  {Safe{}, nil, entryText("a", "hosts: [x.internal.example], addresses: [203.0.113.77], resolution: DNS, ports: [{number: 5432, protocol: TCP}]"), "tcp://x.internal.example:5432 (bare)"},
		"inside":                  {Safe{}, nil, entryText("a", "hosts: [vm.example], location: MESH_INTERNAL, "+tls), ""},
		"a name of the mesh":      {Safe{}, nil, entryText("a", "hosts: [db], addresses: [203.0.113.77], resolution: NONE, ports: [{number: 5432, protocol: TCP}]"), "tcp://203.0.113.77:5432 (bare)"},
		"datagrams are expected":  {Safe{}, expects("udp://a.example:53"), "", ""},
		"bytes are expected":      {Safe{}, expects("tcp://a.example:22"), "", "tcp://a.example:22 (bare)"},
		"an address is expected":  {Safe{}, expects("http://203.0.113.9"), "", "http://203.0.113.9"},
		"a request is expected":   {Safe{}, expects("https://a.example:8443"), "", "https://a.example:8443"},
		"a lie is expected":       {Safe{}, &Expectations{Allow: []Allow{{From: []string{"*"}, To: []string{"https://a.example"}, As: "b.example"}}}, "", ""},
		"a stranger":              {Safe{Stranger: "example.com"}, nil, "", "https://example.com"},
		"a stranger that is none": {Safe{Stranger: "api.example"}, nil, entryText("a", "hosts: [api.example], "+tls), "https://api.example"},

		"stand-ins":                {Safe{StandIns: true}, nil, entryText("a", "hosts: [api.example], "+tls), "https://api.example " + strangers},
		"of an address":            {Safe{StandIns: true}, nil, entryText("a", "hosts: [api.example], addresses: [203.0.113.77], "+tls), strangers},
		"of endpoints":             {Safe{StandIns: true}, nil, entryText("a", "hosts: [api.example], resolution: STATIC, endpoints: [{address: 203.0.113.77}], "+tls), strangers},
		"of endpoints with names":  {Safe{StandIns: true}, nil, entryText("a", "hosts: [api.example], resolution: DNS, endpoints: [{address: one.example}], "+tls), "https://api.example " + strangers},
		"an address that is asked": {Safe{StandIns: true}, expects("http://203.0.113.9"), "", strangers},
		"by a gateway": {
			Safe{StandIns: true}, nil, entryText("a", "hosts: [api.example], "+tls) + "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v, namespace: shop}\nspec: {hosts: [api.example], tls: [{match: [{port: 443, sniHosts: [api.example]}], route: [{destination: {host: istio-egressgateway.istio-system.svc.cluster.local}}]}]}\n", strangers,
		},
		"by a gateway, for real": {
			Safe{}, nil, entryText("a", "hosts: [api.example], "+tls) + "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v, namespace: shop}\nspec: {hosts: [api.example], tls: [{route: [{destination: {host: istio-egressgateway.istio-system.svc.cluster.local}}]}]}\n", "https://api.example",
		},
		"to another host": {
			Safe{StandIns: true}, nil, entryText("a", "hosts: [api.example], ports: [{number: 80, protocol: HTTP}]") + "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v, namespace: shop}\nspec: {hosts: [api.example], http: [{route: [{destination: {host: other.example}}]}]}\n", "http://api.example " + strangers,
		},
	} {
		_, o, left := safeOf(t, x.s, x.expected, x.text)
		var got []string
		for _, q := range o.Questions {
			p, s := q.Probe("c"), q.Key()
			switch {
			case p.Bare:
				s += " (bare)"
			case !strings.HasPrefix(p.URL, q.To):
				s += " (" + p.URL + ")"
			}
			if p.Send != "" || p.Connect != "" || p.SNI != "" {
				t.Errorf("%s: %s sends something, or lies: %+v", name, q.Key(), p)
			}
			got = append(got, s)
		}
		want := strings.ReplaceAll(x.want, " (", "\x00(")
		slices.Sort(got)
		wanted := strings.Fields(want)
		for i := range wanted {
			wanted[i] = strings.ReplaceAll(wanted[i], "\x00", " ")
		}
		slices.Sort(wanted)
		if !slices.Equal(got, wanted) {
			t.Errorf("%s:\n%q, want\n%q", name, got, wanted)
		}
		if o.Blind == x.s.StandIns {
			t.Errorf("%s: blind %t", name, o.Blind)
		}
		for _, u := range left {
			if u.Why == "" || len(u.What) == 0 {
				t.Errorf("%s: %+v is not asked, and nobody knows why", name, u)
			}
		}
	}
}

// Stand-ins play what is called, and what entries lead it to, and nothing else.
func TestPlayers(t *testing.T) {
	m, o, _ := safeOf(t, Safe{StandIns: true}, nil, entryText("a", "hosts: [api.example], resolution: DNS, endpoints: [{address: one.example}], ports: [{number: 443, protocol: TLS}]")+entryText("b", `hosts: ["*.wild.example"], ports: [{number: 443, protocol: TLS}]`))
	got := o.Players(m)
	slices.Sort(got)
	if want := []string{"api.example", "one.example", "unregistered.example"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	for _, name := range got {
		if h, ok := o.Hosts().Find(name); !ok || len(h.Services) == 0 {
			t.Errorf("nobody can play %s", name)
		}
	}
}

// The real outside does not tell what arrived: what goes past the sidecar is proven by an exclusion alone, and where it landed is not said.
func TestBlindAnswers(t *testing.T) {
	line := egress.AccessLog{UpstreamCluster: "outbound|443||api.example", UpstreamHost: "192.0.2.7:443", UpstreamLocal: "10.0.0.1:1"}
	through := egress.ProbeResult{Got: egress.OK, Verdict: egress.Conforms, Observations: []egress.Observation{{Blind: true, Captured: true, Mesh: []egress.AccessLog{line}}}}
	past := egress.ProbeResult{Got: egress.Direct, Verdict: egress.Inconclusive, Why: "no line", Observations: []egress.Observation{{Blind: true, Captured: true, Client: egress.ClientWitness{Remote: "192.0.2.7:443"}}}}
	for name, x := range map[string]struct {
		note  string
		heard egress.ProbeResult
		state State
	}{
		"by the sidecar":       {"", through, Allowed},
		"past it":              {"", past, Unproven},
		"past it, by its port": {`traffic.sidecar.istio.io/excludeOutboundPorts: "443"`, past, Allowed},
		"past it, by a range":  {"traffic.sidecar.istio.io/excludeOutboundIPRanges: 192.0.2.0/24", past, Allowed},
		"by another range":     {"traffic.sidecar.istio.io/excludeOutboundIPRanges: 198.51.100.0/24", past, Unproven},
	} {
		m, _ := inPlaceModel(t, nsShop+deployment("shop", "cart", "app: cart", x.note, "")+entryText("a", "hosts: [api.example], ports: [{number: 443, protocol: TLS}]"))
		base, err := internet.DefaultHosts()
		if err != nil {
			t.Fatal(err)
		}
		all, err := NewOutside(base, nil, m)
		if err != nil {
			t.Fatal(err)
		}
		o, left := all.Safe(m, Safe{})
		if len(o.Questions) != 1 {
			t.Fatalf("%s: %v", name, o.Questions)
		}
		heard := []Heard{{Class: m.Classes(false)[0], Results: []egress.ProbeResult{x.heard}, Around: why.Question{Namespace: "shop", Captured: true}}}
		r := NewReport(m, o, heard)
		a := r.Answers[0]
		if a.State != x.state || a.Landed != "" || a.State == Allowed && a.Encrypted != ByWorkload {
			t.Errorf("%s: %+v", name, a)
		}
		e := &Expectations{Allow: []Allow{{From: []string{"*"}, To: []string{"https://api.example"}, Landed: []string{"api.example"}}}}
		if d, _ := e.Judge(r.Answers); len(d) > 0 {
			t.Errorf("%s: where it landed is not known, and yet: %v", name, d)
		}
		r.InPlace = InPlaceOf("cluster prod", Safe{}, 1, left)
		junit, err := r.JUnit()
		if err != nil || !strings.Contains(string(junit), `name="egress, asked in place of cluster prod"`) {
			t.Errorf("%s: %v %s", name, err, junit)
		}
		sarif, err := r.SARIF(SARIF{Place: func(string) string { return "" }})
		if err != nil || !strings.Contains(string(sarif), "asked in place: cluster prod") {
			t.Errorf("%s: %v %s", name, err, sarif)
		}
		for form, text := range map[string]string{"text": textOf(t, r), "Markdown": string(r.Markdown())} {
			for _, want := range []string{"asked in place: cluster prod, against the real outside", "1 short-lived pods", "not asked: ", "https://unregistered.example as api.example"} {
				if !strings.Contains(text, want) {
					t.Errorf("%s, %s: %q is not in\n%s", name, form, want, text)
				}
			}
		}
		if strings.Contains(textOf(t, r), "no-effect") || slices.ContainsFunc(r.Surprises, func(s Surprise) bool { return s.Name == "no-effect" }) {
			t.Errorf("%s: what was not asked is said to have no effect", name)
		}
	}
}
