package check

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"mesh-egress-conformance/fixtures"
	"mesh-egress-conformance/framework/casefile"
	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/input"
	"mesh-egress-conformance/framework/internet"
	"mesh-egress-conformance/samples"
)

var update = flag.Bool("update", false, "write the golden messages anew")

func environment(t testing.TB) Environment {
	t.Helper()
	hosts, err := internet.DefaultHosts()
	if err != nil {
		t.Fatal(err)
	}
	crds, err := os.ReadFile("testdata/crds.yaml")
	if err != nil {
		t.Fatal(err)
	}
	schemas, err := NewSchemas(bytes.Split(crds, []byte("\n---\n")))
	if err != nil {
		t.Fatal(err)
	}
	var clients []egress.Client
	for _, n := range []string{"client", "control", "client-dns"} {
		c := egress.Client{Name: n}
		if n == "control" {
			c.Injection = egress.NoInjection
		}
		c.Default()
		clients = append(clients, c)
	}
	return Environment{Hosts: hosts, Clients: clients, Manifests: samples.FS, Schemas: schemas, Istio: "1.31"}
}

// Every file of testdata/cases has its messages beside it, as `egressctl check` prints them.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/cases/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	env := environment(t)
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Base(file)
		mistakes, notices := Folder(casefile.Load(fstest.MapFS{"pay/" + name: {Data: b}}, fixtures.FS), env)
		var got strings.Builder
		Write(&got, "", mistakes, notices)
		golden := strings.TrimSuffix(file, ".yaml") + ".golden"
		if *update {
			if err := os.WriteFile(golden, []byte(short(got.String())), 0o600); err != nil {
				t.Fatal(err)
			}
			continue
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if got := short(got.String()); got != string(want) {
			t.Errorf("%s:\n%s\nwant:\n%s", name, got, want)
		}
	}
}

var listRE = regexp.MustCompile(`(allowed|known|[Kk]nown there|known; known|in clients.yaml: .*; or use one of): .*`)

// short leaves lists of all that is known out: they grow with the program.
func short(text string) string { return listRE.ReplaceAllString(text, "$1: ...") }

// Without schemas and hosts the rest is still found.
func TestWithout(t *testing.T) {
	for name, want := range map[string]string{"misspelled-spec": "Service has no field spec.ports[0].prot", "unknown-hosts": "", "access-log-field": "accessLog: field"} {
		b, err := os.ReadFile("testdata/cases/" + name + ".yaml")
		if err != nil {
			t.Fatal(err)
		}
		env := environment(t)
		env.Hosts, env.Schemas = nil, nil
		mistakes, _ := Folder(casefile.Load(fstest.MapFS{"pay/x.yaml": {Data: b}}), env)
		if text := mistakes.Error(); !strings.Contains(text, want) || want == "" && text != "" || strings.Contains(text, "ServiceEntry") {
			t.Errorf("%s: %s", name, text)
		}
	}
}

func TestClients(t *testing.T) {
	mistakes, _ := Folder(casefile.Load(fstest.MapFS{
		"clients.yaml": {Data: []byte(`- {name: client}
- {name: batch, manifest: batch.yaml}
- name: fine
  annotations: {proxy.istio.io/config: '{"proxyMetadata": {"ISTIO_META_DNS_CAPTURE": "true"}}'}
- name: wrong
  annotations:
    traffic.sidecar.istio.io/excludeOutboundPorts: "443"
    proxy.istio.io/config: |
      proxyMetdata: {A: b}
`)},
		"x/a.yaml": {Data: []byte("claim: c\nsource: s\nname: x-b\nprobes:\n  - {url: \"http://httpbin.org/\", from: batch, want: OK}\n")},
		"x/b.yaml": {Data: []byte("claim: c\nsource: s\nprobes:\n  - {url: \"http://httpbin.org/\", from: control, counts: {applied: {a: 1}}, want: OK}\n")},
	}), environment(t))
	got := mistakes.Error()
	for i, want := range []string{
		`clients.yaml:1: client "client" is described twice, or is one of the built-in clients`,
		`clients.yaml:2: client "batch": there is no manifest batch.yaml`,
		`clients.yaml:8: annotation proxy.istio.io/config: Istio has no field proxyMetdata; did you mean proxyMetadata?`,
		`x/b.yaml:1: case x-b has the name of another one, in x/a.yaml:1`,
		`x/b.yaml:4: counts: client control has no sidecar`,
		`x/b.yaml:4: no probe of case x-b calls from a client with a sidecar`,
	} {
		if i >= len(mistakes) || !strings.HasPrefix(mistakes[i].Error(), want) {
			t.Errorf("want %s in\n%s", want, got)
		}
	}
	if len(mistakes) != 6 {
		t.Error(got)
	}
}

// A case may bring the definition of its own kinds, another's cluster may have any, and a case that does not apply to
// the version is not compared with its schemas.
func TestKindsOfOthers(t *testing.T) {
	const firewall = "---\napiVersion: acme.example/v1\nkind: Firewall\nmetadata: {name: a}\n"
	const head = "claim: c\nsource: s\nprobes:\n  - {url: \"http://httpbin.org/\", want: OK}\n"
	const crd = "setup:\n  - {apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: firewalls.acme.example}, spec: {group: acme.example}}\n"
	for _, x := range []struct {
		text   string
		others bool
		want   int
	}{
		{head + firewall, false, 1},
		{head + firewall, true, 0},
		{head + crd + firewall, false, 0},
		{"until: \"1.20\"\n" + head + firewall, false, 0},
	} {
		env := environment(t)
		env.OthersKinds = x.others
		if mistakes, _ := Folder(casefile.Load(fstest.MapFS{"x/a.yaml": {Data: []byte(x.text)}}), env); len(mistakes) != x.want {
			t.Errorf("%s\n%v", x.text, mistakes)
		}
	}
}

// What the messages tell to write makes the case sound.
func TestOwnHosts(t *testing.T) {
	const text = `claim: the shop may call its card processor and its database, and nothing else of the data centre
source: our runbook
needs: [client-credential]
setup: [{apiVersion: v1, kind: Secret, metadata: {name: b}, stringData: {tls.crt: "${CLIENT_CERT:b.example}", tls.key: "${CLIENT_KEY:b.example}"}}]
probes:
  - {url: "https://api.cards.example/v1", want: BRST OK BRST}
  - {url: "https://eu.files.example/", want: BRST OK BRST}
  - {url: "tcp://10.30.0.9:5432", send: a, within: 10.30.0.0/16, arrivesAt: {applied: db.cards.example}, want: BRST OK BRST}
  - {url: "tcp://10.30.0.9:5433", want: BRST}
`
	files := fstest.MapFS{"pay/a.yaml": {Data: []byte(text)}}
	env := environment(t)
	mistakes, _ := Folder(casefile.Load(files), env)
	var lines []int
	for _, m := range mistakes {
		lines = append(lines, m.Line)
	}
	if want := []int{4, 4, 6, 7, 8, 8, 8, 9}; !slices.Equal(lines, want) {
		t.Errorf("%v\n%v", lines, mistakes)
	}
	files["pay/hosts.yaml"] = &fstest.MapFile{Data: []byte(`hosts:
  - {name: api.cards.example, services: [{port: 443, kind: https}]}
  - {name: "*.files.example", services: [{port: 443, kind: https}]}
  - {name: db.cards.example, address: 10.30.0.0/16, services: [{port: 5432, kind: postgres}]}
clientCertificates:
  - {name: b.example}
`)}
	mistakes, _ = Folder(casefile.Load(files), env)
	if len(mistakes) != 1 || !strings.HasPrefix(mistakes[0].Error(), "pay/a.yaml:9: 10.30.0.9 serves nothing at port 5433; it serves 5432 (postgres)") {
		t.Error(mistakes)
	}
}

func TestLocate(t *testing.T) {
	docs, err := input.Documents("f", []byte("spec:\n  a.b/c:\n    - x: 1\n    - y:\n        z: 2\n"))
	if err != nil {
		t.Fatal(err)
	}
	for path, line := range map[string]int{"spec": 1, "spec.a.b/c[1].y.z": 5, "spec.a.b/c[1].y.gone": 4, "spec.a.b/c[7]": 2, "nothing.there": 1, "[0]": 1, ".": 1} {
		if n, _ := locate(docs[0], path); n.Line != line {
			t.Errorf("%s: line %d, want %d", path, n.Line, line)
		}
	}
}

func FuzzFolder(f *testing.F) {
	files, err := filepath.Glob("testdata/cases/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte("claim: c\nsource: s\nprobes: [{url: 'tcp://[::1]:x@/', connect: ':', want: OK}]\nmeshConfig: {defaultConfig: 1, extensionProviders: [1]}\n---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nspec: {hosts: 1, ports: {a: b}}\n"))
	env := environment(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		mistakes, _ := Folder(casefile.Load(fstest.MapFS{"x/a.yaml": {Data: b}, "x/clients.yaml": {Data: b}}), env)
		for _, m := range mistakes {
			if m.File == "" || m.What == "" {
				t.Errorf("%q: %+v", b, m)
			}
		}
	})
}
