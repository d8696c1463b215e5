package components

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"
)

// Store is the cache of built and fetched parts. An entry is a folder named after the digest of its
// recipe; it appears complete by one rename or not at all, and two runs that want the same entry wait for
// each other. What an entry is made in is a folder of the store too (see Work), so that whatever a killed
// run has left is found by the next one.
type Store struct {
	Root string
}

// OpenStore returns the store under the user's cache folder (XDG_CACHE_HOME), without what killed runs have
// left in it.
func OpenStore() (*Store, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		return nil, fmt.Errorf("find the cache folder (set XDG_CACHE_HOME or HOME): %w", err)
	}
	s := &Store{Root: filepath.Join(base, "mesh-egress-conformance")}
	_ = s.sweep() // what cannot be removed is in nobody's way; Prune reports it
	return s, nil
}

// Entry is one complete folder in the store.
type Entry struct {
	Dir      string
	Manifest Manifest
}

// Path of a file in the entry.
func (e Entry) Path(name string) string { return filepath.Join(e.Dir, name) }

// Manifest describes an entry; it lies beside the files as manifest.json.
type Manifest struct {
	Name        string          `json:"name"`
	Version     string          `json:"version"`
	Source      Source          `json:"source"`
	Key         string          `json:"key"`
	Created     time.Time       `json:"created"`
	Seconds     float64         `json:"seconds"`               // what it took to make
	Substitutes []string        `json:"substitutes,omitempty"` // where the entry differs from the official part
	Origins     []Origin        `json:"origins,omitempty"`     // what it was made of
	Files       map[string]File `json:"files"`
}

// File is one file's identity. Size and ModTime decide whether the digest must be computed again.
type File struct {
	SHA256  string `json:"sha256"`
	Size    int64  `json:"size"`
	ModTime int64  `json:"mtime"` // Unix nanoseconds
	Link    string `json:"link,omitempty"`
}

// Digest identifies the entry's content.
func (m Manifest) Digest() string {
	names := make([]string, 0, len(m.Files))
	for n := range m.Files {
		names = append(names, n)
	}
	sort.Strings(names)
	h := sha256.New()
	for _, n := range names {
		fmt.Fprintf(h, "%s %s %s\n", n, m.Files[n].SHA256, m.Files[n].Link)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Recipe is all that decides an entry's content.
type Recipe struct {
	Name, Version string
	Source        Source
	Inputs        any // JSON-able; part of the key
	Substitutes   []string
}

func (r Recipe) key() (string, error) {
	b, err := json.Marshal(struct {
		Name, Version string
		Source        Source
		Inputs        any
	}{r.Name, r.Version, r.Source, r.Inputs})
	if err != nil {
		return "", fmt.Errorf("describe component %s: %w", r.Name, err)
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:8]), nil
}

// manifestFile lies in each entry, beside the files that it describes.
const manifestFile = "manifest.json"

func (s *Store) partsDir() string { return filepath.Join(s.Root, "parts") }

func (s *Store) dirOf(r Recipe) (dir, key string, err error) {
	key, err = r.key()
	if err != nil {
		return "", "", err
	}
	version := strings.Map(func(c rune) rune {
		if c == '/' || c == '@' || c == ':' {
			return '_'
		}
		return c
	}, r.Version)
	return filepath.Join(s.partsDir(), r.Name+"-"+version+"-"+key), key, nil
}

// ErrCorrupt marks an entry whose files are not what its manifest says.
var ErrCorrupt = errors.New("cache entry is damaged")

// Lookup returns a complete, checked entry; os.ErrNotExist when there is none.
func (s *Store) Lookup(r Recipe) (Entry, error) {
	dir, _, err := s.dirOf(r)
	if err != nil {
		return Entry{}, err
	}
	return openEntry(dir, false)
}

func openEntry(dir string, full bool) (Entry, error) {
	b, err := os.ReadFile(filepath.Join(dir, manifestFile))
	if err != nil {
		return Entry{}, err
	}
	e := Entry{Dir: dir}
	if err := json.Unmarshal(b, &e.Manifest); err != nil {
		return Entry{}, fmt.Errorf("%w: %s: %w", ErrCorrupt, filepath.Join(dir, manifestFile), err)
	}
	return e, e.check(full)
}

// check compares the files with the manifest. A file whose size and time are those of the manifest
// is taken as unchanged unless full is set (the way git's index does it): reading 900 MB on every
// start would cost more than the cluster's boot. A full check also demands that there is no other file.
func (e Entry) check(full bool) error {
	for name, want := range e.Manifest.Files {
		p := filepath.Join(e.Dir, name)
		st, err := os.Lstat(p)
		if err != nil {
			return fmt.Errorf("%w: %s is missing: %w", ErrCorrupt, p, err)
		}
		if st.Mode()&fs.ModeSymlink != 0 {
			if l, err := os.Readlink(p); err != nil || l != want.Link {
				return fmt.Errorf("%w: %s points elsewhere", ErrCorrupt, p)
			}
			continue
		}
		if !full && st.Size() == want.Size && st.ModTime().UnixNano() == want.ModTime {
			continue
		}
		sum, err := fileDigest(p)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
		if sum != want.SHA256 {
			return fmt.Errorf("%w: %s has digest %.12s, expected %.12s", ErrCorrupt, p, sum, want.SHA256)
		}
	}
	if !full {
		return nil
	}
	return filepath.WalkDir(e.Dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(e.Dir, p)
		if _, known := e.Manifest.Files[rel]; err == nil && !known && rel != manifestFile {
			err = fmt.Errorf("%w: %s is not in the manifest", ErrCorrupt, p)
		}
		return err
	})
}

func fileDigest(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("read %s: %w", path, err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// Ensure returns the entry for a recipe, making it with fill when it is missing or damaged. fill
// writes its files into w.Out.
func (s *Store) Ensure(ctx context.Context, r Recipe, fill func(ctx context.Context, w *Work) error) (Entry, error) {
	dir, key, err := s.dirOf(r)
	if err != nil {
		return Entry{}, err
	}
	if e, err := openEntry(dir, false); err == nil {
		return e, nil
	}
	var e Entry
	err = s.work(ctx, key, func(w *Work) error {
		// Another run may have made it while this one waited.
		if e, err = openEntry(dir, false); err == nil {
			return nil
		}
		start := time.Now()
		if err := fill(ctx, w); err != nil {
			return err
		}
		e.Dir, e.Manifest = dir, Manifest{
			Name: r.Name, Version: r.Version, Source: r.Source, Key: key, Created: start.UTC(),
			Seconds: time.Since(start).Seconds(), Substitutes: r.Substitutes, Origins: w.origins,
		}
		if e.Manifest.Files, err = describe(w.Out); err != nil {
			return err
		}
		if err := writeJSON(filepath.Join(w.Out, manifestFile), e.Manifest); err != nil {
			return err
		}
		// A damaged entry stays until now: its manifest may still say what it was made of.
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("remove the damaged cache entry %s: %w", dir, err)
		}
		if err := os.Rename(w.Out, dir); err != nil {
			return fmt.Errorf("publish the cache entry %s: %w", dir, err)
		}
		return nil
	})
	if err != nil {
		return Entry{}, err
	}
	return e, nil
}

func writeJSON(path string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("encode %s: %w", path, err)
	}
	if err := os.WriteFile(path, append(b, '\n'), 0o644); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

func describe(dir string) (map[string]File, error) {
	files := map[string]File{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		if err != nil {
			return err
		}
		if d.Type()&fs.ModeSymlink != 0 {
			l, err := os.Readlink(p)
			files[rel] = File{Link: l}
			return err
		}
		st, err := d.Info()
		if err != nil {
			return err
		}
		sum, err := fileDigest(p)
		files[rel] = File{SHA256: sum, Size: st.Size(), ModTime: st.ModTime().UnixNano()}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("describe the new cache entry: %w", err)
	}
	return files, nil
}

// LockFile is where the lock of that name is.
func (s *Store) LockFile(name string) string { return filepath.Join(s.Root, "locks", name) }

// Entries lists all complete entries.
func (s *Store) Entries() ([]Entry, error) {
	dirs, err := filepath.Glob(filepath.Join(s.partsDir(), "*", manifestFile))
	if err != nil {
		return nil, err
	}
	var out []Entry
	for _, d := range dirs {
		e := Entry{Dir: filepath.Dir(d)}
		b, err := os.ReadFile(d)
		if err == nil {
			err = json.Unmarshal(b, &e.Manifest)
		}
		if err != nil {
			e.Manifest = Manifest{Name: filepath.Base(e.Dir), Version: "damaged"}
		}
		out = append(out, e)
	}
	return out, nil
}

// Verify reads every file of an entry and compares digests.
func (e Entry) Verify() error {
	_, err := openEntry(e.Dir, true)
	return err
}

// Prune removes entries that keep does not name and what killed runs have left, and returns the removed folders.
func (s *Store) Prune(keep map[string]bool) ([]string, error) {
	if err := s.sweep(); err != nil {
		return nil, err
	}
	dirs, err := os.ReadDir(s.partsDir())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the cache: %w", err)
	}
	var removed []string
	for _, d := range dirs {
		p := filepath.Join(s.partsDir(), d.Name())
		if keep[p] {
			continue
		}
		if err := os.RemoveAll(p); err != nil {
			return removed, fmt.Errorf("remove %s: %w", p, err)
		}
		removed = append(removed, p)
	}
	return removed, nil
}
