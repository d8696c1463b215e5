package verify

import (
	"errors"
	"strings"
	"testing"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/input"
)

func TestCompareVersions(t *testing.T) {
	isAPI := func(c Class, q Question) bool { return q.Kind == Named && c.Members[0].Namespace == "shop" }
	closed := func(c Class, q Question) fate {
		if isAPI(c, q) {
			return fate{}
		}
		return strict(c, q)
	}
	byGateway := func(c Class, q Question) fate {
		f := strict(c, q)
		if isAPI(c, q) {
			f.gateway = "istio-system/gw-55d74b9d84-pqv8q"
		}
		return f
	}
	otherwise := func(c Class, q Question) fate { // blocked as before, by another answer
		if f := strict(c, q); f.got != 0 {
			return f
		}
		return fate{got: egress.S403RBAC}
	}
	unproven := func(r *Report) {
		r.Answers[0].State, r.Answers[0].Unproven = Unproven, "the witnesses do not agree"
	}
	leak := Deviation{Kind: Leak, From: "shop/cart", To: "https://api.example", What: "allowed"}
	for name, x := range map[string]struct {
		there   mesh
		change  func(here, there *Report)
		proof   string // of the one surprise
		says    string // in the text
		exit    int
		partial bool
	}{
		"alike":               {strict, nil, "", "on Istio 1.31 (compared with 1.29)", exitFine, false},
		"blocked otherwise":   {otherwise, nil, "", "", exitFine, false},
		"closed there":        {closed, nil, "shop/cart → https://api.example: in Istio 1.29 blocked (BRST), in Istio 1.31 allowed directly, in TLS of the workload", "ServiceEntry shop/api (standard input:16)", exitFine, false},
		"another way there":   {byGateway, nil, "in Istio 1.29 allowed through istio-system/gw, in TLS of the workload, in Istio 1.31 allowed directly", "", exitFine, false},
		"a leak there":        {strict, func(_, o *Report) { o.Deviations = []Deviation{leak} }, "", "leak: shop/cart → https://api.example: in Istio 1.29: allowed", exitDiffer, false},
		"a leak in both":      {strict, func(r, o *Report) { r.Deviations, o.Deviations = []Deviation{leak}, []Deviation{leak} }, "", "leak: shop/cart → https://api.example: allowed", exitDiffer, false},
		"unproven there":      {strict, func(_, o *Report) { unproven(o) }, "", "fault: in Istio 1.29: 1 answers are unproven", exitFault, true},
		"unproven here":       {strict, func(r, _ *Report) { unproven(r) }, "", "", exitFault, false},
		"refused there alone": {strict, func(_, o *Report) { o.Mistakes = input.Mistakes{{File: "a.yaml", Line: 2, What: "it is refused"}} }, "", "not taken over: a.yaml:2: in Istio 1.29: it is refused", exitFault, true},
		"a fault there":       {strict, func(_, o *Report) { o.Faults = []string{"no push"} }, "", "fault: in Istio 1.29: no push", exitFault, true},
	} {
		here, _, _ := reported(t, basic, strict)
		there, _, _ := reported(t, basic, x.there)
		here.Istio, there.Istio, here.Surprises = "1.31", "1.29", nil
		if x.change != nil {
			x.change(here, there)
		}
		here.Compare(there)
		var proofs []string
		for _, s := range here.Surprises {
			proofs = append(proofs, s.Proof...)
			if s.Name != OtherVersion || len(s.Objects) == 0 {
				t.Errorf("%s: %+v", name, s)
			}
		}
		if got := strings.Join(proofs, "\n"); !strings.Contains(got, x.proof) || (got == "") != (x.proof == "") {
			t.Errorf("%s: %s", name, got)
		}
		if text := textOf(t, here); !strings.Contains(text, x.says) {
			t.Errorf("%s: %q is not in\n%s", name, x.says, text)
		}
		if here.ExitCode() != x.exit || here.Partial() != x.partial {
			t.Errorf("%s: exit %d, partial %t", name, here.ExitCode(), here.Partial())
		}
		for _, d := range here.Deviations[min(1, len(here.Deviations)):] {
			t.Errorf("%s: told twice: %+v", name, d)
		}
	}
}

// What nobody was asked in one of them is no difference, and a version that could not be asked keeps the result from being fine.
func TestNotCompared(t *testing.T) {
	here, _, _ := reported(t, basic, strict)
	there, _, _ := reported(t, registryOnly+nsShop+cart, strict)
	here.Surprises = nil
	here.Compare(there)
	if len(here.Surprises) != 0 {
		t.Errorf("%+v", here.Surprises)
	}
	here.NotAsked("1.28", errors.New("no image"))
	if here.ExitCode() != exitFault || !strings.Contains(textOf(t, here), "Istio 1.28 was not asked: no image") {
		t.Error(textOf(t, here))
	}
}
