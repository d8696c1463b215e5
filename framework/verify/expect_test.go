package verify

import (
	"strings"
	"testing"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/internet"
)

func TestParseExpectations(t *testing.T) {
	for text, want := range map[string]string{
		"allow: []":               "",
		"alow: []":                "did you mean allow",
		"{}":                      "the field allow is missing",
		"allow:\n- {from: [a/b]}": "egress.yaml:2: from and to",
		"allow:\n- {from: [a/b], to: [x], encrypted: no}":  "egress.yaml:2: encrypted",
		"allow:\n- {from: [a/b], to: [x], encrypted: tls}": `"tls" is none of`,
		"allow:\n- {from: ['['], to: [x]}":                 "is no pattern",
		"a: 1\n---\nb: 2":                                  "one document",
	} {
		_, err := ParseExpectations("egress.yaml", []byte(text))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

// expecting are expectations of a text's rules, one in a line.
func expecting(t *testing.T, rules ...string) *Expectations {
	t.Helper()
	e, err := ParseExpectations("egress.yaml", []byte("allow:\n- "+strings.Join(rules, "\n- ")))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// What is expected and named by nobody is asked all the same; what cannot be asked is told.
func TestExpectedIsAsked(t *testing.T) {
	for rule, x := range map[string]struct{ asked, told string }{
		"to: ['https://lost.example']":                                     {"named https://lost.example", ""},
		"to: ['tcp://db.example:5432', 'tcp://unregistered.example:22']":   {"named tcp://db.example:5432", ""},
		"to: ['tcp://203.0.113.9:5432']":                                   {"named tcp://203.0.113.9:5432", ""},
		"to: ['https://address-of-x.example']":                             {"address https://address-of-x.example", ""},
		"to: ['https://unregistered.example'], as: img.cdn.example":        {"lie https://unregistered.example as img.cdn.example", ""},
		"to: ['http://unregistered.example:8080'], as: IMG.cdn.example":    {"lie http://unregistered.example:8080 as img.cdn.example", ""},
		"to: ['HTTPS://API.Partner.example:443/']":                         {"named https://api.partner.example", ""},
		"to: ['grpc://api.example:9000']":                                  {"named grpc://api.example:9000", ""},
		"to: ['https://*.cdn.example']":                                    {"named https://any.cdn.example", ""},
		"to: ['https://a*.example']":                                       {"", "no object names anything like it"},
		"to: ['tcp://*:5432']":                                             {"", ""},
		"to: [nonsense]":                                                   {"", "it is no URL"},
		"to: ['https://a.example/path']":                                   {"", "paths are not told apart"},
		"to: ['ftp://a.example']":                                          {"", `scheme "ftp"`},
		"to: ['tcp://a.example']":                                          {"", "it needs a port"},
		"to: ['tcp://127.0.0.1:80']":                                       {"", "nobody outside can have that address"},
		"to: ['tcp://unregistered.example:22'], as: a.example":             {"", "only http and https"},
		"to: ['https://x.svc.cluster.local']":                              {"", "no host can have it"},
		"to: ['tcp://legacy:5432']":                                        {"", "only an entry of the mesh's"},
		"to: ['https://lost.example', 'https://a*.example']":               {"named https://lost.example", "https://a*.example is about"},
		"to: ['tcp://unregistered.example:5432', 'udp://*', '*.no-match']": {"", "*.no-match is about"},
	} {
		e := expecting(t, "{from: ['*'], "+rule+"}")
		m := modelOf(t, registryOnly+nsShop)
		base, err := internet.DefaultHosts()
		if err != nil {
			t.Fatal(err)
		}
		o, err := NewOutside(base, e, m)
		if err != nil {
			t.Fatal(err)
		}
		if got := asks(o); got != x.asked {
			t.Errorf("%s: %s, want %s", rule, got, x.asked)
		}
		for _, q := range o.Questions {
			if h, ok := o.all.Find(q.Host); !ok {
				t.Errorf("%s: nobody serves %s", rule, q.Host)
			} else if _, served := h.Service("tcp", uint16(q.Port)); !served && q.speech.scheme != "udp" {
				t.Errorf("%s: %s is not served by %s", rule, q.Key(), h.Name)
			}
		}
		r := NewReport(m, o, hear(t, m, o, strict))
		r.Against(e)
		if got := r.Mistakes.Error(); (got == "") != (x.told == "") || !strings.Contains(got, x.told) || x.told != "" && !r.Partial() {
			t.Errorf("%s: told %q, want %q", rule, got, x.told)
		}
	}
}

// An object that goes takes its questions with it; what the file expects is asked, and missed.
func TestOutageOfWhatNobodyNames(t *testing.T) {
	rules := []string{"{from: ['*'], to: ['udp://*']}", "{from: [shop/cart], to: ['tcp://203.0.113.9:5432', 'https://api.example']}", "{from: [shop/cart], to: ['https://unregistered.example'], as: img.cdn.example}"}
	e := expecting(t, rules...)
	m := modelOf(t, registryOnly+nsShop+cart)
	base, err := internet.DefaultHosts()
	if err != nil {
		t.Fatal(err)
	}
	o, err := NewOutside(base, e, m)
	if err != nil {
		t.Fatal(err)
	}
	says := func(_ Class, q Question) fate { // nothing is registered any more
		return map[bool]fate{true: {got: egress.Direct}}[q.speech.scheme == "udp"]
	}
	r := NewReport(m, o, hear(t, m, o, says))
	r.Against(e)
	var got []string
	for _, d := range r.Deviations {
		got = append(got, string(d.Kind)+" "+d.From+" "+d.To+asText(d.As))
	}
	want := "outage shop/cart https://api.example\noutage shop/cart tcp://203.0.113.9:5432\noutage shop/cart https://unregistered.example as img.cdn.example"
	if strings.Join(got, "\n") != want || r.ExitCode() != exitDiffer {
		t.Errorf("exit %d:\n%s", r.ExitCode(), strings.Join(got, "\n"))
	}
}

// What fails at its destination has got there: a leak where nobody expects it, and no outage where somebody expects just that.
func TestFailsThere(t *testing.T) {
	rejects := func(key string) mesh {
		return func(c Class, q Question) fate {
			if q.Key() == key && c.Members[0].Namespace == "shop" {
				return fate{got: egress.CERT, arrives: true, tls: true}
			}
			return strict(c, q)
		}
	}
	const stranger, named, lie = "https://unregistered.example", "https://api.example", "https://unregistered.example as api.example"
	const udp = "{from: ['*'], to: ['udp://*']}"
	allowed := "{from: [shop/*], to: ['" + named + "']}"
	for name, x := range map[string]struct {
		says  mesh
		rules []string
		want  string
	}{
		"at a stranger":             {rejects(stranger), []string{udp, allowed}, "leak " + stranger},
		"at what is allowed":        {rejects(named), []string{udp, allowed}, "outage " + named},
		"as expected":               {rejects(named), []string{udp, "{from: [shop/*], to: ['" + named + "'], fails: true}"}, ""},
		"expected to, and blocked":  {func(c Class, q Question) fate { return map[bool]fate{true: strict(c, q)}[q.Kind != Named] }, []string{udp, "{from: [shop/*], to: ['" + named + "'], fails: true}"}, "outage " + named},
		"expected to, and answered": {strict, []string{udp, "{from: [shop/*], to: ['" + named + "'], fails: true}"}, ""},
		"before it gets there": {func(c Class, q Question) fate {
			if q.Key() == stranger {
				return fate{got: egress.S503UF}
			}
			return strict(c, q)
		}, []string{udp, allowed}, ""},
		"a lie at the host that it names": {func(c Class, q Question) fate {
			if q.Key() == lie {
				return fate{got: egress.CERT, arrives: true, landed: "api.example"}
			}
			return strict(c, q)
		}, []string{udp, allowed}, ""},
	} {
		r, _, _ := reported(t, basic, x.says)
		r.Against(expecting(t, x.rules...))
		var got []string
		for _, d := range r.Deviations {
			got = append(got, string(d.Kind)+" "+d.To+asText(d.As))
		}
		if strings.Join(got, "\n") != x.want {
			t.Errorf("%s: %v, want %s", name, got, x.want)
		}
		presentHolds(t, name, r)
	}
	was, _, _ := reported(t, basic, strict)
	now, _, _ := reported(t, basic, rejects(stranger))
	if got := told(Changes(was.Answers, now.Answers)); got != "opens shop/cart "+stranger {
		t.Error(got)
	}
	if got := told(Changes(now.Answers, was.Answers)); got != "closes shop/cart "+stranger {
		t.Error(got)
	}
}

// Where a call lands is judged: where nothing is said, at what is called, by name, address or endpoint.
func TestLanded(t *testing.T) {
	at := func(host string) mesh {
		return func(c Class, q Question) fate {
			f := strict(c, q)
			if q.Kind == Named && f.got != 0 {
				f.landed = host
			}
			return f
		}
	}
	two := func(c Class, q Question) fate {
		f := at("address-203-0-113-9.example")(c, q)
		if q.Kind == Named && f.got != 0 {
			f.also = "evil.example"
		}
		return f
	}
	for name, x := range map[string]struct {
		says mesh
		rule string // beyond from and to
		want string
	}{
		"at what is called":             {strict, "", ""},
		"at another host":               {at("evil.example"), "", "it lands at evil.example, and is expected at api.example"},
		"at another host, as said":      {at("evil.example"), ", landed: [evil.example]", ""},
		"at another one than is said":   {at("evil.example"), ", landed: [api.example, good.*]", "it lands at evil.example, and is expected at api.example, good.*"},
		"no longer where it is said":    {strict, ", landed: [evil.example]", "it lands at api.example, and is expected at evil.example"},
		"at an endpoint":                {at("address-203-0-113-9.example"), "", ""},
		"at an endpoint that is not it": {at("address-203-0-113-9.example"), ", landed: [203.0.113.10]", "it lands at 203.0.113.9"},
		"at two":                        {two, "", "it lands at 203.0.113.9, evil.example"},
		"at two, as said":               {two, ", landed: [203.0.113.9, '*.example']", ""},
	} {
		text := registryOnly + nsShop + cart + entryText("api", `hosts: [api.example], exportTo: ["."], resolution: STATIC, endpoints: [{address: 203.0.113.9}], ports: [{number: 443, name: tls, protocol: TLS}]`)
		r, _, _ := reported(t, text, x.says)
		r.Against(expecting(t, "{from: ['*'], to: ['udp://*']}", "{from: [shop/*], to: ['https://api.example']"+x.rule+"}"))
		var got []string
		for _, d := range r.Deviations {
			got = append(got, string(d.Kind)+": "+d.What)
		}
		if (len(got) == 0) != (x.want == "") || x.want != "" && !strings.Contains(strings.Join(got, "\n"), "detour: "+x.want) {
			t.Errorf("%s: %v, want %s", name, got, x.want)
		}
		presentHolds(t, name, r)
	}
}

// A rule by which nobody is judged is told, with the reason.
func TestIdleRules(t *testing.T) {
	const udp = "{from: ['*'], to: ['udp://*']}"
	for name, x := range map[string]struct {
		rules []string
		want  string
	}{
		"all decide":               {[]string{udp, "{from: [shop/*], to: ['https://api.example']}"}, ""},
		"nobody is called so":      {[]string{udp, "{from: [shop/*], to: ['https://api.example']}", "{from: [bank/*], to: ['https://api.example']}"}, "egress.yaml:4: nothing is asked that this is about: no workload is called bank/*"},
		"one of two names nothing": {[]string{udp, "{from: [shop/*], to: ['https://api.example', 'https://gone*']}"}, "egress.yaml:3: nothing is asked that https://gone* is about"},
		"a former one decides and demands something else": {[]string{udp, "{from: [shop/*], to: ['https://api.example']}", "{from: [shop/cart], to: ['https://api.example'], via: gw}"}, "egress.yaml:4: https://api.example is decided about by line 3"},
		"a former one decides and demands the same":       {[]string{udp, "{from: [shop/*], to: ['https://*']}", "{from: [shop/cart], to: ['https://api.example']}"}, ""},
	} {
		r, _, _ := reported(t, basic, strict)
		e := expecting(t, x.rules...)
		r.Against(e)
		if got := r.Mistakes.Error(); (got == "") != (x.want == "") || !strings.Contains(got, x.want) || strings.Count(got, "\n") > 0 {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// presentHolds demands that what is written of the present state expects just that.
func presentHolds(t *testing.T, name string, r *Report) {
	t.Helper()
	b, err := Present(r.Answers).YAML()
	if err != nil {
		t.Fatal(err)
	}
	e, err := ParseExpectations("egress.yaml", b)
	if err != nil {
		t.Fatal(err)
	}
	if d, idle := e.Judge(r.Answers); len(d)+len(idle) > 0 {
		t.Errorf("%s: the present state is not as expected: %v %v\n%s", name, d, idle, b)
	}
}
