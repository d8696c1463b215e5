package components

import (
	"path/filepath"
	"slices"
	"sort"
	"strings"
)

// Entries lists every entry of the set, for verification and pruning.
func (s *Set) Entries() []Entry {
	var out []Entry
	all := []map[string]Entry{s.Parts, s.Images}
	for _, x := range s.Also {
		all = append(all, x.Parts)
	}
	for _, m := range all {
		for _, e := range m {
			out = append(out, e)
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Dir < out[j].Dir })
	return out
}

// InUse lists the folders of all entries that the current catalogue names, with the releases of a folder of the user's (as
// LoadCatalogue reads it), from any source. Those of local sources are not among them.
func InUse(st *Store, hub, releases string) (map[string]bool, error) {
	cat, err := LoadCatalogue(releases)
	if err != nil {
		return nil, err
	}
	keep, versions := map[string]bool{}, []string{}
	for _, i := range cat.Istio {
		versions = append(versions, i.Release, filepath.Base(i.Module))
		f := &fetcher{store: st, opts: Options{Hub: hub}, cat: cat, set: &Set{Istio: i}}
		for _, p := range slices.Concat(cat.Parts, cat.Kind, cat.istioParts(i)) {
			for _, src := range []Source{Build, Image} {
				r, err := f.recipe(p, src)
				if err != nil {
					return nil, err
				}
				dir, _, err := st.dirOf(r)
				if err != nil {
					return nil, err
				}
				keep[dir] = true
			}
		}
	}
	entries, err := st.Entries()
	if err != nil {
		return nil, err
	}
	// Images, modules and the sample application are told by age: the newest of a name and version is
	// used, where the version is one of the catalogue's.
	newest := map[string]Entry{}
	for _, e := range entries {
		m := e.Manifest
		perRelease := m.Name == moduleEntry || slices.Contains(istioImages, strings.TrimPrefix(m.Name, imagePrefix))
		if perRelease && !slices.Contains(versions, m.Version) {
			continue
		}
		if !perRelease && ownPackages[m.Name] == "" && !strings.HasPrefix(m.Name, imagePrefix) {
			continue
		}
		if id := m.Name + " " + m.Version; m.Created.After(newest[id].Manifest.Created) {
			newest[id] = e
		}
	}
	for _, e := range newest {
		keep[e.Dir] = true
	}
	return keep, nil
}
