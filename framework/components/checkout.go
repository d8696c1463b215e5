package components

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/semver"
)

// Checkout is a folder on this machine with Istio's source, such as a developer's clone with an edit.
type Checkout struct {
	Dir     string // absolute
	Minor   string // as its file VERSION has it: "1.31"
	Version string // of git: commit, and whether something is changed; "" where git does not know the folder
	Digest  string // SHA-256, in hexadecimal, of all that is read of it
}

// String names it as reports do.
func (c Checkout) String() string {
	version := "in no git repository"
	if c.Version != "" {
		version = "git revision " + c.Version
	}
	return fmt.Sprintf("the local source %s (%s, content sha256:%s)", c.Dir, version, c.Digest)
}

const istioModule = "istio.io/istio"

// readCheckout looks at a folder with Istio's source.
func readCheckout(ctx context.Context, dir string) (Checkout, error) {
	full, err := filepath.Abs(dir)
	if err == nil {
		full, err = filepath.EvalSymlinks(full)
	}
	if err != nil {
		return Checkout{}, fmt.Errorf("find the source of Istio: %w", err)
	}
	c := Checkout{Dir: full}
	mod, err := os.ReadFile(filepath.Join(full, "go.mod"))
	if err == nil && modfile.ModulePath(mod) != istioModule {
		err = fmt.Errorf("its go.mod is that of module %q", modfile.ModulePath(mod))
	}
	if err != nil {
		return c, fmt.Errorf("%s is not the root of a copy of Istio's source, whose go.mod has \"module %s\": %w", full, istioModule, err)
	}
	version, err := os.ReadFile(filepath.Join(full, "VERSION"))
	if err != nil {
		return c, fmt.Errorf("find out which version of Istio %s is: %w", full, err)
	}
	c.Minor, c.Version = strings.TrimSpace(string(version)), gitVersion(ctx, full)
	c.Digest, err = treeDigest(full, "")
	return c, err
}

// gitVersion is the commit of a folder that is the root of a git repository, with "changed" where tracked files differ
// from it; "" where git does not know.
func gitVersion(ctx context.Context, dir string) string {
	git := func(args ...string) (string, error) {
		out, err := exec.CommandContext(ctx, "git", append([]string{"--no-optional-locks", "-C", dir}, args...)...).Output()
		return strings.TrimSpace(string(out)), err
	}
	root, err := git("rev-parse", "--show-toplevel")
	if err != nil || root != dir { // the folder may lie in a repository of something else
		return ""
	}
	commit, err := git("rev-parse", "--verify", "HEAD")
	if err != nil {
		return ""
	}
	if changes, err := git("status", "--porcelain", "--untracked-files=no"); err != nil || changes != "" {
		commit += ", changed"
	}
	return commit
}

// treeDigest is the digest of all files of a source folder, their names, and where links lead. With a target, it copies
// them there. What neither the Go toolchain nor Helm reads is left out: folders whose name begins with a dot, and out,
// into which Istio's own Makefile builds. Links that lead out of the folder are left out too.
func treeDigest(dir, target string) (string, error) {
	h := sha256.New()
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		rel, relErr := filepath.Rel(dir, p)
		if err = errors.Join(err, relErr); err != nil {
			return err
		}
		to := filepath.Join(target, rel)
		switch {
		case rel == ".":
			return nil
		case d.IsDir():
			if strings.HasPrefix(d.Name(), ".") || rel == "out" {
				return filepath.SkipDir
			}
			if target != "" {
				return os.Mkdir(to, 0o755)
			}
			return nil
		case d.Type()&fs.ModeSymlink != 0:
			link, err := os.Readlink(p)
			if err != nil || !filepath.IsLocal(filepath.Join(filepath.Dir(rel), link)) || filepath.IsAbs(link) {
				return err
			}
			fmt.Fprintf(h, "link %q %q\n", rel, link)
			if target != "" {
				return os.Symlink(link, to)
			}
			return nil
		case !d.Type().IsRegular() || rel == manifestFile: // of a copy in the cache
			return nil
		}
		sum, err := readInto(p, target, to)
		fmt.Fprintf(h, "file %q %s\n", rel, sum)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("read the source of Istio: %w", err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// readInto is the digest of a file. With a target, it copies the file to that name.
func readInto(file, target, to string) (string, error) {
	in, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer in.Close()
	h := sha256.New()
	r := io.TeeReader(in, h)
	if target == "" {
		_, err = io.Copy(io.Discard, r)
	} else {
		err = writeFile(to, r, 0o644)
	}
	return hex.EncodeToString(h.Sum(nil)), err
}

// checkoutEntry is the name of entries that hold a copy of a local source.
const checkoutEntry = "istio-source"

// snapshot copies a checkout into the cache, so that what is edited there while parts are built has no effect: all of
// them, and the charts, are of one state.
func (f *fetcher) snapshot(ctx context.Context, i Istio) (string, error) {
	c := i.Checkout
	e, err := f.ensure(ctx, Recipe{Name: checkoutEntry, Version: i.Release, Source: Build, Inputs: c.Digest}, func(_ context.Context, w *Work) error {
		copied, err := treeDigest(c.Dir, w.Out)
		if err == nil && copied != c.Digest {
			err = fmt.Errorf("%s was changed while it was read: try again when it is saved", c.Dir)
		}
		w.came(c.origin())
		return err
	})
	if err != nil {
		return "", fmt.Errorf("copy the source of Istio: %w", err)
	}
	return e.Dir, nil
}

// origin stands for the checkout in manifests and reports.
func (c Checkout) origin() Origin {
	return Origin{Kind: "local source", Name: istioModule, Version: c.Version, Digest: sha256Prefix + c.Digest, Checked: byNothing}
}

// fits says whether a wrapper module has all that a go.mod requires, in that version or a later one.
func fits(wrapper, mod []byte) (bool, error) {
	w, err := modfile.ParseLax("go.mod of the wrapper module", wrapper, nil)
	if err != nil {
		return false, err
	}
	m, err := modfile.Parse("go.mod", mod, nil)
	if err != nil {
		return false, err
	}
	have := map[string]string{}
	for _, r := range w.Require {
		have[r.Mod.Path] = r.Mod.Version
	}
	for _, r := range m.Require {
		if v := have[r.Mod.Path]; v == "" || semver.Compare(v, r.Mod.Version) < 0 {
			return false, nil
		}
	}
	return len(m.Replace) == 0, nil // the wrapper knows nothing of the checkout's own
}

// inPlaceOf makes a wrapper module in a folder take a module from another folder.
func inPlaceOf(dir, module, source string) error {
	file := filepath.Join(dir, "go.mod")
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	m, err := modfile.Parse(file, b, nil)
	if err != nil {
		return err
	}
	if err := m.AddReplace(module, "", source, ""); err != nil {
		return err
	}
	if b, err = m.Format(); err != nil {
		return err
	}
	return os.WriteFile(file, b, 0o644)
}
