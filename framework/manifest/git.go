package manifest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"mesh-egress-conformance/framework/procgroup"
)

// ReadAt reads paths as they were at a commit of the Git repository that they are in. A path that was not there then has no
// objects; what was there and cannot be read, such as a link that leads out of the repository, is a mistake. An error means that
// the commit cannot be read at all.
func ReadAt(ctx context.Context, ref string, paths []string, o Options) (*Set, error) {
	trees := map[string]string{} // by repository, where its files at the commit are
	defer func() {
		for _, dir := range trees {
			_ = os.RemoveAll(dir) // of ours, below the folder for temporary files
		}
	}()
	var from []source
	lost := map[string]string{}
	for _, p := range paths {
		if p == stdin {
			return nil, errors.New("standard input has no history: name files or folders of a Git repository")
		}
		top, below, err := repository(ctx, p)
		if err != nil {
			return nil, err
		}
		if trees[top] == "" {
			if trees[top], err = export(ctx, top, ref, lost); err != nil {
				return nil, err
			}
		}
		then := source{filepath.Join(trees[top], below), ref + ":" + filepath.ToSlash(below)}
		r := reader{lost: lost, set: &Set{}}
		if _, err := os.Lstat(then.path); errors.Is(err, os.ErrNotExist) && !r.isLost(then) {
			continue
		}
		from = append(from, then)
	}
	return read(ctx, from, o, lost), nil
}

// repository finds the top folder of the repository that a path is in, and the path below it. A link on the way within the
// repository stays: it may have led somewhere else at the commit.
func repository(ctx context.Context, path string) (top, below string, err error) {
	full, err := filepath.Abs(path)
	if err == nil {
		_, err = os.Lstat(full)
	}
	if err != nil {
		return "", "", fmt.Errorf("find the repository of %s: %w", path, err)
	}
	dir := full
	if st, err := os.Lstat(full); err == nil && !st.IsDir() {
		dir = filepath.Dir(full)
	}
	out, err := git(ctx, dir, nil, "rev-parse", "--show-toplevel")
	if err != nil {
		return "", "", fmt.Errorf("find the Git repository of %s: %w", path, err)
	}
	top = strings.TrimSuffix(string(out), "\n")
	for up := full; ; up = filepath.Dir(up) { // the way to the repository may have links, too
		if at, err := filepath.EvalSymlinks(up); err == nil && at == top {
			below, err = filepath.Rel(up, full)
			return top, below, err
		}
		if up == filepath.Dir(up) {
			break
		}
	}
	if full, err = filepath.EvalSymlinks(full); err == nil { // it enters the repository by a link from outside
		below, err = filepath.Rel(top, full)
	}
	return top, below, err
}

// maxExport bounds the files of one commit, in bytes.
const maxExport = 512 << 20

// export writes the files of a commit into a new folder. lost gets those that cannot be, by their paths there, with the reason.
// Attributes such as export-ignore, which are for archives, have no part in it.
func export(ctx context.Context, top, ref string, lost map[string]string) (dir string, err error) {
	if strings.HasPrefix(ref, "-") {
		return "", fmt.Errorf("%q is no commit", ref)
	}
	commit, err := git(ctx, top, nil, "rev-parse", "--verify", "--quiet", ref+"^{commit}")
	if err != nil {
		return "", fmt.Errorf("the repository %s has no commit %q: fetch it, or name another one", top, ref)
	}
	listed, err := git(ctx, top, nil, "ls-tree", "-r", "-l", "-z", "--full-tree", strings.TrimSpace(string(commit)))
	if err != nil {
		return "", fmt.Errorf("list the files of commit %s: %w", ref, err)
	}
	files, err := tracked(string(listed))
	if err != nil {
		return "", fmt.Errorf("list the files of commit %s: %w", ref, err)
	}
	content, err := git(ctx, top, strings.NewReader(wanted(files)), "cat-file", "--batch")
	if err != nil {
		return "", fmt.Errorf("read commit %s: %w", ref, err)
	}
	if dir, err = os.MkdirTemp("", "egress-verify-"); err == nil {
		dir, err = filepath.EvalSymlinks(dir)
	}
	if err != nil {
		return "", fmt.Errorf("make a folder for commit %s: %w", ref, err)
	}
	if err := unpack(files, content, dir, lost); err != nil {
		return "", errors.Join(fmt.Errorf("unpack commit %s: %w", ref, err), os.RemoveAll(dir))
	}
	return dir, nil
}

// git runs the program git, which must be there for this alone.
func git(ctx context.Context, dir string, stdin io.Reader, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "git", append([]string{"-C", dir}, args...)...)
	cmd.Stdin = stdin
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
