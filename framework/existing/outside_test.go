package existing

import (
	"errors"
	"strings"
	"testing"
	"testing/fstest"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"mesh-egress-conformance/framework/egress"
)

// scopes is a cluster in which kinds that end in Wide have no namespace.
type scopes struct{ err error }

func (s scopes) Namespaced(gvk schema.GroupVersionKind) (bool, error) {
	if gvk.Kind == "Unknown" {
		return false, &meta.NoKindMatchError{GroupKind: gvk.GroupKind()}
	}
	return !strings.HasSuffix(gvk.Kind, "Wide"), s.err
}

func made(kind, namespace string) egress.Object {
	m := map[string]any{"name": "x"}
	if namespace != "" {
		m["namespace"] = namespace
	}
	return egress.Object{"apiVersion": "v1", "kind": kind, "metadata": m}
}

func TestOutside(t *testing.T) {
	files := fstest.MapFS{
		"theirs.yaml": {Data: []byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: theirs, namespace: default}\n")},
		"ours.yaml":   {Data: []byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: ours}\n")},
	}
	wide := []egress.Object{made("SomethingWide", "")}
	for name, x := range map[string]struct {
		c    egress.Case
		want string // "" for none
	}{
		"own namespace":       {egress.Case{Objects: []egress.Object{made("ConfigMap", "")}, Fixtures: []string{"ours.yaml"}}, ""},
		"own by placeholder":  {egress.Case{Objects: []egress.Object{made("ConfigMap", "${NAMESPACE}")}}, ""},
		"unknown kind":        {egress.Case{Objects: []egress.Object{made("Unknown", "")}}, ""},
		"unknown, namespaced": {egress.Case{Objects: []egress.Object{made("Unknown", "prod")}}, "Unknown prod/x"},
		"objects":             {egress.Case{Objects: wide}, "objects has the SomethingWide x"},
		"setup":               {egress.Case{Setup: wide}, "setup has the"},
		"change":              {egress.Case{Change: wide}, "change has the"},
		"refused":             {egress.Case{Refused: wide}, "refused has the"},
		"another's namespace": {egress.Case{Change: []egress.Object{made("Secret", "prod")}}, "Secret prod/x"},
		"fixture":             {egress.Case{Fixtures: []string{"ours.yaml", "theirs.yaml"}}, "fixture theirs.yaml has the ConfigMap default/theirs"},
	} {
		got, err := Outside(t.Context(), x.c, files, scopes{})
		if err != nil || (x.want == "") != (len(got) == 0) || !strings.Contains(strings.Join(got, "; "), x.want) {
			t.Errorf("%s: %q %v, wanted %q", name, got, err, x.want)
		}
	}
	if _, err := Outside(t.Context(), egress.Case{Objects: wide}, files, scopes{errors.New("the API server does not answer")}); err == nil {
		t.Error("an API server that does not answer was taken for one that says that all is well")
	}
	if _, err := Outside(t.Context(), egress.Case{Fixtures: []string{"none.yaml"}}, files, scopes{}); err == nil {
		t.Error("a fixture that cannot be read was taken for one without objects")
	}
}

func TestRefusal(t *testing.T) {
	cases := []egress.Case{{Name: "a", File: "mine/a.yaml"}, {Name: "b", File: "mine/b.yaml"}, {Name: "c", File: "mine/c.yaml"}}
	err := Refusal(cases, map[string][]string{"a": {"one", "two"}, "c": {"three"}, "d": {"four"}})
	for _, want := range []string{"case a (mine/a.yaml): one", "case a (mine/a.yaml): two", "case c (mine/c.yaml): three", "without --kubeconfig"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}
	if strings.Contains(err.Error(), "four") {
		t.Errorf("a case that does not run: %v", err)
	}
	if err := Refusal(cases[1:2], map[string][]string{"a": {"one"}}); err != nil {
		t.Error(err)
	}
}
