package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"mesh-egress-conformance/framework/components"
	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/report"
)

// rehearsed is the case with which a released program shows that it works.
const rehearsed = "http-serviceentry"

// rehearsal is the cluster of that run; another release may be rehearsed on the same machine.
func rehearsal() string { return fmt.Sprintf("release-%d", os.Getpid()) }

// rehearse runs a case with the installed program, in a folder that has nothing: with what is built into it alone.
func (o *options) rehearse(ctx context.Context, program, work string) error {
	why, err := o.unrehearsed()
	if err != nil {
		return err
	}
	if why != "" {
		fmt.Printf("egressctl run of what go install has made: left out, since %s\n", why)
		return nil
	}
	folder := filepath.Join(work, "nothing")
	if err := os.Mkdir(folder, 0o755); err != nil {
		return err
	}
	if _, err := output(ctx, folder, nil, program, "run", "--name", rehearsal(), "--provider", "embedded", "--case", rehearsed); err != nil {
		return fmt.Errorf("the program that go install has made does not run a case in an empty folder: %w", err)
	}
	r, err := report.Read(filepath.Join(folder, "reports", "out", report.JSONFile))
	if err == nil {
		err = proven(r)
	}
	if err != nil {
		return fmt.Errorf("the report of the program that go install has made: %w", err)
	}
	fmt.Printf("egressctl run of what go install has made, in an empty folder: %s\n", r.Summary())
	return nil
}

// proven demands that the case, and nothing else, has run and conforms.
func proven(r *report.Report) error {
	if len(r.Cases) != 1 || r.Cases[0].Case.Name != rehearsed || r.Cases[0].Verdict != egress.Conforms || len(r.Faults) > 0 {
		return fmt.Errorf("%s does not conform in it: %s", rehearsed, r.Summary())
	}
	return nil
}

// unrehearsed is why no case is run; "" where one is.
func (o *options) unrehearsed() (string, error) {
	switch {
	case !o.try:
		return "-run was not given", nil
	case runtime.GOOS != "linux" || os.Geteuid() != 0:
		return "an embedded cluster needs root on Linux", nil
	}
	lacks, err := cold()
	if err != nil || len(lacks) == 0 {
		return "", err
	}
	return fmt.Sprintf("the component cache lacks %s, which take long to build: bin/egressctl components fetch", strings.Join(lacks, ", ")), nil
}

// cold are the parts of a cluster with the default Istio that the component cache lacks.
func cold() ([]string, error) {
	catalogue, err := components.LoadCatalogue("")
	if err != nil {
		return nil, err
	}
	istio, err := catalogue.FindIstio("")
	if err != nil {
		return nil, err
	}
	store, err := components.OpenStore()
	if err != nil {
		return nil, err
	}
	have, err := store.Entries()
	if err != nil {
		return nil, fmt.Errorf("list the component cache: %w", err)
	}
	return lacking(catalogue.Parts, istio, have), nil
}

// lacking are parts, and images of an Istio, that are not among the entries of a cache.
func lacking(parts []components.Part, istio components.Istio, have []components.Entry) []string {
	var out []string
	need := func(name, version string) {
		if !slices.ContainsFunc(have, func(e components.Entry) bool { return e.Manifest.Name == name && e.Manifest.Version == version }) {
			out = append(out, name+" "+version)
		}
	}
	for _, p := range parts {
		need(p.Name, p.Version)
	}
	for _, image := range []string{"image-pilot", "image-proxyv2"} {
		need(image, istio.Release)
	}
	return out
}

// user is a program of somebody else's, which imports the library by the path that it is published by.
const user = `package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"MODULE/framework/casefile"
	"MODULE/framework/report"
	"MODULE/framework/report/html"
)

func main() {
	folder := casefile.Load(os.DirFS("cases"))
	r := report.None(report.Environment{Provider: "none"}, time.Now(), folder.Cases(), errors.New("nothing ran"))
	page, err := html.Render(r)
	fmt.Println(len(page) > 0, err, folder.Mistakes.Err(), r.Counts.Inconclusive, r.Cases[0].Case.Name)
}
`

// imported demands that a module elsewhere can import the stable packages from the file proxy, and work with them.
func (o *options) imported(ctx context.Context, env []string, work string) error {
	dir := filepath.Join(work, "user")
	files := map[string]string{
		"go.mod":                  "module example.org/user\n\ngo 1.26.0\n",
		"main.go":                 strings.ReplaceAll(user, "MODULE", o.path),
		"cases/payments/own.yaml": "claim: payments may not call the bank\nsource: our runbook\nprobes: [{url: \"https://httpbin.org/\", want: blocked}]\n",
	}
	for name, text := range files {
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(text), 0o644)); err != nil {
			return err
		}
	}
	get := []string{"go", "get"}
	for _, p := range []string{"casefile", "report", "report/html"} {
		get = append(get, o.path+"/framework/"+p+"@"+o.version)
	}
	if _, err := output(ctx, dir, env, get...); err != nil {
		return fmt.Errorf("import the library from the file proxy: %w", err)
	}
	says, err := output(ctx, dir, env, "go", "run", ".")
	if err != nil {
		return fmt.Errorf("run a program that imports the library: %w", err)
	}
	if want := "true <nil> <nil> 1 payments-own\n"; says != want {
		return fmt.Errorf("a program that imports the library says %q, wanted %q", says, want)
	}
	fmt.Printf("a module elsewhere that imports %s from the file proxy: reads a case, makes a report and its page\n", o.path)
	return nil
}
