package components

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// TrustMarker is a file in the last layer of every image whose programs verify certificates. The
// layer holds nothing but the CA bundle and this marker, so that a cluster can find it in its own
// copy of the unpacked images and put its own bundle there.
const TrustMarker = "etc/mesh-egress-conformance.trust"

// BundlePath is where OpenSSL, Go and Envoy on Debian look for trusted certificates.
const BundlePath = "etc/ssl/certs/ca-certificates.crt"

func plainHeader(h *tar.Header) {
	h.Uid, h.Gid, h.Uname, h.Gname = 0, 0, "", ""
	h.ModTime, h.AccessTime, h.ChangeTime = time.Unix(0, 0), time.Time{}, time.Time{}
	h.Format = tar.FormatGNU
}

func copyInto(w io.Writer, file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(w, f)
	return err
}

// imageSpec describes an image assembled here.
type imageSpec struct {
	refs       []string
	digest     string            // pin of refs[0] where it is pulled; "" for none
	base       string            // tar of a whole root file system; "" for none
	files      map[string]string // path in the image → file on this machine
	trust      string            // CA bundle; "" for an image that verifies nothing
	entrypoint []string
	cmd        []string
	user       string
	workdir    string
	env        []string
	stopSignal string // "" is the runtime's own
}

// writeArchive assembles the image and writes it as an archive that docker, kind and containerd load.
func (s imageSpec) writeArchive(out string) error {
	img := empty.Image
	var layers []v1.Layer
	if s.base != "" {
		l, err := fileLayer(s.base)
		if err != nil {
			return fmt.Errorf("image %s: base layer: %w", s.refs[0], err)
		}
		layers = append(layers, l)
	}
	if len(s.files) > 0 {
		tmp, err := os.CreateTemp(filepath.Dir(out), ".layer-")
		if err != nil {
			return err
		}
		defer os.Remove(tmp.Name())
		if err := errors.Join(tarFiles(tmp, s.files), tmp.Close()); err != nil {
			return fmt.Errorf("image %s: program layer: %w", s.refs[0], err)
		}
		l, err := fileLayer(tmp.Name())
		if err != nil {
			return fmt.Errorf("image %s: program layer: %w", s.refs[0], err)
		}
		layers = append(layers, l)
	}
	if s.trust != "" {
		l, err := trustLayer(s.trust)
		if err != nil {
			return fmt.Errorf("image %s: trust layer: %w", s.refs[0], err)
		}
		layers = append(layers, l)
	}
	img, err := mutate.AppendLayers(img, layers...)
	if err != nil {
		return fmt.Errorf("image %s: %w", s.refs[0], err)
	}
	img, err = mutate.ConfigFile(img, s.config(img))
	if err != nil {
		return fmt.Errorf("image %s: %w", s.refs[0], err)
	}
	return saveArchive(img, s.refs, out)
}

func (s imageSpec) config(img v1.Image) *v1.ConfigFile {
	cf, err := img.ConfigFile()
	if err != nil { // an image built in memory always has one
		panic(err)
	}
	cf = cf.DeepCopy()
	cf.OS, cf.Architecture = "linux", goarch
	cf.Config.Entrypoint, cf.Config.Cmd, cf.Config.User = s.entrypoint, s.cmd, s.user
	cf.Config.WorkingDir, cf.Config.StopSignal = "/", s.stopSignal
	if s.workdir != "" {
		cf.Config.WorkingDir = s.workdir
	}
	cf.Config.Env = append([]string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}, s.env...)
	return cf
}

func saveArchive(img v1.Image, refs []string, out string) error {
	tags := map[name.Tag]v1.Image{}
	for _, r := range refs {
		t, err := name.NewTag(r)
		if err != nil {
			return fmt.Errorf("image name %q: %w", r, err)
		}
		tags[t] = img
	}
	if err := tarball.MultiWriteToFile(out, tags); err != nil {
		return fmt.Errorf("write image archive %s: %w", out, err)
	}
	return nil
}

func fileLayer(p string) (v1.Layer, error) {
	return tarball.LayerFromFile(p, tarball.WithCompressionLevel(gzip.BestSpeed))
}

func tarFiles(out io.Writer, files map[string]string) error {
	w := tar.NewWriter(out)
	names := make([]string, 0, len(files))
	for n := range files {
		names = append(names, n)
	}
	sort.Strings(names)
	made := map[string]bool{}
	for _, n := range names {
		if err := tarDirs(w, path.Dir(n), made); err != nil {
			return err
		}
		st, err := os.Stat(files[n])
		if err != nil {
			return err
		}
		h := &tar.Header{Name: n, Mode: int64(st.Mode().Perm()), Size: st.Size()}
		plainHeader(h)
		if err := w.WriteHeader(h); err != nil {
			return err
		}
		if err := copyInto(w, files[n]); err != nil {
			return err
		}
	}
	return w.Close()
}

func tarDirs(w *tar.Writer, dir string, made map[string]bool) error {
	if dir == "." || dir == "/" || made[dir] {
		return nil
	}
	if err := tarDirs(w, path.Dir(dir), made); err != nil {
		return err
	}
	made[dir] = true
	h := &tar.Header{Name: dir + "/", Typeflag: tar.TypeDir, Mode: 0o755}
	plainHeader(h)
	return w.WriteHeader(h)
}

func trustLayer(bundle string) (v1.Layer, error) {
	pem, err := os.ReadFile(bundle)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	made := map[string]bool{}
	for _, f := range []struct {
		name string
		data []byte
	}{{TrustMarker, []byte("public\n")}, {BundlePath, pem}} {
		if err := tarDirs(w, path.Dir(f.name), made); err != nil {
			return nil, err
		}
		h := &tar.Header{Name: f.name, Mode: 0o644, Size: int64(len(f.data))}
		plainHeader(h)
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.data); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil })
}

// sampleImageNames reads the image that each named sample in an Istio module's folder uses, so that the
// samples apply unmodified whatever version they name.
func sampleImageNames(dir string) (map[string][]string, error) {
	out := map[string][]string{}
	for sample, file := range map[string]string{"curl": "samples/curl/curl.yaml", "sleep": "samples/sleep/sleep.yaml", "httpbin": "samples/httpbin/httpbin.yaml"} {
		b, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			return nil, fmt.Errorf("read Istio's %s sample: %w", sample, err)
		}
		for _, l := range strings.Split(string(b), "\n") {
			if _, ref, ok := strings.Cut(l, "image: "); ok {
				out[sample] = append(out[sample], strings.Trim(strings.TrimSpace(ref), `"'`))
			}
		}
	}
	return out, nil
}

// MachineTrust is the CA bundle of this machine, which pods need when they reach the live internet: it
// knows the CAs of whoever stands between. SSL_CERT_FILE names another, as for other programs; nil means
// that no bundle was found, and images keep the public one that they came with.
func MachineTrust() ([]byte, error) {
	if f := os.Getenv("SSL_CERT_FILE"); f != "" {
		pem, err := os.ReadFile(f)
		if err != nil {
			return nil, fmt.Errorf("read the CA bundle of SSL_CERT_FILE: %w", err)
		}
		return pem, nil
	}
	for _, f := range []string{"/" + BundlePath, "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem"} {
		if pem, err := os.ReadFile(f); err == nil {
			return pem, nil
		}
	}
	return nil, nil
}
