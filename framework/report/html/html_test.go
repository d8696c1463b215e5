package html

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"

	"golang.org/x/net/html"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/report"
	"mesh-egress-conformance/framework/report/reporttest"
)

// call is one attempt that came through sidecar and gateway.
func call(target string) egress.Observation {
	return egress.Observation{
		ID: "run-1", Target: target, Captured: true,
		Client: egress.ClientWitness{Command: "curl http://" + target + "/", HTTPCode: 200, Local: "10.244.0.18:19557", Remote: "198.51.100.10:80", Took: 12 * time.Millisecond},
		Mesh: []egress.AccessLog{{
			StartTime: "2026-11-27T16:24:18.538Z", Method: "GET", Authority: target, Path: "/", Protocol: "HTTP/1.1", ResponseCode: 200, ResponseDetails: "via_upstream",
			UpstreamCluster: "outbound|80||istio-egressgateway.istio-system.svc.cluster.local", UpstreamHost: "10.244.0.19:80", UpstreamLocal: "10.244.0.18:53856",
			DownstreamLocal: "198.51.100.10:80", DownstreamRemote: "10.244.0.18:19557",
		}},
		Hops: []egress.Hop{{Gateway: "istio-system/gateway", Line: &egress.AccessLog{ResponseCode: 200, UpstreamCluster: "outbound|80||" + target, UpstreamLocal: "10.244.0.19:38366", DownstreamLocal: "10.244.0.19:80", ResponseFlags: "DI,DC"}}},
		Arrivals: []egress.Arrival{
			{Server: target, Local: "198.51.100.10:80", Peer: "10.244.0.19:38366", Kind: "http", Method: "GET", Path: "/", ProbeID: "run-1"},
			{Server: target, Kind: "http", Path: "/of-another-probe", ProbeID: "run-2"},
		},
	}
}

// refused is one attempt that the sidecar refused.
func refused(target string) egress.Observation {
	o := call(target)
	o.Client.HTTPCode, o.Hops, o.Arrivals = 502, nil, nil
	o.Mesh = []egress.AccessLog{{ResponseCode: 502, RouteName: "block_all", ResponseDetails: "direct_response", DownstreamLocal: "198.51.100.10:80"}}
	return o
}

// ran is a case of two probes in all phases.
func ran(name, area string, v egress.Verdict) egress.Result {
	probes := []egress.Probe{
		egress.GET("client", "http://httpbin.org/"+name).Want(egress.Blocked, egress.OK, egress.Blocked),
		egress.GET("client", "https://www.wikipedia.org/").Want(egress.Blocked, egress.Blocked, egress.Blocked),
	}
	c := egress.Case{Name: name, Area: area, Claim: "a ServiceEntry opens its host, as " + name + " claims", Source: "a document", Labels: []string{"source", "smoke"}, Probes: probes}
	r := egress.Result{Case: c, Verdict: v, Took: time.Second, Rerun: "egressctl run --case " + name, Applied: []string{"kind: ServiceEntry\n"}}
	if v == egress.Skipped || v == egress.NotApplicable {
		r.Why, r.Rerun, r.Applied = "needs ipv6: pods with IPv6 addresses", "", nil
		return r
	}
	for _, ph := range c.Phases() {
		x := egress.PhaseResult{Phase: ph, Took: 300 * time.Millisecond, Acknowledged: true}
		for _, p := range probes {
			got, seen := egress.B502, refused(p.Destination())
			if p.Wants[ph] == egress.OK {
				got, seen = egress.OK, call(p.Destination())
			}
			x.Probes = append(x.Probes, egress.ProbeResult{
				Probe: p.String(), From: p.From, Phase: ph, Want: p.Wants[ph], Got: got, Verdict: egress.Conforms, Rounds: 2, Observations: []egress.Observation{seen, seen},
				Control: &egress.Control{Reached: true, Detail: "arrived", Client: egress.ClientWitness{HTTPCode: 200}},
			})
		}
		r.Phases = append(r.Phases, x)
	}
	if v != egress.Conforms {
		p := &r.Phases[1].Probes[0]
		p.Verdict, p.Got, p.Why = v, egress.Pass, "PASS, wanted OK"
		r.Why = "phase applied, " + p.Probe + ": " + p.Why
	}
	return r
}

func run(cases ...egress.Result) *report.Report {
	return report.New(report.Environment{
		Provider: "embedded", Cluster: "default", Istio: "1.31", Envoy: "1.39.3", Kubernetes: "v1.36.3", Source: "build", Internet: "hermetic",
		Deviations: []string{"resource requests are lowered"}, Timings: map[string]float64{"istiod ready": 6.6, "first verdict": 10.5},
		Components: []report.Component{{Name: "envoy", Version: "1.39.3", Source: "build", Digest: "sha256:17e6"}},
	}, time.Date(2026, 11, 27, 16, 0, 0, 0, time.UTC), cases)
}

func all() *report.Report {
	r := run(
		ran("http-good", "http", egress.Conforms), ran("http-bad", "http", egress.Violates), ran("tls-unsure", "tls", egress.Inconclusive),
		ran("dns-good", "dns", egress.Conforms), ran("ip6-skipped", "ip6", egress.Skipped), ran("old", "http", egress.NotApplicable),
	)
	r.Cases[3].Case.Labels = []string{"source", "nightly"}
	r.Faults = []string{"clean-up: a namespace stayed"}
	return r
}

// rendered is a rendered report, parsed.
type rendered struct {
	text string
	root *html.Node
}

func render(t *testing.T, r *report.Report) rendered {
	t.Helper()
	b, err := Render(r)
	if err != nil {
		t.Fatal(err)
	}
	root, err := html.Parse(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	return rendered{string(b), root}
}

// elements are those of a tag.
func (p rendered) elements(tag string) []*html.Node {
	return reporttest.Elements(p.root, tag, "")
}

// detail is what the page carries of its case number i.
func (p rendered) detail(t *testing.T, i int) (d detail) {
	t.Helper()
	for _, s := range p.elements("script") {
		if reporttest.Attr(s, "id") != "data" {
			continue
		}
		var all data
		if err := json.Unmarshal([]byte(reporttest.Text(s)), &all); err != nil {
			t.Fatal(err)
		}
		b, err := base64.StdEncoding.DecodeString(all.Cases[i])
		if err != nil {
			t.Fatal(err)
		}
		z, err := gzip.NewReader(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		if b, err = io.ReadAll(z); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(b, &d); err != nil {
			t.Fatal(err)
		}
		return d
	}
	t.Fatal("the page has no data")
	return d
}

func TestTableHasEveryCell(t *testing.T) {
	p := render(t, all())
	var cells, heads int
	for _, b := range p.elements("button") {
		if reporttest.Attr(b, "data-ph") != "" {
			cells++
		}
	}
	for _, h := range p.elements("th") {
		if reporttest.Attr(h, "scope") == "" {
			t.Errorf("a header without scope: %s", reporttest.Text(h))
		}
		heads++
	}
	if cells != 4*2*3 || heads == 0 { // four cases that ran, two probes, three phases
		t.Errorf("%d cells, %d headers", cells, heads)
	}
	table := reporttest.Text(p.elements("main")[0])
	for _, want := range []string{
		"a ServiceEntry opens its host, as http-good claims", "blocked (502)", "wanted blocked", "✗allowed, unregistered (passthrough)wanted allowed",
		"needs ipv6: pods with IPv6 addresses", "egressctl run --case http-bad", "clean-up: a namespace stayed", "sha256:17e6", "resource requests are lowered",
		"first verdict", "stock build without Istio's filters",
	} {
		if !strings.Contains(table, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	restarted := ran("restarted", "http", egress.Conforms)
	restarted.Verdict, restarted.Why = egress.Violates, "client changed while the case ran"
	if s := reporttest.Text(render(t, run(restarted)).elements("table")[1]); !strings.Contains(s, restarted.Why) {
		t.Errorf("the table does not say what no cell says: %s", s)
	}
	if h := reporttest.Text(p.elements("h1")[0]); h != "1 of 4 cases is proven otherwise than claimed" {
		t.Error(h)
	}
	if first := reporttest.Attr(p.elements("tbody")[1], "data-v"); first != "violates" { // after that of the overview
		t.Errorf("the first case of the table %s", first)
	}
}

func TestHeadlines(t *testing.T) {
	good := ran("a", "http", egress.Conforms)
	faulty := run(good)
	faulty.Faults = []string{"died"}
	for want, r := range map[string]*report.Report{
		"All 1 cases that were run conform":      run(good),
		"The run had faults":                     faulty,
		"No case was run":                        run(ran("a", "http", egress.Skipped)),
		"1 of 2 cases prove nothing either way":  run(good, ran("b", "http", egress.Inconclusive)),
		"1 of 1 cases prove nothing either way ": report.None(report.Environment{}, time.Now(), []egress.Case{good.Case}, errors.New("no room")),
	} {
		if _, got := headline(r); got != strings.TrimSpace(want) {
			t.Errorf("got %q, want %q", got, want)
		}
		render(t, r)
	}
}

// The file holds everything that it shows, and its policy forbids it to ask for more.
func TestNothingIsAskedOfAnyNetwork(t *testing.T) {
	p := render(t, all())
	for n := range p.root.Descendants() {
		for _, a := range n.Attr {
			switch a.Key {
			case "src", "srcset", "action", "formaction", "data", "poster", "background", "style", "onclick":
				t.Errorf("<%s %s=%q>", n.Data, a.Key, a.Val)
			case "href":
				if !strings.HasPrefix(a.Val, "#") && a.Val != "data:," {
					t.Errorf("<%s href=%q>", n.Data, a.Val)
				}
			}
		}
	}
	var csp string
	for _, m := range p.elements("meta") {
		if reporttest.Attr(m, "http-equiv") == "Content-Security-Policy" {
			csp = reporttest.Attr(m, "content")
		}
	}
	if !strings.HasPrefix(csp, "default-src 'none'; ") || strings.Contains(csp, "unsafe") || strings.Contains(csp, "connect-src") {
		t.Error(csp)
	}
	if strings.Contains(pageCSS, "url(") || strings.Contains(pageCSS, "@import") {
		t.Error("the style asks for something")
	}
	for _, s := range append(p.elements("style"), p.elements("script")...) {
		sum := sha256.Sum256([]byte(reporttest.Text(s)))
		if reporttest.Attr(s, "type") != "application/json" && !strings.Contains(csp, base64.StdEncoding.EncodeToString(sum[:])) {
			t.Errorf("the policy has no digest of <%s>", s.Data)
		}
	}
}

// Whatever a text of the report is, it stays text: nothing of it becomes an element, and nothing hides itself.
func TestTextsStayTexts(t *testing.T) {
	const bad = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'`--><!--\x1b[31m\u202e\x00"
	plain, r := render(t, all()), all()
	r.Faults, r.Environment.Internet, r.Environment.Foreign, r.Environment.Deviations = []string{bad}, bad, []string{bad}, []string{bad}
	r.Environment.Components[0].Version, r.Environment.Timings = bad, map[string]float64{bad: 1}
	for i := range r.Cases {
		c := &r.Cases[i]
		c.Case.Claim, c.Case.Source, c.Case.Labels, c.Why, c.Rerun, c.Applied = bad, bad, []string{bad}, bad, bad, []string{bad}
		c.Case.Probes[0].URL = bad
		for k := range c.Phases {
			c.Phases[k].Notes = []string{bad}
			for n := range c.Phases[k].Probes {
				x := &c.Phases[k].Probes[n]
				x.Probe, x.Why, x.Evidence, x.From = bad, bad, bad, bad
				x.Observations[0].Client.Stdout, x.Observations[0].Mesh[0].Path, x.Observations[0].Target = bad, bad, bad
			}
		}
	}
	p := render(t, r)
	for _, tag := range []string{"script", "img", "style", "button", "dialog"} {
		if got, want := len(p.elements(tag)), len(plain.elements(tag)); got != want {
			t.Errorf("%d <%s>, without the hostile texts %d", got, tag, want)
		}
	}
	if i := strings.IndexFunc(p.text, func(r rune) bool { return r != '\n' && !unicode.IsGraphic(r) }); i >= 0 {
		t.Errorf("the page has %q", p.text[i:i+4])
	}
	if d := p.detail(t, 0); !strings.HasPrefix(d.Claim, "</script>") || d.Phases[0].Probes[0].Observations[0].Client.Stdout == "" || strings.Contains(d.Claim, "\x1b") {
		t.Errorf("%q", d.Claim)
	}
}

func TestDetail(t *testing.T) {
	r := all()
	before := fmt.Sprint(r.Cases)
	p := render(t, r)
	if fmt.Sprint(r.Cases) != before {
		t.Error("the report was changed by being rendered")
	}
	d := p.detail(t, 1)
	if d.Name != "http-bad" || d.Rerun != "egressctl run --case http-bad" || !strings.Contains(d.Why, "wanted allowed") || len(d.Phases) != 3 {
		t.Errorf("%+v", d)
	}
	x := d.Phases[1].Probes[0]
	if x.GotWords != "allowed, unregistered (passthrough)" || x.WantWords != "allowed" || len(x.Observations) != 2 || x.Control == nil {
		t.Errorf("%+v", x)
	}
	o := x.Observations[0]
	if len(o.Arrivals) != 1 || o.Others != 1 || o.Arrivals[0].ProbeID != "run-1" || len(o.Path) != 4 || o.Hops[0].Line.ResponseFlags != "DI,DC" {
		t.Errorf("%+v", o)
	}
}

func TestPath(t *testing.T) {
	silent, bypassed, plain, live, lost, led := refused("a"), call("a"), call("a"), refused("a"), call("a"), call("a")
	silent.Mesh = nil
	bypassed.Mesh, bypassed.Hops = nil, nil
	plain.Captured, plain.Mesh, plain.Hops = false, nil, nil
	live.Blind = true
	lost.Hops[0].Line = nil
	led.Arrivals[0].Server = "evil.example"
	led.Arrivals = led.Arrivals[:1]
	asked := egress.Observation{DNS: true}
	unanswered := egress.Observation{DNS: true, Client: egress.ClientWitness{ExitCode: 6}}
	for name, c := range map[string]struct {
		o    egress.Observation
		want string
	}{
		"through a gateway":  {call("a"), "client passed, sidecar passed, gateway passed, destination reached"},
		"refused":            {refused("a"), "client passed, sidecar stopped, destination missed"},
		"no line":            {silent, "client passed, sidecar unseen, destination missed"},
		"past the sidecar":   {bypassed, "client passed, sidecar unseen, destination reached"},
		"no sidecar":         {plain, "client passed, destination reached"},
		"live":               {live, "client passed, sidecar stopped, destination unseen"},
		"gateway without":    {lost, "client passed, sidecar passed, gateway unseen, destination reached"},
		"elsewhere":          {led, "client passed, sidecar passed, gateway passed, destination reached"},
		"a question":         {asked, "client passed, destination reached"},
		"without any answer": {unanswered, "client passed, destination missed"},
	} {
		var got []string
		nodes := path("client", c.o)
		for _, n := range nodes {
			got = append(got, n.Role+" "+string(n.State))
		}
		if s := strings.Join(got, ", "); s != c.want {
			t.Errorf("%s: got %s, want %s", name, s, c.want)
		}
		if last := nodes[len(nodes)-1]; name == "elsewhere" && (last.Name != "evil.example" || !strings.Contains(last.Note, "meant for a")) {
			t.Errorf("%+v", last)
		}
	}
}

// Every field that witnesses have is explained, in the order of its type.
func TestGlossaryHasEveryField(t *testing.T) {
	line := egress.AccessLog{Method: "x", Authority: "x", Path: "x", Protocol: "x", ResponseDetails: "x", RouteName: "x", UpstreamCluster: "x", UpstreamHost: "x", UpstreamLocal: "x", UpstreamFailure: "x", DownstreamLocal: "x", DownstreamRemote: "x", SNI: "x", RequestID: "x"}
	arrival := egress.Arrival{TLS: true, SNI: "x", ALPN: "x", ClientCert: "x", Proto: "x", Method: "x", Host: "x", Path: "x", Status: 1, ProbeID: "x", RequestID: "x", Attempt: "x"}
	for _, c := range []struct {
		value any
		terms []term
		apart string // what is shown in another way, or not at all
	}{{line, words.Fields, ""}, {arrival, words.Arrival, "seq extra"}} {
		b, err := json.Marshal(c.value)
		if err != nil {
			t.Fatal(err)
		}
		have := map[string]any{}
		if err := json.Unmarshal(b, &have); err != nil {
			t.Fatal(err)
		}
		for _, x := range c.terms {
			if _, ok := have[x.Name]; !ok || x.Text == "" {
				t.Errorf("%q is no field, or has no text", x.Name)
			}
			delete(have, x.Name)
		}
		for name := range have {
			if !strings.Contains(c.apart, name) {
				t.Errorf("field %q is not explained", name)
			}
		}
	}
	for name, f := range words.Flags {
		if f.Name != name || f.Long == "" || f.Text == "" {
			t.Errorf("flag %q: %+v", name, f)
		}
	}
}

func TestWriteAllWritesThePage(t *testing.T) {
	dir := t.TempDir()
	f, err := report.OpenFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	written, err := all().WriteAll(f, Page)
	if b, failed := all().JSON(); failed != nil || reporttest.Validate(b) != nil {
		t.Error(failed, reporttest.Validate(b))
	}
	if err != nil || !strings.HasSuffix(written[len(written)-1], filepath.Join(dir, "report.html")) {
		t.Errorf("%v %v", written, err)
	}
}
