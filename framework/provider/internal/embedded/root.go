//go:build linux

package embedded

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"syscall"
	"time"

	"mesh-egress-conformance/framework/components"
	"mesh-egress-conformance/framework/internet"
	"mesh-egress-conformance/framework/lockfile"
)

// bakedRoot returns a containerd root folder in which the set's images are unpacked and in which
// nothing ever ran, made once for each set of images. A used root would bring dead sandboxes back.
func (p *Provider) bakedRoot(ctx context.Context, set *components.Set, hosts *internet.Hosts) (string, error) {
	key := rootKey(set)
	dir := filepath.Join(p.home.store.Root, "roots", key)
	if _, err := os.Stat(filepath.Join(dir, "complete")); err == nil {
		return filepath.Join(dir, "containerd"), nil
	}
	lock, err := waitLock(ctx, filepath.Join(p.home.store.Root, "roots", key+".lock"))
	if err != nil {
		return "", fmt.Errorf("wait for another run that unpacks the images: %w", err)
	}
	defer lock.Close()
	if _, err := os.Stat(filepath.Join(dir, "complete")); err == nil {
		return filepath.Join(dir, "containerd"), nil
	}
	if err := p.bake(ctx, set, hosts, dir, lock); err != nil {
		return "", errors.Join(fmt.Errorf("unpack the images: %w", err), os.RemoveAll(dir))
	}
	return filepath.Join(dir, "containerd"), nil
}

func (p *Provider) bake(ctx context.Context, set *components.Set, hosts *internet.Hosts, dir string, lock *os.File) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	s := &spec{Name: "bake", Dir: dir, Mode: modeBake, Root: filepath.Join(dir, "containerd"), Pause: components.PauseImage, Hosts: hosts, Parts: partDirs(set), Created: time.Now()}
	for _, n := range sortedKeys(set.Images) {
		s.Images = append(s.Images, set.Images[n].Path(components.ImageArchive))
	}
	h, err := launch(s, lock)
	if err != nil {
		return err
	}
	defer h.lifeline.Close()
	if err := h.await(ctx, "gone"); err != nil {
		return errors.Join(err, h.end(context.WithoutCancel(ctx)))
	}
	return touch(filepath.Join(dir, "complete"))
}

// Prune removes the unpacked roots of image archives that are no longer in the cache, and those that
// were never completed. One that a cluster was made from stays as long as the cluster's folder.
func (p *Provider) Prune() ([]string, error) {
	dirs, err := filepath.Glob(filepath.Join(p.home.store.Root, "roots", "*", "logs"))
	if err != nil {
		return nil, err
	}
	var removed []string
	for _, logs := range dirs {
		dir := filepath.Dir(logs)
		if rootInUse(dir) || p.mounted(dir) {
			continue
		}
		lock, err := takeLock(dir + ".lock")
		if errors.Is(err, lockfile.ErrHeld) {
			continue // it is being made
		}
		if err == nil {
			err = errors.Join(os.RemoveAll(dir), lock.Close())
		}
		if err != nil {
			return removed, fmt.Errorf("remove the unpacked images %s: %w", dir, err)
		}
		removed = append(removed, dir)
	}
	return removed, nil
}

// mounted says whether a cluster shows its containers the unpacked images of a folder.
func (p *Provider) mounted(dir string) bool {
	clusters, err := filepath.Glob(p.home.dir("*"))
	if err != nil {
		return true
	}
	for _, c := range clusters {
		if s, err := readSpec(c); err == nil && s.Base != "" && filepath.Dir(s.Base) == dir {
			return true
		}
	}
	return false
}

func rootInUse(dir string) bool {
	s, err := readSpec(dir)
	if err != nil {
		return false
	}
	for _, f := range append(slices.Clone(s.Images), filepath.Join(dir, "complete")) {
		if _, err := os.Stat(f); err != nil {
			return false
		}
	}
	return true
}

func sortedKeys[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	sort.Strings(out)
	return out
}

func rootKey(set *components.Set) string {
	h := sha256.New()
	fmt.Fprintln(h, "layout 2, owner", firstID) // how the files were unpacked
	fmt.Fprintln(h, "containerd", set.Parts["containerd"].Manifest.Key)
	for _, n := range sortedKeys(set.Images) {
		fmt.Fprintln(h, n, set.Images[n].Manifest.Digest())
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

func waitLock(ctx context.Context, path string) (*os.File, error) {
	for {
		f, err := takeLock(path)
		if !errors.Is(err, lockfile.ErrHeld) {
			return f, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// snapshots is where containerd's root folder has the unpacked image layers, and blobs where it has their archives.
const (
	snapshots = "io.containerd.snapshotter.v1.overlayfs/snapshots"
	blobs     = "io.containerd.content.v1.content/blobs"
)

// sharedParts lists the folders and files of an unpacked root that all clusters use, read-only: everything large. The
// layers with what a container trusts are each cluster's own, and so is the folder of the archives, to which images may be
// added.
func sharedParts(root string) ([]string, error) {
	layers, err := os.ReadDir(filepath.Join(root, snapshots))
	if err != nil {
		return nil, err
	}
	archives, err := filepath.Glob(filepath.Join(root, blobs, "*", "*"))
	if err != nil {
		return nil, err
	}
	var shared []string
	for _, a := range archives {
		rel, err := filepath.Rel(root, a)
		if err != nil {
			return nil, err
		}
		shared = append(shared, rel)
	}
	for _, l := range layers {
		d := filepath.Join(snapshots, l.Name())
		_, err := os.Stat(filepath.Join(root, d, "fs", components.TrustMarker))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			shared = append(shared, d)
		case err != nil:
			return nil, err
		}
	}
	return shared, nil
}

// copyRoot makes a cluster's own containerd root. The folders and files that all clusters share are empty in it: they are
// mounted there.
func copyRoot(src, dst string) error {
	shared, err := sharedParts(src)
	if err != nil {
		return err
	}
	return filepath.WalkDir(src, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(src, p)
		if err != nil {
			return err
		}
		to := filepath.Join(dst, rel)
		info, err := d.Info()
		if err != nil {
			return err
		}
		switch {
		case d.IsDir() && slices.Contains(shared, rel):
			if err := makeDirLike(to, info); err != nil {
				return err
			}
			return fs.SkipDir
		case d.IsDir():
			return makeDirLike(to, info)
		case d.Type() == fs.ModeSymlink:
			target, err := os.Readlink(p)
			if err != nil {
				return err
			}
			return errors.Join(os.Symlink(target, to), ownLike(to, info))
		case !info.Mode().IsRegular():
			return fmt.Errorf("%s is neither a file nor a folder", p)
		case slices.Contains(shared, rel):
			return errors.Join(os.WriteFile(to, nil, info.Mode().Perm()), ownLike(to, info))
		}
		b, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		return errors.Join(os.WriteFile(to, b, info.Mode().Perm()), ownLike(to, info))
	})
}

// makeDirLike keeps owner and mode (sticky bit included) whatever the umask.
func makeDirLike(path string, like fs.FileInfo) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return err
	}
	return errors.Join(ownLike(path, like), os.Chmod(path, like.Mode().Perm()|like.Mode()&(fs.ModeSticky|fs.ModeSetgid)))
}

func ownLike(path string, like fs.FileInfo) error {
	st, ok := like.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("%s: its owner is not known", path)
	}
	return os.Lchown(path, int(st.Uid), int(st.Gid))
}
