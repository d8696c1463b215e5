package existing

import (
	"os"
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"
)

// The ClusterRole of the documentation gives what a run needs, and no more.
func TestRoleOfDocumentation(t *testing.T) {
	b, err := os.ReadFile("../../docs/existing.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(b), "```yaml\n")
	text, _, _ = strings.Cut(text, "```")
	var role rbacv1.ClusterRole
	if err := yaml.UnmarshalStrict([]byte(text), &role); err != nil {
		t.Fatal(err)
	}
	var given, needed []string
	for _, r := range role.Rules {
		for _, g := range r.APIGroups {
			for _, res := range r.Resources {
				for _, v := range r.Verbs {
					given = append(given, v+" "+g+"/"+res)
				}
			}
		}
	}
	for _, p := range slices.Concat(permissions, useful) {
		for _, v := range p.verbs {
			needed = append(needed, v+" "+p.group+"/"+p.resource)
		}
	}
	for _, x := range needed {
		if !slices.Contains(given, x) {
			t.Errorf("docs/existing.md lacks %s", x)
		}
	}
	for _, x := range given {
		if !slices.Contains(needed, x) {
			t.Errorf("docs/existing.md gives %s, which nothing needs", x)
		}
	}
}
