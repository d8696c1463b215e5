package egress

import (
	"encoding/json"
	"strings"
	"testing"
)

func sound() Case {
	return Case{
		Name: "area-name", Area: "area", Claim: "claim", Source: "source",
		Probes: []Probe{GET("client", "http://httpbin.org/").Want(Blocked, OK, Blocked)},
	}
}

func TestCaseCheck(t *testing.T) {
	if err := sound().Check(); err != nil {
		t.Fatal(err)
	}
	for want, spoil := range map[string]func(*Case){
		"lower-case words":     func(c *Case) { c.Name = "Area Name" },
		"area is missing":      func(c *Case) { c.Area = "" },
		"claim is missing":     func(c *Case) { c.Claim = "" },
		"source is missing":    func(c *Case) { c.Source = "" },
		"no probes":            func(c *Case) { c.Probes = nil },
		"not of the form":      func(c *Case) { c.Since = "new" },
		"from is missing":      func(c *Case) { c.Probes[0].From = "" },
		"exactly one of url":   func(c *Case) { c.Probes[0].Command = "curl x" },
		"no destination":       func(c *Case) { c.Probes[0].URL = "http://" },
		"error parsing regexp": func(c *Case) { c.Probes[0].Output = Always("(") },
		"no wanted outcome":    func(c *Case) { c.Probes[0].Wants[Applied] = 0 },
		"removal must restore": func(c *Case) { c.Probes[0].Wants[Removed] = OK },
		"grows in no phase": func(c *Case) {
			c.Probes[0].Counts = map[Phase]map[string]int64{Before: {"tcp.A.downstream_cx_total": 0}}
		},
		"add it to needs": func(c *Case) { c.DNS = map[Phase]map[string]string{Changed: {"a.example": "NXDOMAIN"}} },
		"answers begin in": func(c *Case) {
			c.Needs, c.DNS = []Feature{Hermetic}, map[Phase]map[string]string{Before: {"a.example": "NXDOMAIN"}}
		},
		"is sent away in phase": func(c *Case) { c.Istiod = map[Phase]map[string]int{Removed: {"away": 0}} },
		"serves other cases":    func(c *Case) { c.Istiod = map[Phase]map[string]int{Applied: {"default": 0}} },
		"-1 replicas":           func(c *Case) { c.Istiod = map[Phase]map[string]int{Applied: {"away": -1}} },
		"no wanted outcome for": func(c *Case) { c.Probes[0].Wants[Before] = ^Outcome(0) },
	} {
		c := sound()
		spoil(&c)
		if err := c.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want an error with %q, got %v", want, err)
		}
	}
}

// An istiod is away from the phase that sends it until one that sends it back, or until the case ends.
func TestAway(t *testing.T) {
	for name, x := range map[string]struct {
		does map[Phase]map[string]int
		want [4]bool // by phase
	}{
		"never":                {nil, [4]bool{}},
		"another one":          {map[Phase]map[string]int{Applied: {"other": 0}}, [4]bool{}},
		"until the end":        {map[Phase]map[string]int{Applied: {"away": 0}}, [4]bool{false, true, true, false}},
		"and back":             {map[Phase]map[string]int{Applied: {"away": 0}, Changed: {"away": 1}}, [4]bool{false, true, false, false}},
		"in the change":        {map[Phase]map[string]int{Changed: {"away": 0}}, [4]bool{false, false, true, false}},
		"with another replica": {map[Phase]map[string]int{Applied: {"away": 2}}, [4]bool{}},
	} {
		c := sound()
		c.Istiod, c.Delete = x.does, []string{"ServiceEntry/x"}
		for i, ph := range Phases() {
			if got := c.Away("away", ph); got != x.want[i] {
				t.Errorf("%s: away in phase %s: %t", name, ph, got)
			}
		}
	}
}

func TestAppliesTo(t *testing.T) {
	for _, x := range []struct {
		since, until, version string
		want                  bool
	}{
		{"", "", "1.31", true},
		{"1.31", "", "1.31", true},
		{"1.31", "", "1.29", false},
		{"1.9", "", "1.31", true},
		{"", "1.30", "1.31", false},
		{"", "1.31", "1.31.4", true},
		{"1.31", "", "unknown", true},
	} {
		c := sound()
		c.Since, c.Until = x.since, x.until
		if got, why := c.AppliesTo(x.version); got != x.want || (why == "") != x.want {
			t.Errorf("%+v: got %t %q", x, got, why)
		}
	}
}

func TestOutcomeNames(t *testing.T) {
	if len(outcomes) != 26 {
		t.Fatalf("%d outcomes are described", len(outcomes))
	}
	for b := OK; b < lastOutcome; b <<= 1 {
		if b.Meaning() == "" || !b.Single() {
			t.Errorf("outcome %d is not described", b)
		}
		back, err := ParseOutcome(b.String())
		if err != nil || back != b {
			t.Errorf("%s reads back as %s, %v", b, back, err)
		}
	}
	if Blocked.Has(0) || !Blocked.Has(BRST) || Blocked.Has(OK) || Blocked.Single() {
		t.Error("set operations")
	}
	if _, err := ParseOutcome("fine"); err == nil {
		t.Error("an unknown name is accepted")
	}
}

func FuzzParseOutcome(f *testing.F) {
	f.Add("blocked|OK")
	f.Add("503UH")
	f.Fuzz(func(t *testing.T, s string) {
		o, err := ParseOutcome(s)
		if err != nil {
			return
		}
		if back, err := ParseOutcome(o.String()); err != nil || back != o {
			t.Errorf("%q reads as %s and back as %s, %v", s, o, back, err)
		}
	})
}

func TestCaseSurvivesJSON(t *testing.T) {
	b, err := json.Marshal(sound())
	if err != nil {
		t.Fatal(err)
	}
	var back Case
	if err := json.Unmarshal(b, &back); err != nil || back.Probes[0].Wants != sound().Probes[0].Wants {
		t.Errorf("%s reads back as %+v, %v", b, back, err)
	}
}

func TestExitCode(t *testing.T) {
	for _, x := range []struct {
		want int
		vs   []Verdict
	}{
		{0, nil}, {0, []Verdict{Conforms, Skipped, NotApplicable}}, {1, []Verdict{Inconclusive, Violates}}, {2, []Verdict{Conforms, Inconclusive}},
	} {
		if got := ExitCode(x.vs); got != x.want {
			t.Errorf("%v: got %d, want %d", x.vs, got, x.want)
		}
	}
}

// A control client that cannot resolve a made-up name calls the server by its own.
func TestToServer(t *testing.T) {
	for _, x := range []struct {
		in   Probe
		want string
	}{
		{Probe{URL: "http://pool.internal/headers", Server: "httpbin.org"}, "http://httpbin.org/headers"},
		{Probe{URL: "tls://pool.internal:8443", Server: "httpbin.org", Connect: "pool.internal:8443"}, "tls://httpbin.org:8443"},
		{Probe{Command: "curl http://pool.internal/", Server: "httpbin.org"}, "http://httpbin.org/"},
	} {
		if got := x.in.ToServer(); got.URL != x.want || got.Connect != "" || got.Command != "" {
			t.Errorf("%s: %+v", x.in, got)
		}
	}
}

func TestAddress(t *testing.T) {
	for _, x := range []struct {
		p                    Probe
		address, destination string
	}{
		{Probe{URL: "http://httpbin.org/get"}, "httpbin.org:80", "httpbin.org"},
		{Probe{URL: "https://httpbin.org:8443/"}, "httpbin.org:8443", "httpbin.org"},
		{Probe{URL: "tcp://db.example"}, "db.example:", "db.example"},
		{Probe{URL: "https://dual.example/", Connect: "[2001:db8::90]:443"}, "[2001:db8::90]:443", "2001:db8::90"},
		{Probe{URL: "https://[2001:db8::90]/"}, "[2001:db8::90]:443", "2001:db8::90"},
		{Probe{URL: "http://a.example/", Connect: "b.example:80", Server: "c.example"}, "b.example:80", "c.example"},
		{Probe{Command: "nc b.example 80"}, "", ""},
	} {
		if a, d := x.p.Address(), x.p.Destination(); a != x.address || d != x.destination {
			t.Errorf("%s: %q %q", x.p, a, d)
		}
	}
}
