package verify

import (
	"os"
	"slices"
	"strings"
	"testing"

	"mesh-egress-conformance/framework/egress"
)

// inputOf is the text of a surprise's input, or of its twin, in which it is not found. scripts/verify-verify.sh asks a real mesh
// of them.
func inputOf(t *testing.T, name, side string) string {
	t.Helper()
	b, err := os.ReadFile("testdata/surprises/" + name + "/" + side + ".yaml")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestEverySurpriseHasItsInput(t *testing.T) {
	entries, err := os.ReadDir("testdata/surprises")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range SurpriseNames() {
		for _, side := range []string{"found", "twin"} {
			if m := modelOf(t, inputOf(t, name, side)); len(m.Mistakes) > 0 {
				t.Errorf("%s, %s: %v", name, side, m.Mistakes)
			}
		}
	}
	for _, e := range entries {
		if !slices.Contains(SurpriseNames(), kindOf(e.Name())) {
			t.Errorf("no surprise is called %s", e.Name())
		}
	}
}

// kindOf is the surprise that an input is for: a kind may have several, whose names go on after an @.
func kindOf(input string) string {
	kind, _, _ := strings.Cut(input, "@")
	return kind
}

// everything says that all that is not in shop, and all that nobody names, comes out alike.
func everything(f fate) mesh {
	return func(_ Class, q Question) fate {
		if q.speech.scheme == "udp" {
			return fate{got: egress.Direct}
		}
		return f
	}
}

// or answers what a case has an own word on, and otherwise as strict does.
func or(says mesh) mesh {
	return func(c Class, q Question) fate {
		if f := says(c, q); f.got != 0 {
			return f
		}
		return strict(c, q)
	}
}

// Each kind is found where the mesh comes out as it did for its input, and not where it came out as for the twin.
func TestSurprises(t *testing.T) {
	byEntry := func(q Question) string { return "outbound|" + port(q) + "||" }
	for name, x := range map[string]struct {
		found, twin mesh
		bare        bool // the workloads of shop have no sidecar where it is found
	}{
		"allow-any": {everything(fate{got: egress.Pass}), strict, false},
		"sidecar-loosens": {or(func(c Class, q Question) fate {
			return map[bool]fate{true: {got: egress.Pass}}[c.Members[0].Namespace == "shop"]
		}), strict, false},
		"no-sidecar": {everything(fate{got: egress.Direct}), strict, true},
		"excluded": {or(func(c Class, q Question) fate {
			return map[bool]fate{true: {got: egress.Direct}}[q.Port == 5432 && c.Members[0].Namespace == "shop"]
		}), strict, false},
		"trusts-name": {or(func(_ Class, q Question) fate {
			return map[bool]fate{true: {got: egress.OK, tls: true, cluster: byEntry(q) + "*.cdn.example"}}[q.Kind == Lie]
		}), strict, false},
		"swallows-port": {or(func(_ Class, q Question) fate {
			return map[bool]fate{true: {got: egress.OK, landed: "queue.example", cluster: byEntry(q) + "queue.example"}}[q.Port == 5672]
		}), strict, false},
		"visible-beyond": {func(_ Class, q Question) fate {
			return map[bool]fate{true: {got: egress.OK, tls: true}}[q.Kind == Named]
		}, strict, false},
		"entries-fight": {strict, strict, false},
		"around-gateway": {or(func(_ Class, q Question) fate {
			return map[bool]fate{true: {got: egress.OK, gateway: "istio-system/istio-egressgateway-55d74b9d84-pqv8q"}}[q.Kind == Named && q.Port == 80]
		}), or(func(_ Class, q Question) fate {
			return map[bool]fate{true: {got: egress.OK, gateway: "istio-system/istio-egressgateway-55d74b9d84-pqv8q"}}[q.Kind == Named && q.Port == 80]
		}), false},
		"tls-unverified": {strictTLS, strictTLS, false},
		"plain-for-some": {func(c Class, q Question) fate {
			return map[bool]fate{true: {got: egress.OK, tls: c.Members[0].Namespace == "shop"}}[q.Kind == Named]
		}, func(_ Class, q Question) fate {
			return map[bool]fate{true: {got: egress.OK, tls: true}}[q.Kind == Named]
		}, false},
		"http-on-tls-port": {func(c Class, q Question) fate {
			return map[bool]fate{true: {got: egress.OK}}[q.Kind == Named && q.speech.scheme == "http" && c.Members[0].Namespace == "shop"]
		}, strict, false},
		"double-tls": {or(func(_ Class, q Question) fate {
			return map[bool]fate{true: {got: egress.DoubleTLS, tls: true, arrives: true, cluster: byEntry(q) + "bank.example"}}[q.Kind == Named && q.speech.scheme == "https"]
		}), strictTLS, false},
		"port-name":         {strict, strict, false},
		"no-effect":         {func(Class, Question) fate { return fate{} }, strict, false},
		"no-effect@gateway": {byGateway("DestinationRule shop/tls"), byGateway("DestinationRule shop/tls"), false},
	} {
		for side, says := range map[string]mesh{"found": x.found, "twin": x.twin} {
			_, m, o := reported(t, inputOf(t, name, side), says)
			heard := hear(t, m, o, says)
			for i, h := range heard {
				h.Around.Captured = !x.bare || side != "found" || h.Class.Members[0].Namespace != "shop"
				heard[i] = h
			}
			r := NewReport(m, o, heard)
			var found []Surprise
			for _, s := range r.Surprises {
				if s.Name == kindOf(name) {
					found = append(found, s)
				}
			}
			switch {
			case side == "twin" && len(found) > 0:
				t.Errorf("%s was found in its twin: %+v", name, found)
			case side == "found" && len(found) == 0:
				t.Errorf("%s was not found; there are %d others", name, len(r.Surprises))
			}
			for _, s := range found {
				if s.Title == "" || s.Why == "" || s.Remedy == "" || len(s.Proof) == 0 || len(s.Objects) == 0 || !strings.Contains(bySources(s.Objects), "standard input:") {
					t.Errorf("%s does not say all of it: %+v", name, s)
				}
			}
		}
	}
}

// byGateway is a mesh whose egress gateway sends on by a rule, which makes TLS.
func byGateway(rule string) mesh {
	return or(func(_ Class, q Question) fate {
		return map[bool]fate{true: {
			got: egress.OK, tls: true, cluster: "outbound|443|api|istio-egressgateway.istio-system.svc.cluster.local",
			gateway: "istio-system/istio-egressgateway-55d74b9d84-pqv8q", sends: "outbound|80||api.example", rule: rule,
		}}[q.Kind == Named && q.Port == 80]
	})
}

// A rule by which a gateway alone goes is told, and has an effect; of two, the other one has none. Where nobody knows what the gateway
// has, nothing is said of either.
func TestRulesOfGateways(t *testing.T) {
	for rule, want := range map[string]string{"DestinationRule shop/tls": "DestinationRule istio-system/tls", "DestinationRule istio-system/tls": "DestinationRule shop/tls", "": ""} {
		r, _, _ := reported(t, inputOf(t, "no-effect@gateway", "found"), byGateway(rule))
		var none []string
		for _, s := range r.Surprises {
			if s.Name == "no-effect" && strings.HasSuffix(s.Objects[0].Object, "/tls") {
				none = append(none, s.Objects[0].Object)
			}
		}
		if strings.Join(none, " ") != want {
			t.Errorf("the gateway goes by %q: no effect has %v, want %s", rule, none, want)
		}
		for _, a := range r.Answers {
			if a.Via == "istio-system/istio-egressgateway" && rule != "" && (!strings.Contains(bySources(a.By), rule+" (standard input:") || a.Encrypted != ByGateway) {
				t.Errorf("the gateway's rule %s is not told: %s, TLS by %s", rule, bySources(a.By), a.Encrypted)
			}
		}
	}
}

// strictTLS is strict in a mesh that makes TLS.
func strictTLS(c Class, q Question) fate {
	f := strict(c, q)
	f.tls = true
	return f
}

// What was not proven is no proof of anything: neither that an object has no effect, nor that calls fail.
func TestSurprisesOfTheUnproven(t *testing.T) {
	for _, name := range SurpriseNames() {
		text := inputOf(t, name, "found")
		_, m, o := reported(t, text, strict)
		heard := hear(t, m, o, strict)
		for _, h := range heard {
			for i := range h.Results {
				h.Results[i] = egress.ProbeResult{Verdict: egress.Inconclusive, Why: "too slow"}
			}
		}
		for _, s := range m.Surprises(o, heard, m.Answers(o, heard)) {
			t.Errorf("%s: %+v", name, s)
		}
	}
	nothing := func(Class, Question) fate { return fate{} }
	_, m, o := reported(t, inputOf(t, "no-effect", "found"), nothing)
	heard := hear(t, m, o, nothing)
	at := slices.IndexFunc(o.Questions, func(q Question) bool { return q.Kind == Named })
	heard[len(heard)-1].Results[at] = egress.ProbeResult{Verdict: egress.Inconclusive}
	for _, s := range m.Surprises(o, heard, m.Answers(o, heard)) {
		if s.Name == "no-effect" {
			t.Errorf("the object may decide about the call that was not proven: %+v", s)
		}
	}
}

// Entries of one host fight where some namespace sees both: by what they say, or what the mesh says for those that say nothing.
func TestMeet(t *testing.T) {
	entry := func(ns, exportTo string) string {
		return "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: a, namespace: " + ns + "}\nspec: {hosts: [a.example], " + exportTo + "ports: [{number: 443, protocol: TLS}]}\n"
	}
	mesh := func(exportTo string) string {
		return "---\napiVersion: install.istio.io/v1alpha1\nkind: IstioOperator\nmetadata: {name: mesh}\nspec: {meshConfig: {defaultServiceExportTo: [" + exportTo + "]}}\n"
	}
	for name, x := range map[string]struct {
		text string
		want bool
	}{
		"exported to all":                      {entry("one", "") + entry("two", ""), true},
		"to their own":                         {entry("one", "exportTo: ['.'], ") + entry("two", "exportTo: ['.'], "), false},
		"to their own by default":              {mesh("'.'") + entry("one", "") + entry("two", ""), false},
		"to all by default":                    {mesh("'*'") + entry("one", "") + entry("two", ""), true},
		"to a third by default":                {mesh("three") + entry("one", "") + entry("two", ""), true},
		"one to all, another one by default":   {mesh("'.'") + entry("one", "exportTo: ['*'], ") + entry("two", ""), true},
		"one to the other's, another one none": {mesh("'.'") + entry("one", "exportTo: [two], ") + entry("two", ""), true},
	} {
		r, _, _ := reported(t, x.text, strict)
		if got := slices.ContainsFunc(r.Surprises, func(s Surprise) bool { return s.Name == "entries-fight" }); got != x.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
