package verify

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mesh-egress-conformance/framework/internet"
	"mesh-egress-conformance/framework/manifest"
)

// Whatever is handed in, a model and its outside can be made of it, or an error says why not.
func FuzzModel(f *testing.F) {
	files, err := filepath.Glob("testdata/surprises/*/found.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(b))
	}
	f.Add("apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: a}\nspec: {hosts: [1, '*', '..'], ports: [{number: 99999}, 5], addresses: [::/0, 0.0.0.0/0], endpoints: {}}\n")
	f.Add("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: [], labels: 5}\nspec: {template: []}\n")
	base, err := internet.DefaultHosts()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		m := NewModel(manifest.Read(t.Context(), []string{"-"}, manifest.Options{Stdin: strings.NewReader(text)}), ModelOptions{})
		for _, c := range m.Clients(m.Classes(false)) {
			if err := c.Check(); err != nil {
				t.Error(err)
			}
		}
		m.Secrets()
		o, err := NewOutside(base, nil, m)
		if err != nil {
			return
		}
		for _, q := range o.Questions {
			if p := q.Probe("x"); p.Protocol().Scheme == "" {
				t.Errorf("%s: %s", q.Key(), p.URL)
			}
		}
	})
}
