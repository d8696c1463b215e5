package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"mesh-egress-conformance/docs"
	"mesh-egress-conformance/fixtures"
	"mesh-egress-conformance/framework/cluster"
	"mesh-egress-conformance/framework/input"
	"mesh-egress-conformance/framework/pages"
	"mesh-egress-conformance/samples"
)

// library is a folder with pages and the files that their commands name: the repository that the command was called in, or
// else a copy of what is built into this program.
type library struct {
	dir   string
	links string // folder with the programs that the commands name; "" until they are needed
	copy  bool
}

func openLibrary() (*library, error) {
	here, err := os.Getwd()
	if err != nil {
		return nil, fmt.Errorf("look for pages: %w", err)
	}
	if dir := repository(here); dir != "" {
		return &library{dir: dir}, nil
	}
	dir, err := os.MkdirTemp("", "egressctl-pages-")
	if err != nil {
		return nil, fmt.Errorf("make a folder for the pages: %w", err)
	}
	l := &library{dir: dir, copy: true}
	for below, from := range map[string]fs.FS{"docs": docs.Pages, "fixtures": fixtures.FS, "samples": samples.FS} {
		if err := os.CopyFS(filepath.Join(dir, below), from); err != nil {
			l.Close()
			return nil, fmt.Errorf("copy the pages: %w", err)
		}
	}
	return l, nil
}

// repository is the folder, or the closest one above it, that has pages; "" if none has.
func repository(dir string) string {
	for {
		found, err := filepath.Glob(filepath.Join(dir, filepath.FromSlash(pages.Dir), "*.md"))
		if err == nil && len(found) > 0 {
			return dir
		}
		up := filepath.Dir(dir)
		if up == dir {
			return ""
		}
		dir = up
	}
}

func (l *library) fs() fs.FS { return input.Dir(l.dir) }

// Close removes what was made for this process.
func (l *library) Close() {
	os.RemoveAll(l.links)
	if l.copy {
		os.RemoveAll(l.dir)
	}
}

// environment is that of a page's commands: the cluster's own kubectl and istioctl, and this program, stand first.
func (l *library) environment(c cluster.Cluster) ([]string, error) {
	self, err := os.Executable()
	if err == nil && l.links == "" {
		l.links, err = os.MkdirTemp("", "egressctl-bin-")
	}
	if err != nil {
		return nil, fmt.Errorf("make the programs of the pages known: %w", err)
	}
	for name, program := range map[string]string{"egressctl": self, "kubectl": c.Program("kubectl"), "istioctl": c.Program("istioctl")} {
		link := filepath.Join(l.links, name)
		if program == "" {
			continue
		}
		if _, err := os.Lstat(link); err == nil {
			continue
		}
		if err := os.Symlink(program, link); err != nil {
			return nil, fmt.Errorf("make the programs of the pages known: %w", err)
		}
	}
	return append(os.Environ(), "LC_ALL=C", nameEnv+"="+c.Name(), "KUBECONFIG="+c.Kubeconfig(), "PATH="+l.links+string(filepath.ListSeparator)+os.Getenv("PATH"),
		"KUBECACHEDIR="+filepath.Join(filepath.Dir(c.Kubeconfig()), "kubectl-cache")), nil
}
