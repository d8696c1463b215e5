package snapshot

import (
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"

	"mesh-egress-conformance/framework/verify"
)

// The role for asking in place has what is read, what is made and removed, and nothing else; the documentation has it as it is printed.
func TestInPlaceRole(t *testing.T) {
	given := map[string]bool{}
	for _, r := range InPlaceRole().Rules {
		for _, res := range r.Resources {
			for _, v := range r.Verbs {
				given[v+" "+r.APIGroups[0]+"/"+res] = true
			}
		}
	}
	needed := map[string]bool{"list /events": true, "list admissionregistration.k8s.io/mutatingwebhookconfigurations": true, "get /namespaces": true}
	for _, x := range append(verify.Resources(), verify.InPlaceResources()...) {
		needed["list "+x.Group+"/"+x.Name] = true
	}
	for _, a := range Actions() {
		for _, v := range a.Verbs {
			needed[v+" /"+a.Resource] = true
		}
	}
	if !reflect.DeepEqual(given, needed) {
		t.Errorf("given %v\nneeded %v", given, needed)
	}
	for x := range given {
		verb, what, _ := strings.Cut(x, " ")
		if what == "/secrets" || slices.Contains([]string{"create", "delete", "patch", "update"}, verb) && !slices.Contains([]string{"/pods", "/configmaps", "/namespaces", "/pods/exec", "/pods/portforward"}, what) {
			t.Errorf("it allows %s", x)
		}
	}
	role := InPlaceRoleYAML()
	var read rbacv1.ClusterRole
	if err := yaml.UnmarshalStrict(role, &read); err != nil || !reflect.DeepEqual(&read, InPlaceRole()) {
		t.Errorf("%v, read as %v", err, read)
	}
	doc, err := os.ReadFile("../../docs/verify.md")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(role)), "\n")
	reading := strings.Split(strings.TrimSpace(string(RoleYAML())), "\n")
	for _, l := range lines {
		if !slices.Contains(reading, l) && !strings.Contains(string(doc), l+"\n") {
			t.Errorf("docs/verify.md lacks the rule\n%s", l)
		}
	}
}

// All that is missing is named at once, and nothing is read before.
func TestInPlaceForbidden(t *testing.T) {
	a := newAPI(t, production)
	a.forbidden = []string{"list pods in the whole cluster", "create pods in the whole cluster", "delete configmaps in the whole cluster", "get pods/log in the whole cluster", "list policy/poddisruptionbudgets in the whole cluster"}
	o := prod()
	o.InPlace = true
	_, err := Take(t.Context(), a.start(), o)
	if err == nil {
		t.Fatal("no error")
	}
	wantLines(t, err.Error(), append(slices.Clone(a.forbidden), "--print-role --in-place", "nothing was made")...)
	if n := strings.Count(err.Error(), "\n  "); n != len(a.forbidden) {
		t.Errorf("%d missing: %v", n, err)
	}
	if slices.ContainsFunc(a.asked, func(q string) bool { return strings.HasPrefix(q, "GET") }) {
		t.Errorf("something was read before: %v", a.asked)
	}
}

// What takes notice of pods is read too.
func TestInPlaceTake(t *testing.T) {
	a := newAPI(t, production+"\n---\napiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {name: cart, namespace: shop}\nspec: {selector: {matchLabels: {app: cart}}}\n")
	o := prod()
	o.InPlace = true
	s, err := Take(t.Context(), a.start(), o)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, x := range s.Set.Objects {
		got = append(got, x.String())
	}
	if !slices.Contains(got, "PodDisruptionBudget shop/cart") {
		t.Errorf("%v", got)
	}
}
