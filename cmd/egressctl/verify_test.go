package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mesh-egress-conformance/framework/provider"
	"mesh-egress-conformance/framework/verify"
)

func TestVerifyFlags(t *testing.T) {
	at := func(kubeconfig string) *options { return &options{place: provider.Options{Kubeconfig: kubeconfig}} }
	for name, x := range map[string]struct {
		v    verifyFlags
		args []string
		want string
	}{
		"fine":                     {verifyFlags{o: &options{}, table: "open"}, []string{"a", "-"}, ""},
		"an unknown table":         {verifyFlags{o: &options{}, table: "some"}, []string{"a"}, "--table some"},
		"the live internet":        {verifyFlags{o: &options{internet: "live"}, table: "all"}, []string{"a"}, "no --internet"},
		"one file for both":        {verifyFlags{o: &options{}, table: "all", expectations: "e", writeTo: "e"}, []string{"a"}, "compare first"},
		"a base of standard input": {verifyFlags{o: &options{}, table: "all", base: "main"}, []string{"-"}, "no history"},
		"standard input twice":     {verifyFlags{o: &options{}, table: "all"}, []string{"-", "-"}, "read once"},
		"a watch with a base":      {verifyFlags{o: &options{}, table: "all", watch: true, base: "main"}, []string{"a"}, "leave out --base"},
		"a watch of JSON":          {verifyFlags{o: &options{}, table: "all", watch: true, asJSON: true}, []string{"a"}, "leave out --base"},
		"a watch of a pipe":        {verifyFlags{o: &options{}, table: "all", watch: true}, []string{"a", "-"}, "not saved again"},
		"versions of a watch":      {verifyFlags{o: &options{istio: "1.29,1.31"}, table: "all", watch: true}, []string{"a"}, "makes a cluster for each"},
		"versions of a source":     {verifyFlags{o: &options{istio: "1.29,1.31", istioSource: "x"}, table: "all"}, []string{"a"}, "makes a cluster for each"},
		"versions":                 {verifyFlags{o: &options{istio: "1.29,1.31"}, table: "all", base: "main"}, []string{"a"}, ""},
		"a watch":                  {verifyFlags{o: &options{}, table: "all", watch: true, out: "x", expectations: "e"}, []string{"a"}, ""},
		"a cluster":                {verifyFlags{o: at("x"), table: "all", namespaces: []string{"a", "b"}}, nil, ""},
		"files over a cluster":     {verifyFlags{o: at("x"), table: "all", watch: true}, []string{"a"}, ""},
		"versions of a cluster":    {verifyFlags{o: &options{istio: "1.29,1.31", place: provider.Options{Context: "x"}}, table: "all"}, nil, ""},
		"nothing":                  {verifyFlags{o: &options{}, table: "all"}, nil, "name files or folders"},
		"a base of a cluster":      {verifyFlags{o: at("x"), table: "all", base: "main"}, []string{"a"}, "no former commits"},
		"a watch of a cluster":     {verifyFlags{o: at("x"), table: "all", watch: true}, nil, "when a file is saved"},
		"namespaces of files":      {verifyFlags{o: &options{}, table: "all", namespaces: []string{"a", "b"}}, []string{"a"}, "several times"},
		"a flag for a commit":      {verifyFlags{o: &options{}, table: "all", base: "--output=x"}, []string{"a"}, "give a commit"},
	} {
		err := x.v.check(x.args)
		if (err == nil) != (x.want == "") || err != nil && !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: %v, want %q", name, err, x.want)
		}
	}
}

// What cannot be read at all is told before anything starts.
func TestVerifyNothing(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	broken, good := write("broken.yaml", "a: ["), write("good.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n")
	for name, x := range map[string]struct {
		args []string
		want string
		code int
	}{
		"a broken file":        {[]string{broken}, "broken.yaml", exitFault},
		"no file":              {[]string{filepath.Join(dir, "none")}, "no such file", exitFault},
		"no mesh settings":     {[]string{good, "--mesh-config", filepath.Join(dir, "none")}, "read the mesh settings", exitFault},
		"broken expectations":  {[]string{good, "--expectations", good}, "the field allow is missing", exitFault},
		"no repository":        {[]string{good, "--base", "main"}, "find the Git repository", exitFault},
		"no path":              {nil, "name files or folders, or a cluster", exitUsage},
		"no cluster":           {[]string{"--kubeconfig", filepath.Join(dir, "none")}, "read the kubeconfig", exitFault},
		"another's cluster":    {[]string{good, "--provider", "existing"}, "", exitFault},
		"an unknown version":   {[]string{good, "--istio", "0.8,1.31"}, "0.8", exitUsage},
		"one version twice":    {[]string{good, "--istio", "1.31,1.31"}, "is in it twice", exitUsage},
		"two kinds of nothing": {[]string{good, "--table", "x"}, "--table x", exitUsage},
	} {
		var out, errs bytes.Buffer
		code := run(append([]string{"verify"}, x.args...), &out, &errs)
		if code != x.code || !strings.Contains(errs.String(), x.want) {
			t.Errorf("%s: exit %d, %s", name, code, errs.String())
		}
	}
}

// Code scanning knows files by their place in the repository, and nothing else.
func TestPlaceBelow(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	for _, f := range []string{filepath.Join(dir, "mesh", "a.yaml"), filepath.Join(other, "b.yaml")} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(f), 0o700), os.WriteFile(f, nil, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	place := placeBelow(dir)
	for file, want := range map[string]string{
		"mesh/a.yaml": "mesh/a.yaml", "./mesh/../mesh/a.yaml": "mesh/a.yaml", filepath.Join(dir, "mesh/a.yaml"): "mesh/a.yaml", filepath.Join(other, "b.yaml"): filepath.Join(other, "b.yaml"),
		"standard input": "", "Istio's default": "", "mesh": "", "": "", "main:mesh/a.yaml": "",
	} {
		if got := place(file); got != want {
			t.Errorf("%q: %q, want %q", file, got, want)
		}
	}
}

// Whoever asks for a folder gets every form of the report.
func TestWriteVerify(t *testing.T) {
	dir := t.TempDir()
	to, err := openReports(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	if err := writeVerify(&verify.Report{Version: verify.ReportVersion}, to); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{verifyJSON, verifyMarkdown, verifyJUnit, verifySARIF} {
		if st, err := os.Stat(filepath.Join(dir, name)); err != nil || st.Size() == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
}
