package components

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
)

// Packages that a dependency list names and that a container of ours never needs: package
// management, documentation, and what only maintainer scripts call.
var debUnwanted = []string{
	"dpkg", "debconf", "debconf-2.0", "cdebconf", "install-info", "tar",
	"gcc-12-base", "libc-bin", "perl-base", "openssl",
}

// Folders of a package that no container of ours needs.
var rootfsUnwanted = []string{
	"usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info",
	"usr/share/lintian", "usr/share/bash-completion", "usr/share/zsh", "usr/lib/systemd", "lib/systemd",
	"usr/share/doc-base", "usr/share/readline", "usr/include", "var", "usr/lib/x86_64-linux-gnu/gconv",
}

// Busybox applets that get a name of their own in the userland; curl and iptables are real.
var applets = strings.Fields(`sh ash cat chmod chown cp cut date dd df dirname du echo env expr false find
	free grep egrep fgrep head hostname id ip kill ln ls md5sum mkdir mktemp mv nc netstat nslookup od
	ping pgrep printf ps pwd readlink realpath rm rmdir route sed seq sha256sum sleep sort stat sync tail tar tee
	test time timeout top touch tr traceroute true uname uniq vi wc wget which whoami xargs yes`)

// aptStrict makes apt refuse what no signature of the distribution covers, whatever this machine's own settings are.
var aptStrict = []string{
	"-q", "-o", "APT::Sandbox::User=root", "-o", "APT::Get::AllowUnauthenticated=false",
	"-o", "Acquire::AllowInsecureRepositories=false", "-o", "Acquire::AllowDowngradeToInsecureRepositories=false",
}

// buildDeb unpacks distribution packages without installing them. For node tools it keeps the
// programs and the libraries beside them; for the userland it makes a whole root file system; else it picks single files.
func buildDeb(ctx context.Context, p Part, w *Work) error {
	names, err := debNames(ctx, w, p.Deb)
	if err != nil {
		return fmt.Errorf("resolve the distribution packages of %s: %w", p.Name, err)
	}
	debs, err := downloadDebs(ctx, w, names)
	if err != nil {
		return fmt.Errorf("download the distribution packages of %s: %w", p.Name, err)
	}
	root := filepath.Join(w.Dir, "root")
	for _, d := range debs {
		if _, err := w.run(ctx, w.Dir, nil, "dpkg-deb", "-x", d, root); err != nil {
			return fmt.Errorf("unpack %s: %w", filepath.Base(d), err)
		}
	}
	switch {
	case p.Deb.Rootfs:
		return packRootfs(root, w.Out)
	case len(p.Deb.Pick) > 0:
		return pick(root, p.Deb.Pick, w.Out)
	}
	return pickNodeTools(root, w.Out)
}

// pick copies single files of unpacked packages.
func pick(root string, files []string, dir string) error {
	for _, f := range files {
		if err := copyFile(filepath.Join(root, f), filepath.Join(dir, filepath.Base(f))); err != nil {
			return fmt.Errorf("the distribution's packages hold no %s: %w", f, err)
		}
	}
	return nil
}

// downloadDebs downloads packages, compares each with the digest in the distribution's signed lists, and records
// its version and digest.
func downloadDebs(ctx context.Context, w *Work, names []string) (files []string, err error) {
	download := slices.Concat(aptStrict, []string{"download"}, names)
	out, err := w.run(ctx, w.Dir, nil, "apt-get", append([]string{"--print-uris"}, download...)...)
	if err != nil {
		return nil, err
	}
	wants, err := parseURIs(string(out))
	if err != nil {
		return nil, err
	}
	if _, err := w.run(ctx, w.Dir, nil, "apt-get", download...); err != nil {
		return nil, err
	}
	for _, want := range wants {
		file := filepath.Join(w.Dir, want.file)
		if err := wantDigest(file, want.sha256); err != nil {
			return nil, err
		}
		// Names of files escape the colon of an epoch, so the package itself is asked.
		version, err := w.run(ctx, w.Dir, nil, "dpkg-deb", "--field", file, "Version")
		if err != nil {
			return nil, err
		}
		name, _, _ := strings.Cut(want.file, "_")
		w.came(Origin{Kind: "deb", Name: name, Version: strings.TrimSpace(string(version)), Digest: sha256Prefix + want.sha256, Checked: byApt})
		files = append(files, file)
	}
	return files, nil
}

// debFile is a package as apt's signed lists describe it.
type debFile struct{ file, sha256 string }

// parseURIs reads the answer of apt-get --print-uris: quoted address, file, size, and digest a line.
func parseURIs(text string) ([]debFile, error) {
	var out []debFile
	for _, l := range strings.Split(text, "\n") {
		f := strings.Fields(l)
		if len(f) < 3 || !strings.HasPrefix(f[0], "'") {
			continue
		}
		sum := ""
		for _, d := range f[3:] {
			if v, ok := strings.CutPrefix(d, "SHA256:"); ok {
				sum = v
			}
		}
		if len(sum) != sha256.Size*2 || strings.Contains(f[1], "/") {
			return nil, fmt.Errorf("apt's lists have no sha256 of %s (apt-get says %q)", f[1], l)
		}
		out = append(out, debFile{f[1], sum})
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("apt-get names no file to download: %q", text)
	}
	return out, nil
}

// debNames lists packages, with everything that they depend on where they are not there for single files.
func debNames(ctx context.Context, w *Work, d *DebPackages) ([]string, error) {
	args := []string{"depends", "--no-recommends", "--no-suggests", "--no-conflicts", "--no-breaks", "--no-replaces", "--no-enhances"}
	if len(d.Pick) == 0 {
		args = append(args, "--recurse")
	}
	args = append(args, d.Packages...)
	out, err := w.run(ctx, w.Dir, nil, "apt-cache", args...)
	if err != nil || len(bytes.TrimSpace(out)) == 0 {
		// A machine whose package lists were never loaded.
		if _, uerr := w.run(ctx, w.Dir, nil, "apt-get", append(slices.Clone(aptStrict), "update")...); uerr != nil {
			return nil, errors.Join(err, uerr)
		}
		if out, err = w.run(ctx, w.Dir, nil, "apt-cache", args...); err != nil {
			return nil, err
		}
	}
	seen := map[string]bool{}
	for _, l := range strings.Split(string(out), "\n") {
		// Package names stand in the first column; their dependencies are indented.
		if l == "" || l[0] == ' ' || l[0] == '<' || slices.Contains(debUnwanted, l) && !slices.Contains(d.Packages, l) || strings.Contains(l, ":") {
			continue
		}
		seen[l] = true
	}
	for _, p := range d.Packages {
		if !seen[p] {
			return nil, fmt.Errorf("package %s is not in this distribution's lists (run apt-get update; on Ubuntu enable the universe component)", p)
		}
	}
	names := make([]string, 0, len(seen))
	for n := range seen {
		names = append(names, n)
	}
	sort.Strings(names)
	return names, nil
}

// pickNodeTools keeps runc, iptables, slirp4netns, ipset and the libraries that they load. They run on the host's
// own C library, which is the same distribution's.
func pickNodeTools(root, dir string) error {
	want := map[string][]string{
		".":       {"usr/sbin/runc", "usr/bin/runc", "usr/sbin/xtables-nft-multi", "usr/sbin/xtables-legacy-multi", "usr/bin/slirp4netns", "usr/sbin/ipset", "sbin/ipset"},
		"lib":     {"usr/lib/*/libslirp.so*", "usr/lib/*/libpcre2-8.so*", "usr/lib/*/libglib-2.0.so*", "usr/lib/*/libseccomp.so*", "lib/*/libglib-2.0.so*", "lib/*/libseccomp.so*", "usr/lib/*/libxtables.so*", "usr/lib/*/libipset.so*", "usr/lib/*/libip4tc.so*", "usr/lib/*/libip6tc.so*", "usr/lib/*/libmnl.so*", "usr/lib/*/libnftnl.so*", "usr/lib/*/libnfnetlink.so*", "usr/lib/*/libnetfilter_conntrack.so*", "lib/*/libmnl.so*"},
		"xtables": {"usr/lib/*/xtables/*.so"},
	}
	for sub, globs := range want {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return err
		}
		for _, g := range globs {
			files, err := filepath.Glob(filepath.Join(root, g))
			if err != nil {
				return err
			}
			for _, f := range files {
				// A library may be found under both layouts of /usr; one copy is enough.
				if err := copyFile(f, filepath.Join(dir, sub, filepath.Base(f))); err != nil && !errors.Is(err, fs.ErrExist) {
					return err
				}
			}
		}
	}
	for _, f := range []string{"runc", "xtables-nft-multi", "lib/libxtables.so.12", "slirp4netns", "ipset", ipsetLibrary} {
		if _, err := os.Stat(filepath.Join(dir, f)); err != nil {
			return fmt.Errorf("the distribution's packages hold no %s: %w", f, err)
		}
	}
	return nil
}

// ipsetLibrary is what ipset loads that no other node tool does.
const ipsetLibrary = "lib/libipset.so.13"

// copyFile copies a file, following links.
func copyFile(src, dst string) error {
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer in.Close()
	st, err := in.Stat()
	if err != nil {
		return err
	}
	return writeFile(dst, in, st.Mode().Perm())
}

// iptablesNames are those under which one program is all of iptables' tools.
var iptablesNames = []string{"iptables", "iptables-save", "iptables-restore", "ip6tables", "ip6tables-save", "ip6tables-restore"}

// packRootfs turns the unpacked packages into rootfs.tar: merged /usr, busybox under its applets'
// names, the distribution's CA bundle, and users for the containers.
func packRootfs(root, dir string) error {
	for _, d := range rootfsUnwanted {
		if err := os.RemoveAll(filepath.Join(root, d)); err != nil {
			return err
		}
	}
	if err := mergeUsr(root); err != nil {
		return fmt.Errorf("merge /usr in the userland: %w", err)
	}
	bundle, err := caBundle(root)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "ca-certificates.crt"), bundle, 0o644); err != nil {
		return err
	}
	bin := filepath.Join(root, "usr/bin")
	for _, a := range applets {
		if err := os.Symlink("busybox", filepath.Join(bin, a)); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	// The alternatives that iptables' maintainer script would make. Istio tries both flavours itself.
	for _, n := range iptablesNames {
		if err := os.Symlink("xtables-nft-multi", filepath.Join(root, "usr/sbin", n)); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	etc := map[string]string{
		"passwd":        "root:x:0:0:root:/root:/bin/sh\nistio-proxy:x:1337:1337::/var/lib/istio:/bin/sh\napp:x:1000:1000::/tmp:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n",
		"group":         "root:x:0:\nistio-proxy:x:1337:\napp:x:1000:\nnobody:x:65534:\n",
		"nsswitch.conf": "hosts: files dns\n",
	}
	for n, c := range etc {
		if err := os.WriteFile(filepath.Join(root, "etc", n), []byte(c), 0o644); err != nil {
			return err
		}
	}
	return tarTree(root, filepath.Join(dir, "rootfs.tar"))
}

// mergeUsr moves /bin, /sbin, /lib and /lib64 under /usr and links them, as both Debian and Ubuntu
// install themselves while single packages still ship either layout.
func mergeUsr(root string) error {
	for _, d := range []string{"bin", "sbin", "lib", "lib64"} {
		old, dst := filepath.Join(root, d), filepath.Join(root, "usr", d)
		if err := os.MkdirAll(dst, 0o755); err != nil {
			return err
		}
		err := filepath.WalkDir(old, func(p string, e fs.DirEntry, err error) error {
			if err != nil || p == old {
				return ignoreMissing(err)
			}
			rel, err := filepath.Rel(old, p)
			if err != nil {
				return err
			}
			if e.IsDir() {
				return os.MkdirAll(filepath.Join(dst, rel), 0o755)
			}
			return os.Rename(p, filepath.Join(dst, rel))
		})
		if err != nil {
			return err
		}
		if err := os.RemoveAll(old); err != nil {
			return err
		}
		if err := os.Symlink("usr/"+d, old); err != nil {
			return err
		}
	}
	return nil
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func caBundle(root string) ([]byte, error) {
	certs, err := filepath.Glob(filepath.Join(root, "usr/share/ca-certificates/mozilla/*.crt"))
	if err != nil || len(certs) == 0 {
		return nil, fmt.Errorf("the ca-certificates package holds no certificates (%w)", err)
	}
	sort.Strings(certs)
	var b bytes.Buffer
	for _, c := range certs {
		pem, err := os.ReadFile(c)
		if err != nil {
			return nil, err
		}
		b.Write(bytes.TrimSpace(pem))
		b.WriteByte('\n')
	}
	return b.Bytes(), nil
}

// tarTree writes a reproducible tar: sorted names, no times, root's files.
func tarTree(root, out string) error {
	f, err := os.Create(out)
	if err != nil {
		return err
	}
	defer f.Close()
	w := tar.NewWriter(f)
	dirs := []string{"tmp", "run", "root", "proc", "sys", "dev", "var/lib", "etc/ssl/certs"}
	for _, d := range dirs {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			return err
		}
	}
	if err := os.Chmod(filepath.Join(root, "tmp"), 0o777|fs.ModeSticky); err != nil {
		return err
	}
	err = filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == root {
			return err
		}
		st, err := d.Info()
		if err != nil {
			return err
		}
		link := ""
		if st.Mode()&fs.ModeSymlink != 0 {
			if link, err = os.Readlink(p); err != nil {
				return err
			}
		}
		h, err := tar.FileInfoHeader(st, link)
		if err != nil {
			return err
		}
		if h.Name, err = filepath.Rel(root, p); err != nil {
			return err
		}
		if d.IsDir() {
			h.Name += "/"
		}
		plainHeader(h)
		if err := w.WriteHeader(h); err != nil || !st.Mode().IsRegular() {
			return err
		}
		return copyInto(w, p)
	})
	if err := errors.Join(err, w.Close()); err != nil {
		return fmt.Errorf("pack %s: %w", root, err)
	}
	return nil
}
