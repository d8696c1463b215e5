package components

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Find returns the Istio that options mean, and fetches nothing.
func Find(ctx context.Context, o Options) (Istio, error) {
	cat, err := LoadCatalogue(o.Releases)
	if err != nil {
		return Istio{}, err
	}
	return cat.find(ctx, o)
}

func (c *Catalogue) find(ctx context.Context, o Options) (Istio, error) {
	if o.IstioSource != "" {
		return c.findCheckout(ctx, o)
	}
	return c.FindIstio(o.Istio)
}

// minor is how the tags of Istio's images begin: 1.31.2, 1.32-alpha.0.
var minor = regexp.MustCompile(`^(\d+\.\d+)[.-][A-Za-z0-9_.-]+$`)

// FindIstio returns the release for a version as given by --istio ("" means the default). A version that is not in the
// catalogue is taken for the tag of official images, where the catalogue has a release of the same minor version: its
// charts and samples are used, and nothing can be built.
func (c *Catalogue) FindIstio(version string) (Istio, error) {
	known := make([]string, 0, len(c.Istio))
	for _, i := range c.Istio {
		if version == i.Version || version == i.Release || (version == "" && i.Default) {
			return i, nil
		}
		if !slices.Contains(known, i.Version) {
			known = append(known, i.Version)
		}
		known = append(known, i.Release)
	}
	if m := minor.FindStringSubmatch(version); m != nil {
		for _, i := range c.Istio {
			if i.Version == m[1] {
				return i.tagged(version), nil
			}
		}
	}
	return Istio{}, fmt.Errorf("istio version %q is not in the component catalogue; known: %s (docs/versions.md says how to add one)", version, strings.Join(known, ", "))
}

// tagged is a release with the official images of another tag.
func (i Istio) tagged(tag string) Istio {
	i.ChartsOf, i.Release, i.Envoy, i.Digests, i.Default = i.Release, tag, "of-istio-"+tag, nil, false
	return i
}

// findCheckout is Istio as a folder on this machine has it. Of the catalogue comes what the folder does not have: the
// Envoy, the wrapper module if it needs one, and, where images are used, the tag of the proxy's.
func (c *Catalogue) findCheckout(ctx context.Context, o Options) (Istio, error) {
	co, err := readCheckout(ctx, o.IstioSource)
	if err != nil {
		return Istio{}, err
	}
	version := o.Istio
	if version == "" {
		version = co.Minor
	}
	i, err := c.FindIstio(version)
	if err != nil && o.Istio == "" {
		err = fmt.Errorf("%s is Istio %s: %w\n(--istio names a release of the catalogue whose Envoy, and whose claims, it is run with)", co.Dir, co.Minor, err)
	}
	if err == nil && i.ChartsOf != "" {
		err = fmt.Errorf("--istio %s is the tag of images, and %s is built: name a release of the catalogue", version, co.Dir)
	}
	if err != nil {
		return Istio{}, err
	}
	if i.Wrapper != "" {
		mod, err := os.ReadFile(filepath.Join(co.Dir, "go.mod"))
		if err != nil {
			return Istio{}, err
		}
		usable, err := fits([]byte(c.recipes.file(i.Wrapper+".mod")), mod)
		if err != nil {
			return Istio{}, fmt.Errorf("compare what %s requires with the wrapper module %s: %w", co.Dir, i.Wrapper, err)
		}
		if !usable { // it requires something else than the release, so it must build as it stands
			i.Wrapper, i.Substitutes = "", ""
		}
	}
	i.ImageTag, i.Release, i.Checkout, i.Default = i.Release, fmt.Sprintf("%s-%s%.12s", i.Release, localMark, co.Digest), &co, false
	return i, nil
}

// localMark is part of the version of everything that is made of a local source, before the first digits of its digest.
const localMark = "local."

// differs says what a reader of a report must know about an Istio that is no release of the catalogue; "" for one that is.
func (i Istio) differs() string {
	switch {
	case i.Checkout != nil:
		return fmt.Sprintf("Istio is %s, taken as version %s", i.Checkout, i.Version)
	case i.ChartsOf != "":
		return fmt.Sprintf("Istio's images have the tag %s; its charts and samples are those of %s", i.Release, i.ChartsOf)
	}
	return ""
}
