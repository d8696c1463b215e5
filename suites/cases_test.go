package suites_test

import (
	"embed"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"mesh-egress-conformance/framework/check"
	"mesh-egress-conformance/framework/components"
	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/harness"
	"mesh-egress-conformance/framework/input"
	"mesh-egress-conformance/framework/internet"
	"mesh-egress-conformance/framework/mesh"
	"mesh-egress-conformance/samples"
	"mesh-egress-conformance/suites"
)

// The list itself must be sound before any cluster is brought up.
func TestCaseList(t *testing.T) {
	hosts, err := internet.DefaultHosts()
	if err != nil {
		t.Fatal(err)
	}
	f := suites.Folder()
	mistakes, notices := check.Folder(f, check.Environment{Hosts: hosts, Manifests: samples.FS, Schemas: schemas(t)})
	for _, m := range append(mistakes, notices...) {
		t.Error(m)
	}
	for _, c := range f.Cases() {
		if !strings.HasPrefix(c.Name, c.Area+"-") {
			t.Errorf("case %q: its name must begin with its area %q", c.Name, c.Area)
		}
	}
}

// schemas are those of the newest Istio, where its module is there already; make unit fetches nothing.
func schemas(t *testing.T) *check.Schemas {
	t.Helper()
	store, err := components.OpenStore()
	if err != nil {
		t.Fatal(err)
	}
	_, dir, err := components.CachedCharts(t.Context(), store, components.Options{})
	if err != nil {
		t.Log("objects are not compared with Istio's schemas: ", err)
		return nil
	}
	crds, err := mesh.CRDs(dir)
	if err != nil {
		t.Fatal(err)
	}
	s, err := check.NewSchemas(crds)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Whoever reads a folder of his own with it gets all mistakes at once.
func TestLoadMore(t *testing.T) {
	cases, clients, err := suites.LoadMore(input.Tree("../samples/cases"))
	if err != nil || len(cases) == 0 || len(clients) == 0 {
		t.Fatal(len(cases), len(clients), err)
	}
	_, _, err = suites.LoadMore(fstest.MapFS{"a.yaml": {Data: []byte("claim: c\nsource: s\nprobes:\n  - {url: \"tcp://x\", from: nobody, arrival: {applied: {a: b}}, want: OK}\n")}})
	for _, want := range []string{`a.yaml:4: client "nobody" is unknown`, `a.yaml:4: arrival: field "a" is unknown`, "a.yaml:4: tcp://x names no port"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
	if _, _, err := suites.LoadMore(fstest.MapFS{"x.yaml": {Data: []byte("kind: A\n")}}); err == nil || !strings.Contains(err.Error(), "there is no case below this folder") {
		t.Error(err)
	}
}

// Ginkgo runs this program in another folder.
//
//go:embed *.yaml */*.yaml
var thisFolder embed.FS

// This folder, read as one of the user's, is no addition to itself. One that describes a built-in client is told so, and a
// checkout that has changed one since the program was built, of that one alone.
func TestThisFolderAsAnother(t *testing.T) {
	clients, err := thisFolder.ReadFile("clients.yaml")
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(clients), "- {name: other}", "- {name: other, namespace: another}", 1)
	if changed == string(clients) {
		t.Fatal("clients.yaml has no client other to change")
	}
	revisions, err := thisFolder.ReadFile("revisions.yaml")
	if err != nil {
		t.Fatal(err)
	}
	with := func(clients string) fs.FS {
		return fstest.MapFS{
			"http/a.yaml":  {Data: []byte("claim: c\nsource: s\nprobes:\n  - {url: \"tcp://1.2.3.4:5\", want: OK}\n")},
			"clients.yaml": {Data: []byte(clients)}, "revisions.yaml": {Data: revisions},
		}
	}
	const twice = `is described twice, or is one of the built-in clients`
	for name, x := range map[string]struct {
		dir  fs.FS
		want []string
	}{
		"this folder":          {thisFolder, nil},
		"with one more":        {with(string(clients) + "- {name: mine}\n"), nil},
		"one was changed":      {with(changed), []string{`client "other" ` + twice}},
		"one of the user's":    {with("- {name: other, dualStack: true}\n"), []string{`client "other" ` + twice}},
		"the same, by itself":  {with("- {name: other}\n"), []string{`client "other" ` + twice}},
		"a client named twice": {with(string(clients) + "- {name: mine}\n- {name: mine}\n"), []string{`client "mine" ` + twice}},
	} {
		t.Run(name, func(t *testing.T) {
			mistakes, _ := check.Folder(suites.Read(x.dir), suites.Environment())
			var got []string
			for _, m := range mistakes {
				got = append(got, m.What)
			}
			if !slices.Equal(got, x.want) {
				t.Errorf("%q, not %q", got, x.want)
			}
		})
	}
	f := suites.Read(thisFolder)
	_, all, err := suites.LoadMore(thisFolder)
	if own := len(suites.Folder().Clients); err != nil || len(f.Clients) != 0 || len(all) != own {
		t.Errorf("%d clients, %d in all, %d built in, %v", len(f.Clients), len(all), own, err)
	}
}

//go:embed catalogue.txt
var catalogue string

// Every claim of the catalogue has a case, and no case invents a claim of its own.
func TestCatalogue(t *testing.T) {
	cases, _, err := suites.Load()
	if err != nil {
		t.Fatal(err)
	}
	covered := map[string]string{}
	for line := range strings.Lines(catalogue) {
		if id := strings.TrimSpace(line); id != "" && !strings.HasPrefix(id, "#") {
			covered[id] = ""
		}
	}
	for _, c := range cases {
		for _, id := range strings.Fields(c.Row) {
			if _, ok := covered[id]; !ok {
				t.Errorf("case %s covers %q, which is not in catalogue.txt", c.Name, id)
			}
			covered[id] = c.Name
		}
	}
	for id, name := range covered {
		if name == "" {
			t.Errorf("no case covers %s", id)
		}
	}
}

// make parity knows each case that kind's nodes cannot carry.
func TestCasesOfEmbeddedAlone(t *testing.T) {
	makefile, err := os.ReadFile("../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	_, list, _ := strings.Cut(string(makefile), "\nEMBEDDED_ALONE := ")
	list, _, _ = strings.Cut(list, "\n")
	cases, _, err := suites.Load()
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, c := range cases {
		if slices.ContainsFunc(c.Needs, func(f egress.Feature) bool {
			return f == egress.IPv6 || f == egress.TPROXY || f == egress.NetworkPolicy
		}) {
			want = append(want, c.Name)
		}
	}
	slices.Sort(want)
	if got := strings.Split(list, ","); !slices.Equal(got, want) {
		t.Errorf("EMBEDDED_ALONE has %q, and by what cases need it is %q", got, want)
	}
}

func TestSabotages(t *testing.T) {
	all, err := suites.Sabotages()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		if s.What == "" || len(s.Cases()) == 0 {
			t.Errorf("sabotage %q says nothing", s.Name)
		}
		if _, err := harness.ParseSabotage(s.Do); err != nil {
			t.Error(err)
		}
	}
}
