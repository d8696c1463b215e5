package components

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/dirhash"
)

// Origin is one thing that an entry was made of.
type Origin struct {
	Kind    string `json:"kind"` // wheel, deb, image, module (Go), go.sum, local source
	Name    string `json:"name"`
	Version string `json:"version,omitempty"`
	Digest  string `json:"digest"`  // sha256:..., or h1:... as in a go.sum
	Checked string `json:"checked"` // with what the digest was compared: see below
}

// What the digest of an Origin was compared with.
const (
	byCatalogue = "catalogue"
	byApt       = "signed package lists"
	byFirstPull = "first pull" // with that of the first pull into this cache, or with nothing if it is that
	byNothing   = "nothing"    // it is this machine's user's own
)

const sha256Prefix = "sha256:"

// ErrPin says that something is not what its digest in the catalogue, or in an earlier record, says.
var ErrPin = errors.New("wrong digest")

// wantDigest compares a file with a SHA-256 digest in hexadecimal.
func wantDigest(file, want string) error {
	got, err := fileDigest(file)
	if err != nil {
		return err
	}
	if got != want {
		return fmt.Errorf("%w: %s has sha256 %s, expected %s: it was changed on its way here or at its source, so nothing of it is used", ErrPin, file, got, want)
	}
	return nil
}

// checkModule compares the folder of a Go module with its checksum.
func checkModule(dir, module, want string) error {
	got, err := dirhash.HashDir(dir, module, dirhash.Hash1)
	if err != nil {
		return fmt.Errorf("compute the checksum of Go module %s: %w", module, err)
	}
	if got != want {
		return fmt.Errorf("%w: Go module %s in %s has checksum %s, expected %s (go clean -modcache removes a damaged copy)", ErrPin, module, dir, got, want)
	}
	return nil
}

func moduleOrigin(module, sum string) Origin {
	name, version, _ := strings.Cut(module, "@")
	return Origin{Kind: "module", Name: name, Version: version, Digest: sum, Checked: byCatalogue}
}

// Component is one line of what a cluster is made of, for reports.
type Component struct {
	Name    string `json:"name"`
	Version string `json:"version,omitempty"`
	Source  string `json:"source"` // build or image for parts and images; wheel, deb, image, module, go.sum, local source for what they were made of
	Digest  string `json:"digest"`
}

// Components lists the parts and images of the set and what they were made of.
func (s *Set) Components() []Component {
	var out []Component
	seen := map[Component]bool{}
	add := func(c Component) {
		if !seen[c] {
			seen[c] = true
			out = append(out, c)
		}
	}
	for _, e := range s.Entries() {
		m := e.Manifest
		add(Component{m.Name, m.Version, string(m.Source), sha256Prefix + m.Digest()})
	}
	for _, e := range s.Entries() {
		for _, o := range e.Manifest.Origins {
			add(Component{o.Name, o.Version, o.Kind, o.Digest})
		}
	}
	return out
}
