package migrate_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	networkingv1 "istio.io/api/networking/v1"

	"mesh-egress-conformance/fixtures"
	"mesh-egress-conformance/framework/input"
	"mesh-egress-conformance/framework/migrate"
)

// Each file in testdata is one that people have; beside it is what it becomes, and the notes below it.
//
//	go test ./framework/migrate -run TestFiles, with UPDATE=1 in the environment
func TestFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/*.in.yaml")
	if err != nil || len(files) < 5 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			in, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			r, err := migrate.File(filepath.Base(file), in)
			if err != nil {
				t.Fatal(err)
			}
			var notes strings.Builder
			for _, n := range r.Notes {
				notes.WriteString(n.String() + "\n")
			}
			golden(t, strings.Replace(file, ".in.", ".out.", 1), string(r.YAML))
			golden(t, strings.Replace(file, ".in.yaml", ".notes.txt", 1), notes.String())
			valid(t, r.YAML)
			stable(t, r.YAML)
		})
	}
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil || string(want) != got {
		t.Errorf("%s (UPDATE=1 writes it anew): %v\n--- want\n%s--- got\n%s", file, err, want, got)
	}
}

// stable: what was migrated has nothing left to be migrated.
func stable(t *testing.T, out []byte) {
	t.Helper()
	r, err := migrate.File("again.yaml", out)
	if err != nil {
		t.Fatalf("%v in\n%s", err, out)
	}
	if r.Changed != 0 || string(r.YAML) != string(out) {
		t.Errorf("the second time %d objects change:\n%s\nwhich was\n%s", r.Changed, r.YAML, out)
	}
}

var messages = map[string]func() proto.Message{
	"ServiceEntry":    func() proto.Message { return &networkingv1.ServiceEntry{} },
	"VirtualService":  func() proto.Message { return &networkingv1.VirtualService{} },
	"DestinationRule": func() proto.Message { return &networkingv1.DestinationRule{} },
	"Gateway":         func() proto.Message { return &networkingv1.Gateway{} },
	"Sidecar":         func() proto.Message { return &networkingv1.Sidecar{} },
}

// minutes in the durations of early documents, which Istio reads, and protobuf's own JSON does not have.
var minutes = regexp.MustCompile(`"(\d+)m"`)

// valid: every object of networking.istio.io/v1 has the fields of Istio's API, and no other.
func valid(t *testing.T, out []byte) (kinds []string) {
	t.Helper()
	docs, err := input.Documents("out.yaml", out)
	if err != nil {
		t.Fatalf("%v in\n%s", err, out)
	}
	var objs []map[string]any
	for _, d := range docs {
		var o struct {
			Items []map[string]any `json:"items"`
		}
		all := map[string]any{}
		if err := input.Decode(d, &all); err != nil {
			t.Fatal(err)
		}
		if input.Decode(d, &o); len(o.Items) > 0 {
			objs = append(objs, o.Items...)
			continue
		}
		objs = append(objs, all)
	}
	for _, o := range objs {
		kind, _ := o["kind"].(string)
		kinds = append(kinds, kind)
		if o["apiVersion"] != "networking.istio.io/v1" {
			continue
		}
		spec, err := json.Marshal(o["spec"])
		if err != nil {
			t.Fatal(err)
		}
		if err := protojson.Unmarshal(minutes.ReplaceAll(spec, []byte(`"${1}s"`)), messages[kind]()); err != nil {
			t.Errorf("%s: %v\n%s", kind, err, spec)
		}
	}
	return kinds
}

func rule(service, ports string) string {
	return "apiVersion: config.istio.io/v1alpha2\nkind: EgressRule\nmetadata: {name: r, namespace: ns}\nspec:\n  destination: {service: \"" + service + "\"}\n  ports: " + ports + "\n"
}

func TestEgressRules(t *testing.T) {
	for name, x := range map[string]struct {
		in    string
		kinds string
		has   []string
		notes int
	}{
		"host":     {rule("httpbin.org", "[{port: 80, protocol: http}]"), "ServiceEntry", []string{"- httpbin.org", "resolution: DNS", "protocol: HTTP", "number: 80", "namespace: ns"}, 0},
		"https":    {rule("www.google.com", "[{port: 443, protocol: https}]"), "ServiceEntry DestinationRule", []string{"mode: SIMPLE", "host: www.google.com", "protocol: HTTP"}, 1},
		"wildcard": {rule("*.wikipedia.org", "[{port: 80, protocol: http}]"), "ServiceEntry", []string{"resolution: NONE"}, 1},
		"range":    {rule("91.198.174.192/27", "[{port: 443, protocol: tcp}]"), "ServiceEntry", []string{"- 91.198.174.192/27", "r.egress.invalid", "protocol: TCP"}, 1},
		"web":      {rule("10.1.1.1", "[{port: 443, protocol: https}]"), "ServiceEntry DestinationRule", []string{"- 10.1.1.1", "host: r.egress.invalid"}, 3},
		"proxy":    {rule("httpbin.org", "[{port: 80, protocol: http}]") + "  use_egress_proxy: true\n", "ServiceEntry", nil, 1},
		"two":      {rule("a.example", "[{port: 80, protocol: http}]") + "---\n" + rule("b.example", "[{port: 80, protocol: grpc}]"), "ServiceEntry ServiceEntry", []string{"GRPC"}, 0},
		"anchors":  {"apiVersion: config.istio.io/v1alpha2\nkind: EgressRule\nmetadata: {name: &n r}\nspec:\n  destination: {service: httpbin.org}\n  ports: [{port: 80, protocol: http}]\n---\n" + rule("b.example", "[{port: 80, protocol: tcp}]"), "ServiceEntry ServiceEntry", nil, 1},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := migrate.File("rules.yaml", []byte(x.in))
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(valid(t, r.YAML), " "); got != x.kinds || len(r.Notes) != x.notes {
				t.Errorf("%s, notes %q", got, r.Notes)
			}
			for _, h := range x.has {
				if !strings.Contains(string(r.YAML), h) {
					t.Errorf("no %q in\n%s", h, r.YAML)
				}
			}
			stable(t, r.YAML)
		})
	}
}

// entry is a ServiceEntry of a version, with fields of its spec.
func entry(version, fields string) string {
	return "apiVersion: networking.istio.io/" + version + "\nkind: ServiceEntry\nmetadata: {name: x}\nspec:\n  " + fields + "\n"
}

// Every group and version that Istio has had: migrated, or left with the reason. What is current stays silent.
func TestVersions(t *testing.T) {
	legacy := rule("a.example", "[{port: 80, protocol: http}]")
	for in, want := range map[string]string{
		strings.Replace(legacy, "config.istio.io/v1alpha2", "istio.io/v1alpha1", 1):            "ServiceEntry",
		strings.Replace(legacy, "config.istio.io/v1alpha2", "networking.istio.io/v1alpha1", 1): "ServiceEntry",
		entry("v1alpha1", "hosts: [a.example]"):                                                "networking.istio.io/v1\n",
		"apiVersion: istio.io/v1alpha1\nkind: IstioConfig\nmetadata: {name: x}\n":              "left as it is: no current object of Istio does what istio.io/v1alpha1 IstioConfig did",
		"apiVersion: authentication.istio.io/v1alpha1\nkind: Policy\nmetadata: {name: x}\n":    "PeerAuthentication",
		"apiVersion: rbac.istio.io/v1alpha1\nkind: ServiceRole\nmetadata: {name: x}\n":         "AuthorizationPolicy",
		"apiVersion: telemetry.istio.io/v1alpha1\nkind: Telemetry\nmetadata: {name: x}\n":      "",
	} {
		r, err := migrate.File("rules.yaml", []byte(in))
		if err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		left := strings.Contains(want, " ") || want == "PeerAuthentication" || want == "AuthorizationPolicy"
		if all := fmt.Sprint(string(r.YAML), r.Notes); !strings.Contains(all, want) || (r.Left > 0) != left || want == "" && len(r.Notes) > 0 {
			t.Errorf("%s: %d left, %s", in, r.Left, all)
		}
	}
}

// A number that is written as text is one that istiod took once; the API server does not.
func TestNumberAsText(t *testing.T) {
	r, err := migrate.File("rules.yaml", []byte(entry("v1alpha3", "hosts: [a.example]\n  ports:\n  - {number: \"80\", name: http, protocol: HTTP} # the usual one")))
	if err != nil || !strings.Contains(string(r.YAML), "number: 80,") || !strings.Contains(string(r.YAML), "# the usual one") || len(r.Notes) != 1 {
		t.Errorf("%v %v\n%s", err, r.Notes, r.YAML)
	}
}

// What protobuf's JSON, the API server and Istio take as a value stays one.
func TestValues(t *testing.T) {
	for name, in := range map[string]string{
		"durations":       strings.Replace(entry("v1alpha3", "http: [{timeout: 1m30s}, {timeout: 0.5s}, {timeout: 1h}]"), "ServiceEntry", "VirtualService", 1),
		"wrappers":        strings.Replace(entry("v1alpha3", "trafficPolicy: {outlierDetection: {consecutive5xxErrors: 0, consecutiveGatewayErrors: 0x7}}"), "ServiceEntry", "DestinationRule", 1),
		"enums":           entry("v1alpha3", "hosts: [a.example]\n  resolution: DNS_ROUND_ROBIN\n  location: MESH_INTERNAL"),
		"a number's edge": entry("v1alpha3", "ports: [{number: 4294967295, name: a, protocol: HTTP}, {number: 8_0, name: b, protocol: HTTP}]"),
		"nothing":         entry("v1alpha3", "hosts: null\n  ports: null\n  resolution: null"),
	} {
		if r, err := migrate.File("rules.yaml", []byte(in)); err != nil || len(r.Notes) > 0 || string(r.YAML) != strings.Replace(in, "v1alpha3", "v1", 1) {
			t.Errorf("%s: %v, %v", name, err, r)
		}
	}
}

// Istio 0.1 kept every rule as an IstioConfig, whose name says which one it is.
func TestWrappedRules(t *testing.T) {
	wrapped := func(name, spec string) string {
		return "apiVersion: istio.io/v1alpha1\nkind: IstioConfig\nmetadata: {name: " + name + "}\nspec: " + spec + "\n"
	}
	r, err := migrate.File("rules.yaml", []byte(wrapped("egress-rule-cnn", "{name: cnn, domains: [cnn.com], ports: [{port: 80, protocol: http}]}")))
	if err != nil || r.Left > 0 || strings.Join(valid(t, r.YAML), " ") != "ServiceEntry" || !strings.Contains(string(r.YAML), "cnn.com") {
		t.Errorf("%v, %v", err, r)
	}
	for name, want := range map[string]string{
		"route-rule-x":           "a VirtualService says the same",
		"destination-policy-a-b": "a DestinationRule says the same",
		"ingress-rule-x":         "a Gateway with a VirtualService says the same",
		"x":                      "no current object of Istio does what istio.io/v1alpha1 IstioConfig did",
	} {
		in := wrapped(name, "{destination: a.default.svc.cluster.local}")
		r, err := migrate.File("rules.yaml", []byte(in))
		if err != nil || r.Left != 1 || string(r.YAML) != in || !strings.Contains(fmt.Sprint(r.Notes), want) {
			t.Errorf("%s: %v, %v", name, err, r)
		}
	}
}

// What cannot be read for what it says it is: file, line, reason.
func TestMalformed(t *testing.T) {
	good := rule("a", "[{port: 80, protocol: http}]")
	for want, in := range map[string]string{
		"there is no object in it":                       "# nothing\n",
		`rules.yaml:6: EgressRule "r": field "more"`:     rule("a", "[{port: 80, protocol: http, more: 1}]"),
		`rules.yaml:6: EgressRule "r": port 99999`:       rule("a", "[{port: 99999, protocol: http}]"),
		`rules.yaml:6: EgressRule "r": port 0`:           rule("a", "[{protocol: http}]"),
		"rules.yaml:6: EgressRule \"r\": protocol \"car": rule("a", "[{port: 80, protocol: carrier-pigeon}]"),
		`rules.yaml:4: EgressRule "r": spec.destination`: rule("", "[]"),
		"EgressRule without a name: metadata.name":       strings.Replace(good, "name: r, ", "", 1),
		"rules.yaml:9":                                                                      good + "---\nkind: EgressRule\nmetadata: {name: b, name: c}",
		"this is no YAML":                                                                   good + "---\n{",
		`rules.yaml:13: EgressRul`:                                                          good + "---\n" + rule("a", "[{port: 80, protocol: x}]"),
		"rules.yaml:3: this document does not begin":                                        utf16("a: 1\n---\nb: 2\n"),
		"leave out %YAML":                                                                   "%YAML 1.1\n---\n" + good,
		`rules.yaml:5: RouteRule "x": field "routes"`:                                       "apiVersion: config.istio.io/v1alpha2\nkind: RouteRule\nmetadata: {name: x}\nspec:\n  routes: []\n  destination: {name: a}\n",
		`rules.yaml:4: RouteRule "x": spec.destination must`:                                "apiVersion: config.istio.io/v1alpha2\nkind: RouteRule\nmetadata: {name: x}\nspec: {}\n",
		`rules.yaml:6: DestinationPolicy "x": field "maxConn`:                               "apiVersion: config.istio.io/v1alpha2\nkind: DestinationPolicy\nmetadata: {name: x}\nspec:\n  destination: {name: a}\n  circuitBreaker: {simpleCb: {maxConn: 1}}\n",
		`rules.yaml:6: ServiceEntry "x": number must be a whole number`:                     entry("v1alpha3", "hosts: [a.example]\n  ports: [{number: eighty, protocol: HTTP, name: http}]"),
		`rules.yaml:5: ServiceEntry "x": hosts must be a list`:                              entry("v1beta1", "hosts: a.example"),
		`rules.yaml:5: ServiceEntry "x": hosts[1] must be text`:                             entry("v1beta1", "hosts: [a.example, 7]"),
		`rules.yaml:5: ServiceEntry "x": labels.app must be text`:                           entry("v1", "endpoints: [{address: 1.2.3.4, labels: {app: 1}}]"),
		`rules.yaml:5: ServiceEntry "x": ports[0] must be a mapping`:                        entry("v1alpha3", "ports: [80]"),
		`rules.yaml:5: ServiceEntry "x": resolution must be text`:                           entry("v1alpha3", "resolution: [DNS]"),
		`rules.yaml:4: ServiceEntry "x": spec must be a mapping`:                            "apiVersion: networking.istio.io/v1alpha3\nkind: ServiceEntry\nmetadata: {name: x}\nspec: [nonsense]\n",
		`rules.yaml:5: VirtualService "x": http must be a list`:                             strings.Replace(entry("v1alpha3", "http: nonsense"), "ServiceEntry", "VirtualService", 1),
		`rules.yaml:5: VirtualService "x": timeout must be text`:                            strings.Replace(entry("v1alpha3", "http: [{timeout: 5}]"), "ServiceEntry", "VirtualService", 1),
		`rules.yaml:5: DestinationRule "x": maxConnections must be a who`:                   strings.Replace(entry("v1alpha3", "trafficPolicy: {connectionPool: {tcp: {maxConnections: many}}}"), "ServiceEntry", "DestinationRule", 1),
		`rules.yaml:5: Sidecar "x": captureMode must be text`:                               strings.Replace(entry("v1", "egress: [{captureMode: true}]"), "ServiceEntry", "Sidecar", 1),
		`rules.yaml:5: ServiceEntry "x": resolution "DNSS" is unknown; known: NONE, STATIC`: entry("v1alpha3", "resolution: DNSS"),
		`rules.yaml:5: ServiceEntry "x": number is -1, which is out of range`:               entry("v1alpha3", "ports: [{number: -1, protocol: HTTP, name: http}]"),
		`rules.yaml:5: ServiceEntry "x": number must be a whole number`:                     entry("v1alpha3", "ports: [{number: \"-1\", protocol: HTTP, name: http}]"),
		`rules.yaml:5: ServiceEntry "x": ports[1] must not be empty`:                        entry("v1alpha3", "ports: [{number: 80, protocol: HTTP, name: http}, null]"),
		`rules.yaml:5: VirtualService "x": timeout "soon" is no duration`:                   strings.Replace(entry("v1beta1", "http: [{timeout: soon}]"), "ServiceEntry", "VirtualService", 1),
		`rules.yaml:5: DestinationRule "x": consecutive5xxErrors is -2, which is out of`:    strings.Replace(entry("v1beta1", "trafficPolicy: {outlierDetection: {consecutive5xxErrors: -2}}"), "ServiceEntry", "DestinationRule", 1),
		`rules.yaml:6: RouteRule "x": timeout "soon" is no duration`:                        "apiVersion: config.istio.io/v1alpha2\nkind: RouteRule\nmetadata: {name: x}\nspec:\n  destination: {name: a}\n  httpReqTimeout: {simpleTimeout: {timeout: soon}}\n",
		`rules.yaml:6: DestinationPolicy "x": maxConnections must be a whole number`:        "apiVersion: config.istio.io/v1alpha2\nkind: DestinationPolicy\nmetadata: {name: x}\nspec:\n  destination: {name: a}\n  circuitBreaker: {simpleCb: {maxConnections: many}}\n",
		`rules.yaml:4: ExternalService "x": spec.hosts`:                                     "apiVersion: networking.istio.io/v1alpha3\nkind: ExternalService\nmetadata: {name: x}\nspec: {ports: []}\n",
	} {
		if _, err := migrate.File("rules.yaml", []byte(in)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}

// What is of today is not touched, and of what is not, only the words that are: every fixture but for those that are
// written in an early version on purpose.
func TestFixtures(t *testing.T) {
	files, err := filepath.Glob("../../fixtures/*/*.yaml")
	if err != nil || len(files) < 5 {
		t.Fatal(len(files), err)
	}
	for _, file := range files {
		name := strings.TrimPrefix(filepath.ToSlash(file), "../../fixtures/")
		in, err := fixtures.FS.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		r, err := migrate.File(name, in)
		if err != nil {
			t.Error(err)
			continue
		}
		want := strings.NewReplacer("networking.istio.io/v1alpha3\nkind: ServiceEntry", "networking.istio.io/v1\nkind: ServiceEntry", "networking.istio.io/v1beta1\nkind: ServiceEntry", "networking.istio.io/v1\nkind: ServiceEntry").Replace(string(in))
		if string(r.YAML) != want || r.Left > 0 {
			t.Errorf("%s: %v, became\n%s", name, r.Notes, r.YAML)
		}
		stable(t, r.YAML)
	}
}

// utf16 is text as some editors write it.
func utf16(text string) string {
	var out strings.Builder
	out.WriteString("\xff\xfe")
	for _, b := range []byte(text) {
		out.Write([]byte{b, 0})
	}
	return out.String()
}

// The case app-egressrule-migrated runs with what the document's own file becomes today.
func TestSourceDocument(t *testing.T) {
	in, err := os.ReadFile("../../samples/egresshttpbin/egress_httpbin.yml")
	if err != nil {
		t.Fatal(err)
	}
	r, err := migrate.File("egress_httpbin.yml", in)
	if err != nil || len(r.Notes) > 0 || r.Left > 0 {
		t.Fatal(r, err)
	}
	golden(t, "../../fixtures/http/egressrule-migrated.yaml", string(r.YAML))
}

func FuzzFile(f *testing.F) {
	files, err := filepath.Glob("testdata/*.in.yaml")
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
	f.Add([]byte(rule("httpbin.org", "[{port: 80, protocol: http}]")))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := migrate.File("rules.yaml", b)
		if err != nil {
			return
		}
		if r.Changed == 0 && string(r.YAML) != string(b) {
			t.Errorf("%q became %q, and nothing has changed", b, r.YAML)
		}
		stable(t, r.YAML)
	})
}
