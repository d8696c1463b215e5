package casefile

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/input"
)

const good = `claim: a rule opens its host
source: our runbook
probes:
  - {url: "http://httpbin.org/", want: blocked OK blocked}
  - url: tls://evil.example
    from: other
    sni: www.google.com
    want: BRST
    arrival: {applied: {sni: google}}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: httpbin}
spec: {hosts: [httpbin.org], ports: [{number: 80, name: http, protocol: HTTP}]}
`

const rule = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: bank}\nspec: {hosts: [bank.example]}\n"

// short is a case without objects.
const short = "claim: c\nsource: s\nprobes:\n  - {url: \"http://httpbin.org/\", want: OK}\n"

func folder(files map[string]string) fstest.MapFS {
	out := fstest.MapFS{}
	for name, text := range files {
		out[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return out
}

func one(t *testing.T, f *Folder) *Loaded {
	t.Helper()
	if len(f.Mistakes) > 0 || len(f.Loaded) != 1 {
		t.Fatalf("%d cases; %v", len(f.Loaded), f.Mistakes)
	}
	return f.Loaded[0]
}

func TestLoad(t *testing.T) {
	f := Load(folder(map[string]string{"team/opens.yaml": good, "team/clients.yaml": "- {name: other, annotations: {a: b}}\n", "team/README.md": "not a case"}))
	c := one(t, f).Case
	if c.Name != "team-opens" || c.Area != "team" || len(c.Objects) != 1 || c.Objects[0]["kind"] != "ServiceEntry" {
		t.Errorf("%+v", c)
	}
	if p := c.Probes[0]; p.From != "client" || p.Wants != (egress.Wants{egress.Blocked, egress.OK, 0, egress.Blocked}) {
		t.Errorf("%+v", p)
	}
	if p := c.Probes[1]; p.From != "other" || p.Wants[egress.Applied] != egress.BRST || p.Arrival[egress.Applied]["sni"] != "google" {
		t.Errorf("%+v", p)
	}
	if k := f.EgressClients(); len(k) != 1 || k[0].Namespace != "egress-other" || k[0].Annotations["a"] != "b" {
		t.Errorf("%+v", k)
	}
	if len(f.Notices) > 0 {
		t.Error(f.Notices)
	}
}

func TestMistakes(t *testing.T) {
	for want, spoil := range map[string][2]string{
		`area/x.yaml:1: field "clam" is unknown; did you mean claim? allowed: area, `:                                     {"claim:", "clam:"},
		`area/x.yaml:4: field "ulr" is unknown; did you mean url? allowed: accessLog, args,`:                              {"{url:", "{ulr:"},
		`area/x.yaml:4: want: outcome "open" is unknown; known: OK|`:                                                      {"blocked OK blocked", "blocked open blocked"},
		`area/x.yaml:4: want: want "blocked OK": give 1 outcome`:                                                          {"blocked OK blocked", "blocked OK"},
		`area/x.yaml:1: source is missing`:                                                                                {"source: our runbook\n", ""},
		`area/x.yaml:11: every document after the case must`:                                                              {"kind: ServiceEntry\n", ""},
		`area/x.yaml:5: scheme "gopher" is unknown; known: dns, grpc, http`:                                               {"tls://", "gopher://"},
		`area/x.yaml:9: arrival: phase "later" is unknown`:                                                                {"{applied: {sni", "{later: {sni"},
		`area/x.yaml:9: arrival: text is expected, and YAML reads 443 as something else; quote it: "443"`:                 {"{sni: google}", "{sni: 443}"},
		`area/x.yaml:3: this is no YAML: did not find expected node content`:                                              {"probes:", "probes: ["},
		`area/x.yaml:3: probes: fields are expected: accessLog, args,`:                                                    {"probes:\n", "probes: [a]\nx:\n"},
		`area/x.yaml:13: key "kind" is given twice, first in line 12`:                                                     {"kind:", "kind: X\nkind:"},
		`area/x.yaml:2: fixtures: no file is called gone.yaml; it is looked for beside the case, in the folders above it`: {"source:", "fixtures: [gone.yaml]\nsource:"},
		`area/x.yaml:2: fixtures: area is a folder; name its files: area/*.yaml`:                                          {"source:", "fixtures: [area]\nsource:"},
		`area/x.yaml:2: fixtures: "[" is no pattern: syntax error in pattern`:                                             {"source:", "fixtures: ['[']\nsource:"},
		`area/x.yaml:2: fixtures: area/x.yaml is a case file`:                                                             {"source:", "fixtures: [x.yaml]\nsource:"},
		`area/x.yaml:2: every entry of setup must be a Kubernetes object with apiVersion and kind`:                        {"source:", "setup: [{kind: X}]\nsource:"},
		`area/x.yaml:17: this is not the first case of its file, and has no name; name it, for instance name: area`:       {"", "\n---\n" + short},
	} {
		b := strings.Replace(good, spoil[0], spoil[1], 1)
		if spoil[0] == "" {
			b = good + spoil[1]
		}
		f := Load(folder(map[string]string{"area/x.yaml": b}))
		if err := f.Mistakes.Err(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %s\n got %v", want, err)
		}
	}
}

// All mistakes of all files are found at once, each with its own line.
func TestAllMistakesAtOnce(t *testing.T) {
	f := Load(folder(map[string]string{
		"a/one.yaml":     "claim: c\nsource: s\nlabel: [x]\nprobes:\n  - {ulr: x, want: nonsense}\n  - {url: \"http://httpbin.org/\", want: OK, nosuch: 1}\n",
		"a/two.yaml":     "claim: c\nsource: s\nprobes:\n  - {url: \"gopher://x\", want: OK}\n  - {want: OK}\n",
		"a/clients.yaml": "- {name: A B}\n- {name: x, colour: red}\n",
	}))
	var lines []string
	for _, m := range f.Mistakes {
		lines = append(lines, m.Where())
	}
	want := []string{"a/clients.yaml:1", "a/clients.yaml:2", "a/one.yaml:3", "a/one.yaml:5", "a/one.yaml:5", "a/one.yaml:6", "a/two.yaml:4", "a/two.yaml:5"}
	if !slices.Equal(lines, want) {
		t.Errorf("%v", f.Mistakes)
	}
}

// An anchor of one field is for all fields of its document.
func TestAnchors(t *testing.T) {
	text := strings.Replace(good, "blocked OK blocked", "&w blocked OK blocked", 1)
	c := one(t, Load(folder(map[string]string{"area/x.yaml": strings.Replace(text, "want: BRST", "want: *w", 1)}))).Case
	if c.Probes[1].Wants != c.Probes[0].Wants {
		t.Errorf("%+v", c.Probes)
	}
}

func TestTooMuch(t *testing.T) {
	many := fstest.MapFS{}
	for i := range 3 {
		many[fmt.Sprintf("team/x%d.yaml", i)] = &fstest.MapFile{Data: []byte(good + strings.Repeat("---\nkind: K\napiVersion: v\n", 4000))}
	}
	if err := Load(many).Mistakes.Err(); err == nil || !strings.Contains(err.Error(), "more than 10000 documents together") {
		t.Errorf("12,006 documents: %v", err)
	}
	wrong := fstest.MapFS{}
	for i := range 200 {
		wrong[fmt.Sprintf("team/x%d.yaml", i)] = &fstest.MapFile{Data: []byte("claim: a\nclaim: b\n")}
	}
	err := Load(wrong).Mistakes.Err()
	if err == nil || !strings.Contains(err.Error(), `:2: key "claim" is given twice`) || strings.Count(err.Error(), "\n") != maxMistakes {
		t.Errorf("200 wrong files: %v", err)
	}
}

// What a file is follows from what is in it.
func TestLayouts(t *testing.T) {
	f := Load(folder(map[string]string{
		"bank.yaml":            short,
		"Pay Team/My_Bank.yml": short,
		"deep/er/x.yaml":       short + "---\n" + rule + "---\nname: er-second\n" + short + "---\n" + rule + "---\n" + rule,
		"deep/clients.yaml":    short,
		"values.yaml":          "replicas: 3\n",
		"deep/rule.yaml":       rule,
		"empty.yaml":           "# nothing\n",
		"old.yaml.txt":         short,
		".drafts/x.yaml":       short,
		".git/x.yaml":          short,
		"..data/x.yaml":        short,
		"notes.md":             "# claim: none\n",
	}))
	var got []string
	for _, l := range f.Loaded {
		got = append(got, fmt.Sprintf("%s %s %d", l.Case.Name, l.Case.Area, len(l.Case.Objects)))
	}
	want := []string{"cases-bank cases 0", "deep-clients deep 0", "er-second er 2", "er-x er 1", "pay-team-my-bank pay-team 0"}
	if !slices.Equal(got, want) || len(f.Mistakes) > 0 {
		t.Errorf("%q\n%v", got, f.Mistakes)
	}
	notices := f.Notices.Error()
	for _, want := range []string{
		"deep/rule.yaml: it has no claim", "values.yaml: it has no claim", "empty.yaml: the file is empty",
		"old.yaml.txt: it looks like a case and is not read, because its name does not end in .yaml or .yml",
		".drafts/x.yaml: it looks like a case and is not read, because .drafts begins with a dot",
	} {
		if !strings.Contains(notices, want) {
			t.Errorf("no notice %q in\n%s", want, notices)
		}
	}
	if len(f.Notices) != 5 {
		t.Errorf("notices:\n%s", notices)
	}
	f = Load(folder(map[string]string{"x.yaml": rule + "---\n" + short}))
	if err := f.Mistakes.Err(); err == nil || !strings.Contains(err.Error(), "x.yaml:1: this document stands before the case") {
		t.Error(err)
	}
}

// Cases of one folder share its setup, and those of other folders do not have it.
func TestSharedSetup(t *testing.T) {
	own := "setup: [{apiVersion: v1, kind: ConfigMap, metadata: {name: own}}]\n"
	f := Load(folder(map[string]string{
		"pay/setup.yaml": "apiVersion: v1\nkind: Namespace\nmetadata: {name: egress-config}\n---\n" + rule,
		"pay/a.yaml":     short, "pay/b.yaml": own + short, "shop/a.yaml": short,
	}))
	var got []string
	for _, l := range f.Loaded {
		var kinds []string
		for _, o := range l.Case.Setup {
			kinds = append(kinds, o["kind"].(string))
		}
		got = append(got, fmt.Sprintf("%s %v %d", l.Case.Name, kinds, len(l.Objects)))
	}
	want := []string{"pay-a [Namespace ServiceEntry] 2", "pay-b [Namespace ServiceEntry ConfigMap] 3", "shop-a [] 0"}
	if !slices.Equal(got, want) || len(f.Mistakes)+len(f.Notices) > 0 {
		t.Errorf("%q\n%v %v", got, f.Mistakes, f.Notices)
	}
}

// Manifests are found where they lie: beside the case, in its folder, outside of it, and among the built-in ones.
func TestFixtures(t *testing.T) {
	top := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		p := filepath.Join(top, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("deploy/egress/a.yaml", rule)
	write("deploy/egress/b.yml", rule+"---\n"+rule)
	write("deploy/egress/kustomization.yaml", "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [a.yaml]\n")
	write("cases/manifests/bank.yaml", rule)
	write("cases/pay/beside.yaml", rule)
	write("cases/pay/bank.yaml", "fixtures: [manifests/bank.yaml, beside.yaml, '../../deploy/egress/*.y*ml', http/builtin.yaml]\n"+short)
	builtIn := folder(map[string]string{"http/builtin.yaml": rule})
	l := one(t, Load(input.Tree(filepath.Join(top, "cases")), builtIn))
	want := []string{"manifests/bank.yaml", "pay/beside.yaml", "../deploy/egress/a.yaml", "../deploy/egress/b.yml", "http/builtin.yaml"}
	if !slices.Equal(l.Case.Fixtures, want) || len(l.Objects) != 6 {
		t.Errorf("%q, %d objects", l.Case.Fixtures, len(l.Objects))
	}

	write("deploy/egress/wrong.yaml", rule+"---\nkind: [\n")
	if err := os.Symlink("/dev/zero", filepath.Join(top, "deploy/egress/zero.yaml")); err != nil {
		t.Fatal(err)
	}
	err := Load(input.Tree(filepath.Join(top, "cases")), builtIn).Mistakes.Err()
	for _, want := range []string{"../deploy/egress/wrong.yaml:6: this is no YAML", "pay/bank.yaml:1: fixtures: ../deploy/egress/zero.yaml: it cannot be read", "only regular files are read"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
	if err := Load(input.Tree(filepath.Join(top, "nowhere"))).Mistakes.Err(); err == nil || !strings.Contains(err.Error(), "the folder cannot be read") {
		t.Error(err)
	}
	if err := os.Remove(filepath.Join(top, "deploy/egress/wrong.yaml")); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(top, "deploy/egress/zero.yaml")); err != nil {
		t.Fatal(err)
	}
	if l := one(t, Load(input.Tree(filepath.Join(top, "cases/pay")), folder(map[string]string{"manifests/bank.yaml": rule, "http/builtin.yaml": rule}))); l.Case.Area != "pay" {
		t.Errorf("the area of a file in the folder itself is %q", l.Case.Area)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(good)
	f.Add("claim: [")
	f.Add("- x")
	f.Add("probes: [{arrival: {applied: {sni: x}}, want: {}}]\nsetup: [x]\nfixtures: ['[', x.yaml, setup.yaml]\ndns: {applied: {a: b}}")
	f.Fuzz(func(t *testing.T, s string) {
		for _, name := range []string{"area/x.yaml", "clients.yaml", "setup.yaml"} {
			got := Load(folder(map[string]string{name: s, "area/y.yaml": good}))
			for _, l := range got.Loaded {
				if len(got.Mistakes) == 0 && l.Case.Check() != nil {
					t.Errorf("%q was accepted", s)
				}
			}
		}
	})
}
