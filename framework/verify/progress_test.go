package verify

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/input"
	"mesh-egress-conformance/framework/internet"
	"mesh-egress-conformance/framework/manifest"
)

func progressText(t *testing.T, p Progress) string {
	t.Helper()
	var b strings.Builder
	if err := p.WriteText(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestSince(t *testing.T) {
	ssh := func(c Class, q Question) fate {
		if q.Key() == "tcp://unregistered.example:22" {
			return fate{got: egress.Pass}
		}
		return strict(c, q)
	}
	surprise := Surprise{Name: "allow-any", Title: "everything is let out", Objects: []Source{{"the outbound policy", "m.yaml", 1}}}
	moved := surprise
	moved.Objects, moved.Proof = []Source{{"the outbound policy", "m.yaml", 9}}, []string{"another one"}
	leak := Deviation{Kind: Leak, From: "shop/cart", To: "tcp://unregistered.example:22", What: "allowed"}
	bad := input.Mistake{File: "a.yaml", Line: 3, What: "no"}
	for name, x := range map[string]struct {
		before, after mesh
		change        func(before, after *Report)
		want, never   []string
	}{
		"nothing":                     {strict, strict, nil, []string{"every call comes out as before\n2 workloads"}, nil},
		"a call":                      {strict, ssh, nil, []string{"opens: elsewhere/any, shop/cart → tcp://unregistered.example:22: was blocked"}, []string{"as before"}},
		"a call that is closed again": {ssh, strict, nil, []string{"closes: elsewhere/any, shop/cart → tcp://unregistered.example:22"}, nil},
		"a surprise comes":            {strict, strict, func(_, r *Report) { r.Surprises = append(r.Surprises, surprise) }, []string{"surprise: everything is let out\n  the outbound policy (m.yaml:1)"}, []string{"any more"}},
		"a surprise goes":             {strict, strict, func(r, _ *Report) { r.Surprises = append(r.Surprises, surprise) }, []string{"no surprise any more: everything is let out"}, nil},
		"a surprise is elsewhere in its file": {strict, strict, func(b, r *Report) {
			b.Surprises, r.Surprises = append(b.Surprises, surprise), append(r.Surprises, moved)
		}, []string{"as before"}, []string{"surprise:"}},
		"a leak comes": {strict, strict, func(_, r *Report) { r.Deviations = []Deviation{leak} }, []string{"leak: shop/cart → tcp://unregistered.example:22: allowed"}, nil},
		"a leak goes":  {strict, strict, func(r, _ *Report) { r.Deviations = []Deviation{leak} }, []string{"no leak any more: shop/cart → tcp://unregistered.example:22"}, nil},
		"a mistake":    {strict, strict, func(_, r *Report) { r.Mistakes = input.Mistakes{bad} }, []string{"not taken over: a.yaml:3: no", "partial"}, nil},
		"it is mended": {strict, strict, func(r, _ *Report) { r.Mistakes = input.Mistakes{bad} }, []string{"mended: a.yaml:3: no"}, nil},
		"a fault":      {strict, strict, func(b, r *Report) { b.Faults, r.Faults = []string{"one"}, []string{"one"} }, []string{"fault: one"}, nil},
	} {
		before, _, _ := reported(t, basic, x.before)
		after, _, _ := reported(t, basic, x.after)
		if x.change != nil {
			x.change(before, after)
		}
		text := progressText(t, Since(before, after, nil))
		for _, w := range x.want {
			if !strings.Contains(text, w) {
				t.Errorf("%s: %q is not in\n%s", name, w, text)
			}
		}
		for _, n := range x.never {
			if strings.Contains(text, n) {
				t.Errorf("%s: %q is in\n%s", name, n, text)
			}
		}
	}
}

// A call that only one of the two proofs was asked for is no change; one that was asked in the state before is.
func TestSinceAsksAlike(t *testing.T) {
	more := basic + entryText("more", `hosts: [more.example], exportTo: ["."], resolution: DNS, ports: [{number: 443, name: tls, protocol: TLS}]`)
	before, was, old := reported(t, basic, strict)
	after, is, _ := reported(t, more, strict)
	if p := Since(before, after, nil); len(p.Changes) != 0 {
		t.Errorf("nobody knows what came out before: %+v", p.Changes)
	}
	if p := Since(after, before, nil); len(p.Changes) != 0 {
		t.Errorf("nobody knows what comes out now: %+v", p.Changes)
	}
	base, err := internet.DefaultHosts()
	if err != nil {
		t.Fatal(err)
	}
	both, err := NewOutside(base, nil, is, was)
	if err != nil {
		t.Fatal(err)
	}
	rest := both.Unasked(old)
	if len(rest.Questions) == 0 || len(rest.Questions)+len(old.Questions) != len(both.Questions) || len(both.Unasked(both).Questions) != 0 {
		t.Fatalf("%d questions, %d of them new", len(both.Questions), len(rest.Questions))
	}
	blocked := was.Answers(rest, hear(t, was, rest, func(Class, Question) fate { return fate{} }))
	p := Since(before, after, blocked)
	if len(p.Changes) != 1 || p.Changes[0].Kind != Opens || p.Changes[0].To != "https://more.example" {
		t.Errorf("%+v", p.Changes)
	}
}

// A stand-in keeps the address that was chosen for it, whatever else comes, and nobody's complaint about what is gone stays.
func TestOutsideAgain(t *testing.T) {
	base, err := internet.DefaultHosts()
	if err != nil {
		t.Fatal(err)
	}
	text := func(names ...string) string {
		out := nsShop
		for _, n := range names {
			out += entryText(n, "hosts: ["+n+".example], ports: [{number: 443, protocol: TLS}]")
		}
		return out
	}
	var first, later []string
	for i := range 40 { // more than fit without two wanting one address
		first = append(first, "h"+strings.Repeat("x", i))
		later = append([]string{"new" + strings.Repeat("y", i), first[i]}, later...)
	}
	one, err := NewOutside(base, nil, modelOf(t, text(first...)))
	if err != nil {
		t.Fatal(err)
	}
	two, err := NewOutside(one.all, nil, modelOf(t, text(later...)))
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range first {
		a, _ := one.all.Find(n + ".example")
		b, _ := two.all.Find(n + ".example")
		if !slices.Equal(a.Addresses(), b.Addresses()) || !b.Chosen {
			t.Errorf("%s: %v, then %v", n, a.Addresses(), b.Addresses())
		}
	}
	lacks := nsShop + entryText("a", "hosts: [a.example], addresses: [127.0.0.1], ports: [{number: 1, protocol: TCP}]")
	if o := outsideOf(t, nil, text("b"), lacks); len(o.Lacking) != 0 {
		t.Errorf("%v", o.Lacking)
	}
	if o := outsideOf(t, nil, lacks, text("b")); len(o.Lacking) != 1 {
		t.Errorf("%v", o.Lacking)
	}
}

// An object that the mesh refuses has no effect, which surprises nobody.
func TestRefusedIsNoSurprise(t *testing.T) {
	_, m, o := reported(t, basic, strict)
	nothing := hear(t, m, o, func(Class, Question) fate { return fate{} })
	has := func() bool {
		return slices.ContainsFunc(NewReport(m, o, nothing).Surprises, func(s Surprise) bool { return s.Name == "no-effect" })
	}
	if !has() {
		t.Error("an entry by which no call goes is not told")
	}
	m.Refused(slices.IndexFunc(m.Objects, func(x manifest.Object) bool { return x.Kind() == "ServiceEntry" }), errors.New("no"))
	if has() {
		t.Error("it is told of one that is refused")
	}
}
