package manifest

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"mesh-egress-conformance/framework/input"
	"mesh-egress-conformance/framework/procgroup"
)

// ReadAt reads paths as they were at a commit of the Git repository that they are in. A path that was not there then has no
// objects. An error means that the commit cannot be read at all.
func ReadAt(ctx context.Context, ref string, paths []string, o Options) (*Set, error) {
	trees := map[string]string{} // by repository, where its files at the commit are
	defer func() {
		for _, dir := range trees {
			_ = os.RemoveAll(dir) // of ours, below the folder for temporary files
		}
	}()
	var from []source
	for _, p := range paths {
		if p == stdin {
			return nil, errors.New("standard input has no history: name files or folders of a Git repository")
		}
		top, below, err := repository(ctx, p)
		if err != nil {
			return nil, err
		}
		if trees[top] == "" {
			if trees[top], err = export(ctx, top, ref); err != nil {
				return nil, err
			}
		}
		then := filepath.Join(trees[top], below)
		if _, err := os.Stat(then); errors.Is(err, os.ErrNotExist) {
			continue
		}
		from = append(from, source{then, ref + ":" + filepath.ToSlash(below)})
	}
	return read(ctx, from, o), nil
}

// repository finds the top folder of the repository that a path is in, and the path below it.
func repository(ctx context.Context, path string) (top, below string, err error) {
	full, err := filepath.Abs(path)
	if err == nil {
		full, err = filepath.EvalSymlinks(full)
	}
	if err != nil {
		return "", "", fmt.Errorf("find the repository of %s: %w", path, err)
	}
	dir := full
	if st, err := os.Stat(full); err == nil && !st.IsDir() {
		dir = filepath.Dir(full)
	}
	out, err := git(ctx, dir, "rev-parse", "--show-toplevel")
	if err != nil {
		return "", "", fmt.Errorf("find the Git repository of %s: %w", path, err)
	}
	top = strings.TrimSuffix(string(out), "\n")
	below, err = filepath.Rel(top, full)
	return top, below, err
}

// maxExport bounds the files of one commit, in bytes.
const maxExport = 512 << 20

// export writes the files of a commit into a new folder.
func export(ctx context.Context, top, ref string) (dir string, err error) {
	if strings.HasPrefix(ref, "-") {
		return "", fmt.Errorf("%q is no commit", ref)
	}
	commit, err := git(ctx, top, "rev-parse", "--verify", "--quiet", ref+"^{commit}")
	if err != nil {
		return "", fmt.Errorf("the repository %s has no commit %q: fetch it, or name another one", top, ref)
	}
	archive, err := git(ctx, top, "archive", "--format=tar", strings.TrimSpace(string(commit)))
	if err != nil {
		return "", fmt.Errorf("read commit %s: %w", ref, err)
	}
	if dir, err = os.MkdirTemp("", "egress-verify-"); err != nil {
		return "", fmt.Errorf("make a folder for commit %s: %w", ref, err)
	}
	if err := unpack(archive, dir); err != nil {
		return "", errors.Join(fmt.Errorf("unpack commit %s: %w", ref, err), os.RemoveAll(dir))
	}
	return dir, nil
}

// unpack writes the regular files of an archive that could be read as objects, charts or values. Links lead out of what was asked
// for, and are left out.
func unpack(archive []byte, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	in := tar.NewReader(bytes.NewReader(archive))
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		name := filepath.FromSlash(h.Name)
		switch h.Typeflag {
		case tar.TypeDir:
			err = root.MkdirAll(filepath.Clean(name), 0o700)
		case tar.TypeReg:
			if h.Size > input.MaxFile {
				continue
			}
			if err = root.MkdirAll(filepath.Dir(name), 0o700); err == nil {
				err = write(root, name, in)
			}
		}
		if err != nil {
			return err
		}
	}
}

func write(root *os.Root, name string, in io.Reader) error {
	f, err := root.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, io.LimitReader(in, input.MaxFile))
	return errors.Join(err, f.Close())
}

// git runs the program git, which must be there for this alone.
func git(ctx context.Context, dir string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "git", append([]string{"-C", dir}, args...)...)
	var out limited
	var stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	if err := procgroup.Run(cmd); err != nil {
		return nil, fmt.Errorf("git %s: %w: %s", args[0], err, strings.TrimSpace(stderr.String()))
	}
	return out.Bytes(), nil
}

// limited is a buffer that refuses more than maxExport bytes.
type limited struct{ bytes.Buffer }

func (l *limited) Write(b []byte) (int, error) {
	if l.Len()+len(b) > maxExport {
		return 0, fmt.Errorf("more than %d MiB", maxExport>>20)
	}
	return l.Buffer.Write(b)
}
