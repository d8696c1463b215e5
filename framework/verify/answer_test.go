package verify

import (
	"encoding/xml"
	"fmt"
	"slices"
	"strings"
	"testing"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/input"
	"mesh-egress-conformance/framework/internet"
	"mesh-egress-conformance/framework/report/reporttest"
	"mesh-egress-conformance/framework/why"
)

// mesh is one that comes out as a function says: by question and class, the outcome, where it landed, whether in TLS, and through
// which gateway. What it returns 0 for is blocked.
type mesh func(c Class, q Question) fate

type fate struct {
	got     egress.Outcome
	landed  string // the host that was called, if ""
	tls     bool
	gateway string
	sends   string // the cluster that the gateway sent it on by
	rule    string // the DestinationRule by which the gateway does; "" where what it has could not be read
	cluster string // that the sidecar's line names; "" is that of the host
	arrives bool   // though it fails
	also    string // a second host at which attempts landed
	unmade  bool   // there was no connection
}

// hear asks a fake mesh of the objects of a text.
func hear(t *testing.T, m *Model, o *Outside, says mesh) []Heard {
	t.Helper()
	var out []Heard
	for _, c := range m.Classes(false) {
		h := Heard{Class: c, Around: why.Question{Namespace: c.Members[0].Namespace, Captured: true, Policy: m.Mesh.Policy}}
		for _, x := range m.Objects {
			spec, _ := x.Fields["spec"].(map[string]any)
			h.Around.Objects = append(h.Around.Objects, why.Object{Kind: x.Kind(), Namespace: x.Namespace(), Name: x.Name(), Spec: spec})
			if x.Kind() == "DestinationRule" {
				for _, q := range o.Questions {
					if q.Host == text(x, "spec", "host") {
						h.Around.Config.Clusters = append(h.Around.Config.Clusters, why.Cluster{Name: "outbound|" + port(q) + "||" + q.Host, Object: x.String()})
					}
				}
			}
		}
		h.Around.Config.Tables = routesOf(m, o)
		h.Around.Gateways = map[string]why.Config{}
		for _, q := range o.Questions {
			f := says(c, q)
			h.Results = append(h.Results, result(o, q, f))
			if f.rule != "" {
				h.Around.Gateways[f.gateway] = why.Config{Clusters: []why.Cluster{{Name: f.sends, Object: f.rule}}}
			}
		}
		out = append(out, h)
	}
	return out
}

// routesOf are the tables of a sidecar: a VirtualService for its hosts leads to whatever its routes name.
func routesOf(m *Model, o *Outside) []why.Table {
	var out []why.Table
	for _, x := range m.Objects {
		if x.Kind() != "VirtualService" || x.At("spec", "gateways") != nil {
			continue
		}
		for _, route := range mappings(x.At("spec", "http")) {
			for _, to := range mappings(route["route"]) {
				d, _ := to["destination"].(map[string]any)
				p, _ := d["port"].(map[string]any)
				subset, _ := d["subset"].(string)
				r := why.Route{Object: x.String(), Clusters: []string{fmt.Sprintf("outbound|%v|%s|%s", p["number"], subset, d["host"])}}
				for _, q := range o.Questions {
					if slices.Contains(texts(x.At("spec", "hosts")), q.Host) {
						out = append(out, why.Table{Hosts: []why.VirtualHost{{Name: q.Host + ":" + port(q), Domains: []string{q.Host}, Routes: []why.Route{r}}}})
					}
				}
			}
		}
	}
	return out
}

func result(o *Outside, q Question, f fate) egress.ProbeResult {
	r := egress.ProbeResult{Got: f.got, Verdict: egress.Conforms, Evidence: "witnesses"}
	line := egress.AccessLog{UpstreamCluster: f.cluster, Authority: q.Host, DownstreamLocal: "192.0.2.1:" + port(q), DownstreamRemote: "10.0.0.1:11000", UpstreamLocal: "10.0.0.1:40000", UpstreamHost: "192.0.2.1:1"}
	x := egress.Observation{Captured: true, Client: egress.ClientWitness{Local: "10.0.0.1:11000"}}
	switch {
	case f.got == 0:
		r.Got, line.UpstreamCluster, line.UpstreamLocal, line.UpstreamHost = egress.BRST, "BlackHoleCluster", "", ""
	case egress.Arrived.Has(f.got) || f.arrives:
		r.Server = f.landed
		if r.Server == "" {
			r.Server = o.server(q.Host)
		}
		if f.also != "" {
			r.Landings = map[string]int{r.Server: 9, f.also: 8}
		}
		x.Arrivals = []egress.Arrival{{Server: r.Server, Peer: line.UpstreamLocal, Local: line.UpstreamHost, TLS: f.tls}}
		if f.gateway != "" {
			hop := line
			hop.UpstreamCluster = f.sends
			x.Hops = []egress.Hop{{Gateway: f.gateway, Line: &hop}}
		}
		if line.UpstreamCluster == "" && f.got == egress.OK {
			line.UpstreamCluster = "outbound|" + port(q) + "||" + q.Host
		}
		if f.got == egress.Pass {
			line.UpstreamCluster = "PassthroughCluster"
		}
	}
	if f.unmade {
		x.Client.Local = ""
	}
	x.Mesh = []egress.AccessLog{line}
	if f.got == egress.Direct {
		x.Mesh = nil
		x.Arrivals[0].Peer = x.Client.Local
	}
	r.Observations = []egress.Observation{x}
	return r
}

func port(q Question) string { return strings.TrimPrefix(target("x", "h", q.Port), "x://h:") }

// reported is the report of a text in a fake mesh.
func reported(t *testing.T, text string, says mesh) (*Report, *Model, *Outside) {
	t.Helper()
	m := modelOf(t, text)
	base, err := internet.DefaultHosts()
	if err != nil {
		t.Fatal(err)
	}
	o, err := NewOutside(base, nil, m)
	if err != nil {
		t.Fatal(err)
	}
	r := NewReport(m, o, hear(t, m, o, says))
	valid(t, r)
	return r, m, o
}

const registryOnly = "---\napiVersion: install.istio.io/v1alpha1\nkind: IstioOperator\nmetadata: {name: mesh}\nspec: {meshConfig: {outboundTrafficPolicy: {mode: REGISTRY_ONLY}}}\n"

var (
	apiTLS = entryText("api", `hosts: [api.example], exportTo: ["."], resolution: DNS, ports: [{number: 443, name: tls, protocol: TLS}]`)
	basic  = registryOnly + nsShop + cart + apiTLS
)

// strict lets out what is named, to the workloads of shop.
func strict(c Class, q Question) fate {
	if q.speech.scheme == "udp" {
		return fate{got: egress.Direct}
	}
	if c.Members[0].Namespace != "shop" {
		return fate{}
	}
	switch {
	case q.Kind == Named:
		return fate{got: egress.OK, tls: q.speech.scheme == "https"}
	case q.Kind == Lie && q.speech.scheme == "https":
		return fate{got: egress.OK, landed: q.As, tls: true, cluster: "outbound|443||" + q.As}
	}
	return fate{}
}

func answerTo(t *testing.T, r *Report, from, key string) Answer {
	t.Helper()
	for _, a := range r.Answers {
		if a.From == from && a.question.Key() == key {
			return a
		}
	}
	t.Fatalf("%s was not asked %s", from, key)
	return Answer{}
}

func TestAnswers(t *testing.T) {
	r, _, _ := reported(t, basic, strict)
	a := answerTo(t, r, "shop/cart", "https://api.example")
	if a.State != Allowed || !a.Registered || a.Via != Direct || a.Encrypted != ByWorkload || a.Landed != "api.example" || len(a.By) != 1 || a.By[0].String() != "ServiceEntry shop/api (standard input:16)" {
		t.Errorf("%+v", a)
	}
	if a := answerTo(t, r, "shop/cart", "https://unregistered.example as api.example"); a.State != Led || a.Words == "allowed" {
		t.Errorf("a lie that leads to the named host opens nothing: %+v", a)
	}
	if a := answerTo(t, r, "shop/cart", "https://unregistered.example"); a.State != Blocked || a.By[0].File != "standard input" {
		t.Errorf("%+v", a)
	}
	if a := answerTo(t, r, "elsewhere/any", "https://api.example"); a.State != Blocked || len(a.Nearly) != 1 || !strings.Contains(a.Nearly[0].What, "not exported") {
		t.Errorf("%+v", a)
	}
	for name, x := range map[string]struct {
		f         fate
		encrypted string
		via       string
		state     State
	}{
		"by a gateway":     {fate{got: egress.OK, tls: true, gateway: "istio-system/istio-egressgateway-55d74b9d84-pqv8q"}, ByGateway, "istio-system/istio-egressgateway", Allowed},
		"by the sidecar":   {fate{got: egress.OK, tls: true}, BySidecar, Direct, Allowed},
		"in plain text":    {fate{got: egress.Pass}, ByNobody, Direct, Allowed},
		"without a host":   {fate{got: egress.S503UH}, "", "", Fails},
		"denied":           {fate{got: egress.S403RBAC}, "", "", Blocked},
		"a timeout":        {fate{got: egress.TMO}, "", "", Unproven},
		"no such name":     {fate{got: egress.DNSX}, "", "", Unproven},
		"refused":          {fate{got: egress.REF}, "", "", Unproven},
		"stalled":          {fate{got: egress.Stall}, "", "", Fails},
		"not even begun":   {fate{got: egress.Stall, unmade: true}, "", "", Unproven},
		"a certificate":    {fate{got: egress.CERT, arrives: true, tls: true}, BySidecar, Direct, Fails},
		"past the sidecar": {fate{got: egress.Direct}, ByNobody, Direct, Allowed},
	} {
		r, _, _ := reported(t, basic, func(Class, Question) fate { return x.f })
		a := answerTo(t, r, "shop/cart", "http://unregistered.example")
		if a.State != x.state || a.Encrypted != x.encrypted || a.Via != x.via {
			t.Errorf("%s: %s, encrypted %q, via %q", name, a.State, a.Encrypted, a.Via)
		}
	}
}

// What is not proven is neither open nor closed.
func TestUnproven(t *testing.T) {
	_, m, o := reported(t, basic, strict)
	heard := hear(t, m, o, strict)
	heard[0].Results[0] = egress.ProbeResult{Verdict: egress.Inconclusive, Got: egress.OK, Why: "the control client could not reach the target"}
	r := NewReport(m, o, heard)
	if r.Answers[0].State != Unproven || r.ExitCode() != exitFault || !strings.Contains(textOf(t, r), "could not reach the target") {
		t.Errorf("%+v", r.Answers[0])
	}
}

func textOf(t *testing.T, r *Report) string {
	t.Helper()
	var b strings.Builder
	if err := r.WriteText(&b, Text{}); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

const expectedText = `allow:
- from: [shop/*]
  to: ["https://api.example"]
  via: direct
  encrypted: workload
- from: ["*"]
  to: ["udp://*"]
`

func TestJudge(t *testing.T) {
	for name, x := range map[string]struct {
		says mesh
		want []string // kinds of the deviations, with who and where
	}{
		"as expected": {strict, nil},
		"a leak": {func(c Class, q Question) fate {
			if q.Key() == "tcp://unregistered.example:22" && c.Members[0].Namespace == "shop" {
				return fate{got: egress.Pass}
			}
			return strict(c, q)
		}, []string{"leak shop/cart tcp://unregistered.example:22"}},
		"an outage": {func(c Class, q Question) fate {
			if q.Kind == Named {
				return fate{}
			}
			return strict(c, q)
		}, []string{"outage shop/cart https://api.example"}},
		"it fails": {func(c Class, q Question) fate {
			if q.Kind == Named {
				return fate{got: egress.S503UF}
			}
			return strict(c, q)
		}, []string{"outage shop/cart https://api.example"}},
		"through a gateway": {func(c Class, q Question) fate {
			f := strict(c, q)
			if q.Kind == Named {
				f.gateway = "istio-system/gw-55d74b9d84-pqv8q"
			}
			return f
		}, []string{"detour shop/cart https://api.example"}},
		"a lie that reaches the stranger": {func(c Class, q Question) fate {
			f := strict(c, q)
			if q.Kind == Lie {
				f.landed = Stranger
			}
			return f
		}, []string{"leak shop/cart https://unregistered.example"}},
	} {
		r, _, _ := reported(t, basic, x.says)
		e, err := ParseExpectations("egress.yaml", []byte(expectedText))
		if err != nil {
			t.Fatal(err)
		}
		r.Expected = "egress.yaml"
		r.Deviations, _ = e.Judge(r.Answers)
		var got []string
		for _, d := range r.Deviations {
			got = append(got, string(d.Kind)+" "+d.From+" "+d.To)
			if len(d.By) == 0 {
				t.Errorf("%s: no object is named: %+v", name, d)
			}
		}
		want := map[bool]int{true: exitDiffer, false: exitFine}[len(x.want) > 0]
		if strings.Join(got, "\n") != strings.Join(x.want, "\n") || r.ExitCode() != want {
			t.Errorf("%s: %v, exit %d", name, got, r.ExitCode())
		}
	}
}

// The present state, written down, is as expected; and says what nobody is asked.
func TestPresent(t *testing.T) {
	text := basic + deployment("shop", "pay", "app: pay", "", "")
	r, _, _ := reported(t, text, strict)
	b, err := Present(r.Answers).YAML()
	if err != nil {
		t.Fatal(err)
	}
	if want := "allow:\n- encrypted: nobody\n  from:\n  - '*'\n  to:\n  - udp://unregistered.example:4433\n  via: direct\n- encrypted: workload\n  from:\n  - shop/*\n  to:\n  - https://api.example\n  via: direct\n"; !strings.HasSuffix(string(b), want) {
		t.Errorf("%s", b)
	}
	e, err := ParseExpectations("egress.yaml", b)
	if err != nil {
		t.Fatal(err)
	}
	if d, idle := e.Judge(r.Answers); len(d) != 0 || len(idle) != 0 {
		t.Errorf("%v %v", d, idle)
	}
	e, err = ParseExpectations("egress.yaml", []byte("allow:\n- {from: [nobody/*], to: ['https://api.example']}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if _, idle := e.Judge(r.Answers); len(idle) != 1 || idle[0].Line != 2 {
		t.Errorf("%v", idle)
	}
}

func TestChanges(t *testing.T) {
	before, _, _ := reported(t, basic, strict)
	for name, x := range map[string]struct {
		says mesh
		want string
	}{
		"nothing": {strict, ""},
		"opens": {func(c Class, q Question) fate {
			if q.Key() == "tcp://unregistered.example:22" {
				return fate{got: egress.Pass}
			}
			return strict(c, q)
		}, "opens elsewhere/any,shop/cart tcp://unregistered.example:22"},
		"closes": {func(c Class, q Question) fate {
			if q.Kind == Named {
				return fate{}
			}
			return strict(c, q)
		}, "closes shop/cart https://api.example"},
		"redirects": {func(c Class, q Question) fate {
			f := strict(c, q)
			if q.Kind == Named && f.got != 0 {
				f.landed = "other.example"
			}
			return f
		}, "redirects shop/cart https://api.example"},
	} {
		now, _, _ := reported(t, basic, x.says)
		now.Base, now.Changes = "main", Changes(before.Answers, now.Answers)
		var got []string
		for _, c := range now.Changes {
			got = append(got, string(c.Kind)+" "+strings.Join(c.From, ",")+" "+c.To)
		}
		if strings.Join(got, "\n") != x.want || (now.ExitCode() == exitDiffer) != strings.HasPrefix(x.want, "opens") {
			t.Errorf("%s: %v, exit %d", name, got, now.ExitCode())
		}
		if md := string(now.Markdown()); x.want != "" && !strings.Contains(md, "**"+strings.Fields(x.want)[0]+"**") {
			t.Errorf("%s: %s", name, md)
		}
	}
	none := Changes(before.Answers, nil)
	if len(none) != 2 || none[0].Kind != Closes || none[0].After != "no such workload" {
		t.Errorf("%v", none)
	}
}

func TestRenderings(t *testing.T) {
	r, _, _ := reported(t, basic+"---\napiVersion: v1\nkind: Secret\nmetadata: {name: x}\n", func(c Class, q Question) fate {
		if q.Kind == Strange {
			return fate{got: egress.Pass}
		}
		return strict(c, q)
	})
	r.Mistakes = append(r.Mistakes, input.Mistake{File: "a.yaml", Line: 3, What: "bad\x1b[2J"})
	text := textOf(t, r)
	for _, want := range []string{"ignored: 1 Secret", "not taken over: a.yaml:3: bad", "more that no object names", "SSH", "the result is partial"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	if strings.ContainsRune(text, '\x1b') || strings.Contains(text, "led to another host") {
		t.Error(text)
	}
	valid(t, r)
	j, err := r.JUnit()
	var suites struct {
		Tests  int `xml:"tests,attr"`
		Errors int `xml:"errors,attr"`
	}
	if err != nil || xml.Unmarshal(j, &suites) != nil || suites.Tests != len(r.Answers)+1 || suites.Errors != 1 {
		t.Errorf("%v %+v", err, suites)
	}
	if r.ExitCode() != exitFault {
		t.Error("a partial result is not fine")
	}
}

// CI systems take verify.xml, whatever names and reasons are.
func TestJUnitIsValid(t *testing.T) {
	validate := reporttest.JUnit(t)
	whole, _, _ := reported(t, basic, strict)
	spoiled, _, _ := reported(t, basic, strict)
	const hostile = "\x1b[31m\u202e\x00\xff<b>\n]]>"
	spoiled.Faults, spoiled.Mistakes = []string{hostile}, input.Mistakes{{File: hostile, What: hostile}}
	spoiled.Answers[0].State, spoiled.Answers[0].Unproven, spoiled.Answers[0].Evidence = Unproven, hostile, hostile
	from := spoiled.Answers[1]
	spoiled.Expected, spoiled.Deviations = hostile, []Deviation{{Kind: Leak, From: from.From, To: from.To, As: from.As, What: hostile}}
	for name, r := range map[string]*Report{"whole": whole, "spoiled": spoiled, "empty": {}} {
		b, err := r.JUnit()
		if err == nil {
			err = validate(b)
		}
		if err != nil {
			t.Errorf("%s: %v\n%s", name, err, b)
		}
		for _, element := range []string{"<failure", "<error"} {
			if n := strings.Count(string(b), element); (n > 0) != (name == "spoiled") {
				t.Errorf("%s: %d %s", name, n, element)
			}
		}
	}
}
