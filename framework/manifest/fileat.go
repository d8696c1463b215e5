package manifest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"mesh-egress-conformance/framework/input"
)

// ErrNoHistory is that of a file that is in no Git repository.
var ErrNoHistory = errors.New("it is in no Git repository")

// FileAt reads a file as it was at a commit of the Git repository that it is in, and says what messages call it: commit and path. The
// error is ErrNoHistory where it is in none, fs.ErrNotExist where the commit does not have it.
func FileAt(ctx context.Context, ref, path string) (content []byte, name string, err error) {
	top, below, err := repository(ctx, path)
	if err != nil {
		return nil, "", fmt.Errorf("%w: %w", ErrNoHistory, err)
	}
	below = filepath.ToSlash(below)
	name = ref + ":" + below
	if strings.HasPrefix(ref, "-") {
		return nil, name, fmt.Errorf("%q is no commit", ref)
	}
	found, err := git(ctx, top, nil, "ls-tree", "--full-tree", ref, "--", below)
	if err != nil {
		return nil, name, fmt.Errorf("look for %s: %w", name, err)
	}
	if len(found) == 0 {
		return nil, name, fmt.Errorf("read %s: %w", name, fs.ErrNotExist)
	}
	if strings.HasPrefix(string(found), linkMode) {
		return nil, name, fmt.Errorf("read %s: it is a link, which may have led elsewhere then: name the file that it leads to", name)
	}
	if content, err = git(ctx, top, nil, "cat-file", "blob", name); err != nil {
		return nil, name, fmt.Errorf("read %s: %w", name, err)
	}
	if len(content) > input.MaxFile {
		return nil, name, fmt.Errorf("read %s: it has %d bytes, at most %d are possible", name, len(content), input.MaxFile)
	}
	return content, name, nil
}
