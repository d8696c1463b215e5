package release

import (
	"context"
	"slices"
	"strings"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
	"golang.org/x/mod/semver"

	"mesh-egress-conformance/framework/components"
)

// nearest sorts versions by how likely they stand in for another one: of the same minor version first, and in both groups
// the later ones first, the nearest of them before others, then the earlier ones. The wanted one itself is left out.
func nearest(wanted string, candidates []string) []string {
	var out []string
	for _, c := range candidates {
		if semver.IsValid(c) && c != wanted && !slices.Contains(out, c) {
			out = append(out, c)
		}
	}
	group := func(v string) int {
		g := 0
		if semver.MajorMinor(v) != semver.MajorMinor(wanted) {
			g = 2
		}
		if semver.Compare(v, wanted) < 0 {
			g++
		}
		return g
	}
	slices.SortFunc(out, func(a, b string) int {
		if d := group(a) - group(b); d != 0 {
			return d
		}
		if semver.Compare(a, wanted) < 0 {
			a, b = b, a
		}
		return semver.Compare(a, b)
	})
	return out
}

// requirements are the modules that other releases of the catalogue are built with, and which release. Commits without a
// tag are in no list of versions: that another release needs one is how it is known.
type requirements map[module.Version]string

func (r requirements) versions(path string) []string {
	var out []string
	for m := range r {
		if m.Path == path {
			out = append(out, m.Version)
		}
	}
	slices.Sort(out)
	return out
}

// siblings are the requirements of the catalogue's releases. One whose go.mod cannot be had is left out.
func siblings(ctx context.Context, mods Modules, cat *components.Catalogue) requirements {
	out := requirements{}
	for _, i := range cat.Istio {
		path, version, _ := strings.Cut(i.Module, "@")
		texts := [][]byte{[]byte(cat.WrapperModule(i))}
		if b, err := mods.GoMod(ctx, module.Version{Path: path, Version: version}); err == nil {
			texts = append(texts, b)
		}
		for _, b := range texts {
			m, err := modfile.ParseLax("go.mod", b, nil)
			if err != nil {
				continue
			}
			for _, r := range m.Require {
				out[r.Mod] = "Istio " + i.Release
			}
			for _, r := range m.Replace {
				out[r.New] = "Istio " + i.Release
			}
		}
	}
	return out
}
