package verify

import (
	"os"
	"slices"
	"strings"
	"testing"

	"mesh-egress-conformance/framework/manifest"
)

// Of a live cluster the roles are not read, so those of files beside it do not say who else may have a certificate.
func TestPermissionsBesideACluster(t *testing.T) {
	b, err := os.ReadFile("testdata/credentials/granted.yaml")
	if err != nil {
		t.Fatal(err)
	}
	others := strings.Replace(string(b), "name: cart, namespace: shop}]", "name: gateway, namespace: shop}]", 1)
	set := manifest.Read(t.Context(), []string{"-"}, manifest.Options{Stdin: strings.NewReader(others)})
	for name, x := range map[string]struct {
		running  map[string]Running
		withheld bool
	}{"files alone": {nil, true}, "beside a cluster": {map[string]Running{}, false}} {
		if got := NewModel(set, ModelOptions{Running: x.running}).withheld("shop"); got != x.withheld {
			t.Errorf("%s: withheld: %t", name, got)
		}
	}
}

// Who gets a certificate is what the roles among the objects say, where they say anything of a namespace.
func TestPermissions(t *testing.T) {
	b, err := os.ReadFile("testdata/credentials/granted.yaml")
	if err != nil {
		t.Fatal(err)
	}
	granted := string(b)
	const binding = "subjects: [{kind: ServiceAccount, name: cart, namespace: shop}]"
	with := func(pairs ...string) string { return strings.NewReplacer(pairs...).Replace(granted) }
	other := "\n---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: pay, namespace: shop}\nspec:\n  template:\n    metadata: {labels: {app: pay}}\n    spec: {containers: [{name: app, image: x}]}\n"
	const assumes, withholds = "no Role among the objects says", "get no certificate of credentialName"
	for name, x := range map[string]struct {
		text, assumed string
		secret        bool
		mistakes      int
	}{
		"granted":                       {granted, "", true, 0},
		"to another account":            {with("name: cart, namespace: shop}]", "name: gateway, namespace: shop}]"), withholds, false, 0},
		"without roles":                 {granted[:strings.Index(granted, "---\napiVersion: rbac")], assumes, true, 0},
		"by its name as a user":         {with(binding, `subjects: [{kind: User, name: "system:serviceaccount:shop:cart"}]`), "", true, 0},
		"to a group, which nobody asks": {with(binding, `subjects: [{kind: Group, name: "system:serviceaccounts:shop"}]`), assumes, true, 0},
		"in the binding's namespace":    {with(", namespace: shop}]", "}]"), "", true, 0},
		"of another namespace":          {with(binding, "subjects: [{kind: ServiceAccount, name: cart, namespace: pay}]"), assumes, true, 0},
		"to read, and not to list":      {with("verbs: [get, list, watch]", "verbs: [get]"), assumes, true, 0},
		"of one Secret":                 {with("resources: [secrets]", "resources: [secrets], resourceNames: [bank]"), assumes, true, 0},
		"all of it":                     {with(`apiGroups: [""], resources: [secrets], verbs: [get, list, watch]`, `apiGroups: ["*"], resources: ["*"], verbs: ["*"]`), "", true, 0},
		"by a role of Kubernetes' own":  {with("kind: Role, name: certificates", "kind: ClusterRole, name: edit"), "", true, 0},
		"by a role that is not there":   {with("kind: Role, name: certificates", "kind: ClusterRole, name: certificates"), assumes, true, 0},
		"to one of two":                 {granted + other, "", true, 1},
	} {
		m := modelOf(t, x.text)
		if got := len(m.Mistakes); got != x.mistakes {
			t.Errorf("%s: %v", name, m.Mistakes)
		}
		assumed := slices.DeleteFunc(slices.Clone(m.Assumed), func(s string) bool { return !strings.Contains(s, "credentialName") })
		if len(assumed) > 1 || x.assumed == "" && len(assumed) > 0 || x.assumed != "" && !strings.Contains(strings.Join(assumed, ""), x.assumed) {
			t.Errorf("%s: assumed %q, not %q", name, assumed, x.assumed)
		}
		secret := false
		for _, s := range m.Secrets() {
			secret = secret || s["metadata"].(map[string]any)["namespace"] == "shop"
		}
		if secret != x.secret {
			t.Errorf("%s: a certificate is there: %t", name, secret)
		}
		if got := m.Permissions(); len(got) != 2 || len(got[1]["subjects"].([]any)) != len(m.accounts("shop")) {
			t.Errorf("%s: %v", name, got)
		}
		if !slices.ContainsFunc(m.Ignored, func(i Ignored) bool { return i.Kind == "Role."+rbac }) && strings.Contains(x.text, "kind: Role\n") {
			t.Errorf("%s: the role is left out silently: %v", name, m.Ignored)
		}
	}
}
