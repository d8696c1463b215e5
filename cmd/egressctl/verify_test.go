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
		"the live internet":        {verifyFlags{o: &options{internet: "live"}, table: "all"}, []string{"a"}, "is for --in-place"},
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

// What contradicts --in-place, and what is for it alone, is told before anything runs.
func TestInPlaceFlags(t *testing.T) {
	live := provider.Options{Kubeconfig: "x"}
	for name, x := range map[string]struct {
		o    options
		v    verifyFlags
		args []string
		want string
	}{
		"a cluster":             {options{place: live}, verifyFlags{expectations: "e", every: true}, nil, ""},
		"the real outside":      {options{place: live, internet: "live"}, verifyFlags{inPlace: inPlaceFlags{stranger: "example.com"}}, nil, ""},
		"stand-ins":             {options{place: live, internet: "hermetic", clientImage: "x"}, verifyFlags{}, nil, ""},
		"a context":             {options{place: provider.Options{Context: "x"}, provider: provider.Existing}, verifyFlags{}, nil, ""},
		"some internet":         {options{place: live, internet: "some"}, verifyFlags{}, nil, "some"},
		"no cluster":            {options{}, verifyFlags{}, nil, "name files or folders, or a cluster"},
		"no cluster, files":     {options{}, verifyFlags{}, []string{"a"}, "name it with --kubeconfig"},
		"files":                 {options{place: live}, verifyFlags{}, []string{"a"}, "leave the files out"},
		"a commit":              {options{place: live}, verifyFlags{base: "main"}, nil, "no former commits"},
		"a watch":               {options{place: live}, verifyFlags{watch: true}, nil, "--watch proves again"},
		"versions":              {options{place: live, istio: "1.29,1.31"}, verifyFlags{}, nil, "leave them out"},
		"a version":             {options{place: live, istio: "1.31"}, verifyFlags{}, nil, "leave them out"},
		"a source":              {options{place: live, istioSource: "x"}, verifyFlags{}, nil, "leave them out"},
		"an installation":       {options{place: live, allowInstall: true}, verifyFlags{}, nil, "changes nothing"},
		"mesh settings":         {options{place: live}, verifyFlags{meshConfig: "x"}, nil, "the cluster's own settings hold"},
		"keeping":               {options{place: live}, verifyFlags{keep: true}, nil, "brings none up"},
		"another provider":      {options{place: live, provider: "kind"}, verifyFlags{}, nil, "--provider kind makes a cluster"},
		"a stranger of pods":    {options{place: live, internet: "hermetic"}, verifyFlags{inPlace: inPlaceFlags{stranger: "example.com"}}, nil, "a pod plays one"},
		"a stranger's URL":      {options{place: live}, verifyFlags{inPlace: inPlaceFlags{stranger: "https://example.com"}}, nil, "give the name of a host"},
		"strangers":             {options{place: live}, verifyFlags{inPlace: inPlaceFlags{stranger: "*.example.com"}}, nil, "give the name of a host"},
		"a name of the cluster": {options{place: live}, verifyFlags{inPlace: inPlaceFlags{stranger: "example"}}, nil, "give the name of a host"},
	} {
		if x.o.provider == "" {
			x.o.provider = provider.Auto
		}
		x.v.o, x.v.table, x.v.inPlace.set = &x.o, "all", true
		err := x.v.check(x.args)
		if (err == nil) != (x.want == "") || err != nil && !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: %v, want %q", name, err, x.want)
		}
	}
	for _, v := range []verifyFlags{{inPlace: inPlaceFlags{stranger: "a.example"}, o: &options{place: live}}, {o: &options{place: live, clientImage: "x"}}} {
		v.table = "all"
		if err := v.check(nil); err == nil || !strings.Contains(err.Error(), "is for --in-place") && !strings.Contains(err.Error(), "host for --in-place") {
			t.Errorf("%v", err)
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
