package manifest

import (
	"slices"
	"strings"
	"testing"
)

// What kustomize would fetch is refused before it begins, whether a folder of that name is there or not: with an empty PATH it
// finds no git, and what it says then is not our message.
func TestNothingFetched(t *testing.T) {
	t.Setenv("PATH", "")
	plugin := "apiVersion: builtin\nkind: PatchTransformer\nmetadata: {name: p}\ntarget: {kind: ServiceEntry}\n"
	for name, x := range map[string]struct {
		text  string
		files map[string]string
		ok    bool
	}{
		"a folder that is there, named like a repository": {"resources: [github.com/acme/base]", map[string]string{"k/github.com/acme/base/kustomization.yaml": "resources: [a.yaml]", "k/github.com/acme/base/a.yaml": entry}, false},
		"in capitals":             {"resources: [GitHub.com/acme/base]", map[string]string{"k/GitHub.com/acme/base/kustomization.yaml": ""}, false},
		"git::":                   {"resources: ['git::github.com/acme/base']", nil, false},
		"a login":                 {"components: ['git@host.example:acme/base']", map[string]string{"k/git@host.example:acme/base/kustomization.yaml": ""}, false},
		"a field in capitals":     {"Resources: ['https://host.example/a.yaml']", nil, false},
		"below a plain folder":    {"resources: [sub]", map[string]string{"k/sub/kustomization.yaml": "bases: ['github.com:acme/base']"}, false},
		"a patch":                 {"patches: [{path: 'https://host.example/p.yaml'}]", nil, false},
		"a file of a ConfigMap":   {"configMapGenerator: [{name: c, files: ['a=https://host.example/p']}]", nil, false},
		"the schema":              {"openapi: {path: 'https://host.example/schema'}", nil, false},
		"a transformer in place":  {"transformers: ['{apiVersion: builtin, kind: PatchTransformer, metadata: {name: p}, path: \"https://host.example/p\"}']", nil, false},
		"a transformer of a file": {"transformers: [t.yaml]", map[string]string{"k/t.yaml": plugin + "path: https://host.example/p\n"}, false},
		"one of a folder":         {"transformers: [t]", map[string]string{"k/t/kustomization.yaml": "resources: [t.yaml]", "k/t/t.yaml": plugin + "path: https://host.example/p\n"}, false},
		"texts with URLs":         {"resources: [a.yaml]\ncommonAnnotations: {see: 'https://host.example'}\nconfigMapGenerator: [{name: c, literals: ['a=https://host.example']}]\npatches: [{target: {kind: ServiceEntry}, patch: '[{\"op\": \"add\", \"path\": \"/spec/hosts/0\", \"value\": \"https://host.example\"}]'}]", map[string]string{"k/a.yaml": entry}, true},
		"a transformer with one":  {"resources: [a.yaml]\ntransformers: [t.yaml]", map[string]string{"k/a.yaml": entry, "k/t.yaml": "apiVersion: builtin\nkind: AnnotationsTransformer\nmetadata: {name: p}\nannotations: {see: https://host.example}\nfieldSpecs: [{path: metadata/annotations, create: true}]\n"}, true},
	} {
		files := map[string]string{"k/kustomization.yaml": x.text + "\n"}
		for k, v := range x.files {
			files[k] = v
		}
		dir := tree(t, files)
		text := shown(Read(t.Context(), []string{dir + "/k"}, Options{}), dir)
		if strings.Contains(text, "nothing is fetched") == x.ok || x.ok && strings.Contains(text, "mistake") {
			t.Errorf("%s: %s", name, text)
		}
	}
	dir := tree(t, map[string]string{"github.com/acme/base/kustomization.yaml": "resources: [a.yaml]", "github.com/acme/base/a.yaml": entry})
	t.Chdir(dir)
	if s := Read(t.Context(), []string{"github.com/acme/base"}, Options{}); len(s.Objects) != 1 || s.Objects[0].Where() != "github.com/acme/base/a.yaml:1" {
		t.Errorf("%s", shown(s, dir))
	}
}

// An object has the place of the document that it was made of.
func TestKustomizePlaces(t *testing.T) {
	dir := tree(t, map[string]string{
		"spaces/kustomization.yaml": "resources: [a.yaml, b.yaml]\n", "spaces/a.yaml": entry, "spaces/b.yaml": "# here\n" + strings.Replace(entry, "shop", "pay", 1),
		"patched/kustomization.yaml": "resources: [a.yaml]\npatches: [{path: p.yaml}]\nnamePrefix: x-\n", "patched/a.yaml": "\n" + entry, "patched/p.yaml": entry,
		"groups/kustomization.yaml": "resources: [a.yaml]\n", "groups/a.yaml": "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: out}\n---\napiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: out}\n",
		"two/kustomization.yaml": "resources: [a, b]\n", "two/a/kustomization.yaml": "namePrefix: a-\nresources: [e.yaml]\n", "two/b/kustomization.yaml": "namePrefix: b-\nresources: [e.yaml]\n", "two/a/e.yaml": entry, "two/b/e.yaml": entry,
	})
	for folder, want := range map[string]string{
		"spaces":  "spaces/b.yaml:2: ServiceEntry pay/bank\nspaces/a.yaml:1: ServiceEntry shop/bank\n",
		"patched": "patched/a.yaml:2: ServiceEntry shop/x-bank\n",
		"groups":  "groups/a.yaml:1: Gateway out\ngroups/a.yaml:5: Gateway out\n",
		"two":     "two: ServiceEntry shop/a-bank\ntwo: ServiceEntry shop/b-bank\n", // nobody can tell
	} {
		got := strings.Split(shown(Read(t.Context(), []string{dir + "/" + folder}, Options{}), dir), "\n")
		for _, line := range strings.Split(want, "\n") {
			if !slices.Contains(got, line) || len(got) != strings.Count(want, "\n")+1 {
				t.Errorf("%s: %q\nwant %q", folder, got, want)
			}
		}
	}
}

// The namespace of objects that name none is one like any other.
func TestTwice(t *testing.T) {
	bare := strings.Replace(entry, ", namespace: shop", "", 1)
	for namespace, other := range map[string]string{"": "default", "shop": "shop"} {
		for text, twice := range map[string]bool{other: true, "elsewhere": false} {
			in := bare + "---\n" + strings.Replace(entry, "shop", text, 1)
			s := Read(t.Context(), []string{"-"}, Options{Stdin: strings.NewReader(in), Namespace: namespace})
			if len(s.Mistakes) > 0 != twice {
				t.Errorf("%q beside %q: %s", namespace, text, shown(s, "/none"))
			}
		}
	}
}
