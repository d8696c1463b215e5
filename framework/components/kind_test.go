package components

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// Pruning keeps what only a node image for kind is made of.
func TestPruneKeepsKind(t *testing.T) {
	st := &Store{Root: t.TempDir()}
	keep, err := InUse(st, "", "")
	if err != nil {
		t.Fatal(err)
	}
	cat, err := builtInCatalogue()
	if err != nil {
		t.Fatal(err)
	}
	f := &fetcher{store: st, cat: cat, set: &Set{Istio: cat.Istio[0]}}
	for _, p := range slices.Concat(cat.Parts, cat.Kind) {
		r, err := f.recipe(p, Build)
		if err != nil {
			t.Fatal(err)
		}
		dir, _, err := st.dirOf(r)
		if err != nil || !keep[dir] {
			t.Errorf("%s would be pruned (%v)", p.Name, err)
		}
	}
}

// The node base is made from where this machine's own packages come from.
func TestAptOrigin(t *testing.T) {
	if _, err := os.Stat("/usr/bin/apt-get"); err != nil {
		t.Skip("not Debian or Ubuntu")
	}
	suite, mirror, sections, err := aptOrigin(t.Context(), workIn(t, t.TempDir()))
	if err != nil || suite == "" || !strings.HasPrefix(sections, "main") {
		t.Errorf("%q %q %q %v", suite, mirror, sections, err)
	}
}

// Another script for the node base makes another node base.
func TestNodeBaseKey(t *testing.T) {
	if s := builtInRecipes().inputs("kind-base"); !strings.Contains(s, "debootstrap") {
		t.Errorf("the script is no part of the key: %.80q", s)
	}
}
