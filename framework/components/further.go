package components

import (
	"context"
	"fmt"
	"slices"
)

// also adds the images of a further Istio to the set, from the source that the set itself has.
func (f *fetcher) also(ctx context.Context, version string) error {
	istio, err := f.cat.FindIstio(version)
	if err != nil {
		return fmt.Errorf("further Istio version: %w", err)
	}
	if err := f.set.room(istio, version); err != nil {
		return err
	}
	if f.set.Source == Build && istio.ChartsOf != "" {
		return notBuilt(istio)
	}
	more := &fetcher{store: f.store, opts: f.opts, cat: f.cat, set: &Set{Istio: istio, Source: f.set.Source, Parts: map[string]Entry{}, Images: map[string]Entry{}, Refs: map[string][]string{}}}
	if d := istio.differs(); d != "" {
		more.set.Notes = append(more.set.Notes, d)
	}
	if more.set.Module, err = more.istioFolder(ctx, istio); err != nil {
		return fmt.Errorf("charts of Istio %s: %w", istio.Version, err)
	}
	if err := more.parts(ctx, f.cat.furtherParts(istio)); err != nil {
		return fmt.Errorf("further Istio %s: %w", istio.Release, err)
	}
	of := Further{Istio: istio, Module: more.set.Module, Parts: map[string]Entry{}}
	for n, e := range more.set.Parts {
		of.Parts[n] = e
	}
	more.set.Parts[userland] = f.set.Parts[userland]
	specs := more.istioSpecs()
	for _, n := range istioImages {
		if err := more.image(ctx, n, specs[n]); err != nil {
			return err
		}
		f.set.Images[n+"-"+istio.Release], f.set.Refs[n+"-"+istio.Release] = more.set.Images[n], more.set.Refs[n]
	}
	for _, n := range more.set.Notes {
		if n = "Istio " + istio.Release + " beside it: " + n; !slices.Contains(f.set.Notes, n) {
			f.set.Notes = append(f.set.Notes, n)
		}
	}
	f.set.Also = append(f.set.Also, of)
	return nil
}

// cached says whether a further Istio can be in the set without anything being made.
func (f *fetcher) cached(version string) bool {
	istio, err := f.cat.FindIstio(version)
	if err != nil || f.set.Source == Build && istio.ChartsOf != "" || f.set.room(istio, version) != nil {
		return false
	}
	one := &fetcher{opts: f.opts, cat: f.cat, set: &Set{Istio: istio, Source: f.set.Source}}
	recipes := []Recipe{moduleRecipe(istio.Module)}
	for _, p := range f.cat.furtherParts(istio) {
		r, err := one.recipe(p, f.set.Source)
		if err != nil {
			return false
		}
		recipes = append(recipes, r)
	}
	return !slices.ContainsFunc(recipes, func(r Recipe) bool { _, err := f.store.Lookup(r); return err != nil })
}

// furtherParts are those of an Istio beside the one of a set: istioctl is left out, since the set's own is what people use.
func (c *Catalogue) furtherParts(i Istio) []Part {
	return slices.DeleteFunc(c.istioParts(i), func(p Part) bool { return p.Name == "istioctl" })
}

// room says why a further Istio cannot be in the set: each minor version can be there once, since that is how revisions
// name them.
func (s *Set) room(i Istio, asked string) error {
	if i.Version == s.Istio.Version {
		return fmt.Errorf("istio %s is the minor version that the cluster has anyway (%s): a further one is another minor version", asked, s.Istio.Release)
	}
	for _, x := range s.Also {
		if x.Istio.Version == i.Version {
			return fmt.Errorf("istio %s and %s are of the same minor version: name one of them", asked, x.Istio.Release)
		}
	}
	return nil
}
