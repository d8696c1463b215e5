package pages

import (
	"testing"

	"mesh-egress-conformance/framework/input"
)

// The project's own pages have no mistakes, their YAML is that of the files, and each says what it was verified on. What their commands
// print is for `make docs-verify` to find out.
func TestPages(t *testing.T) {
	list, err := Load(input.Dir("../.."))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range list {
		if err := p.Stale.Err(); err != nil {
			t.Error(err)
		}
		if p.VerifiedOn() == "" {
			t.Errorf("%s says %q of its last update", p.File, p.Verified)
		}
	}
}
