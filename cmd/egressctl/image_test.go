package main

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func archive(t *testing.T, files ...string) string {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i := 0; i < len(files); i += 2 {
		if err := w.WriteHeader(&tar.Header{Name: files[i], Mode: 0o644, Size: int64(len(files[i+1]))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(files[i+1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "image.tar")
	if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestImagesIn(t *testing.T) {
	docker := func(tags string) string { return `[{"Config":"c","RepoTags":` + tags + `,"Layers":[]}]` }
	for name, x := range map[string]struct {
		files []string
		want  []string
		err   string
	}{
		"docker save":             {[]string{"c", "x", "manifest.json", docker(`["nginx:1.29","quay.io/a/b:2"]`)}, []string{"docker.io/library/nginx:1.29", "quay.io/a/b:2"}, ""},
		"without a version":       {[]string{"manifest.json", docker(`["nginx"]`)}, []string{"docker.io/library/nginx:latest"}, ""},
		"OCI":                     {[]string{"./index.json", `{"schemaVersion":2,"manifests":[{"annotations":{"io.containerd.image.name":"docker.io/library/a:1"}}]}`}, []string{"docker.io/library/a:1"}, ""},
		"both, alike":             {[]string{"manifest.json", docker(`["a:1"]`), "index.json", `{"manifests":[{"annotations":{"io.containerd.image.name":"docker.io/library/a:1"}}]}`}, []string{"docker.io/library/a:1"}, ""},
		"OCI without a name":      {[]string{"index.json", `{"manifests":[{"annotations":{"org.opencontainers.image.ref.name":"1"}}]}`}, nil, "docker save"},
		"docker save by digest":   {[]string{"manifest.json", docker(`null`)}, nil, "without a name"},
		"another archive":         {[]string{"readme", "x"}, nil, "neither manifest.json nor index.json"},
		"no JSON":                 {[]string{"manifest.json", "x"}, nil, "manifest.json"},
		"a name that none can be": {[]string{"manifest.json", docker(`["A B"]`)}, nil, `"A B"`},
	} {
		got, err := imagesIn(archive(t, x.files...))
		if (err == nil) != (x.err == "") || err != nil && !strings.Contains(err.Error(), x.err) || !slices.Equal(got, x.want) {
			t.Errorf("%s: %v %v", name, got, err)
		}
	}
	packed := filepath.Join(t.TempDir(), "image.tgz")
	if err := os.WriteFile(packed, []byte{0x1f, 0x8b, 8, 0}, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := imagesIn(packed); err == nil || !strings.Contains(err.Error(), "gunzip") {
		t.Errorf("a compressed archive: %v", err)
	}
}

func TestCertificateFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	secrets := map[string]string{
		"${INTERNET_CA}": "1", "${CLIENT_CERT}": "2", "${CLIENT_KEY}": "3", "${CA:partner}": "4", "${CLIENT_CERT:team-a.example}": "5", "${CLIENT_KEY:team-a.example}": "6",
	}
	if err := writeCertificates(dir, secrets); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{"ca.crt": "1", "client.crt": "2", "client.key": "3", "partner.ca.crt": "4", "team-a.example.crt": "5", "team-a.example.key": "6"} {
		if b, err := os.ReadFile(filepath.Join(dir, file)); err != nil || string(b) != want {
			t.Errorf("%s: %q %v", file, b, err)
		}
	}
	for _, p := range []string{"${CLIENT_KEY:../x}", "${OTHER}", "${OTHER:x}"} {
		if err := writeCertificates(dir, map[string]string{p: "x"}); err == nil {
			t.Errorf("%s was written", p)
		}
	}
}

// A pipe is no terminal, and kubectl says so twice where it is taken for one.
func TestPromptFlags(t *testing.T) {
	if got := promptFlags(false); got != "-i" {
		t.Error(got)
	}
	if got := promptFlags(true); got != "-it" {
		t.Error(got)
	}
}
