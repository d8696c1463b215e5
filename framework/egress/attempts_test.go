package egress

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func TestShare(t *testing.T) {
	for text, want := range map[string]Share{
		"100%": {1, 1}, "0%": {0, 0}, "30%": {0.3, 0.3}, ">=40%": {0.4, 1}, "<= 12.5%": {0, 0.125}, "30%..70%": {0.3, 0.7},
	} {
		var s Share
		if err := s.UnmarshalText([]byte(text)); err != nil || s != want {
			t.Errorf("%q: %v %v", text, s, err)
		}
		if again := s; again.UnmarshalText([]byte(s.String())) != nil || again != want {
			t.Errorf("%q is written as %s", text, s)
		}
	}
	for _, text := range []string{"", "half", "30", "-1%", "101%", "70%..30%", "NaN%", ">40%", "30%.."} {
		if err := new(Share).UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}

// A share is contradicted by what would come about in less than one of a million runs, and not by less.
func TestContradicts(t *testing.T) {
	share := func(low, high float64) Share { return Share{low, high} }
	for name, x := range map[string]struct {
		s      Share
		n, all int
		want   bool
	}{
		"all":                         {share(1, 1), 20, 20, false},
		"one misses":                  {share(1, 1), 19, 20, true},
		"none":                        {share(0, 0), 0, 20, false},
		"one too many":                {share(0, 0), 1, 20, true},
		"nobody was asked":            {share(1, 1), 0, 0, false},
		"half, of few":                {share(0.5, 0.5), 2, 20, false},
		"half, none of twenty":        {share(0.5, 0.5), 0, 20, true}, // 9.5e-7
		"half, none of nineteen":      {share(0.5, 0.5), 0, 19, false},
		"70%, seen as 50% of 200":     {share(0.7, 0.7), 100, 200, true},
		"70%, seen as 60% of 200":     {share(0.7, 0.7), 120, 200, false},
		"at least 40%, 39% seen":      {share(0.4, 1), 78, 200, false},
		"at least 40%, 20% seen":      {share(0.4, 1), 40, 200, true},
		"at least 40%, all seen":      {share(0.4, 1), 200, 200, false},
		"at most 10%, a third seen":   {share(0, 0.1), 66, 200, true},
		"30% to 70%, 75% seen of 200": {share(0.3, 0.7), 150, 200, false},
		"30% to 70%, 90% seen of 200": {share(0.3, 0.7), 180, 200, true},
	} {
		if got := x.s.Contradicts(x.n, x.all); got != x.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

func TestAtMost(t *testing.T) {
	for _, x := range []struct {
		n, all int
		p      float64
		want   float64
	}{{0, 2, 0.5, 0.25}, {1, 2, 0.5, 0.75}, {2, 2, 0.5, 1}, {0, 3, 0.9, 0.001}, {3, 3, 1, 1}, {2, 3, 1, 0}} {
		if got := atMost(x.n, x.all, x.p); got < x.want-1e-9 || got > x.want+1e-9 {
			t.Errorf("%d of %d at %g: %g, want %g", x.n, x.all, x.p, got, x.want)
		}
	}
}

func TestMisses(t *testing.T) {
	for name, x := range map[string]struct {
		weights []int
		want    int
	}{
		"none": {nil, 0}, "one": {[]int{1}, 0}, "two": {[]int{1, 1}, 21}, "two, of any weight": {[]int{7, 7}, 21}, "three": {[]int{1, 1, 1}, 37},
		"nine to one": {[]int{9, 1}, 132},
	} {
		if got := Misses(x.weights); got != x.want {
			t.Errorf("%s: %d, want %d", name, got, x.want)
		}
	}
}

func TestCount(t *testing.T) {
	for text, want := range map[string]Count{"3": {3, 3}, `"2..5"`: {2, 5}, "0": {0, 0}} {
		var c Count
		if err := json.Unmarshal([]byte(text), &c); err != nil || c != want {
			t.Errorf("%s: %v %v", text, c, err)
		}
		if b, err := json.Marshal(c); err != nil || string(b) != text {
			t.Errorf("%s is written as %s (%v)", text, b, err)
		}
	}
	for _, text := range []string{`"5..2"`, "-1", `"a"`, `""`, "1.5"} {
		if err := json.Unmarshal([]byte(text), new(Count)); err == nil {
			t.Errorf("%s is taken", text)
		}
	}
}

func TestCheckAttempts(t *testing.T) {
	applied, removed := Applied, Removed
	second := Duration(time.Second)
	held := Probe{From: "client", URL: "tcp://tcp.example:9000", Hold: &Hold{Pause: second}}
	for want, spoil := range map[string]func(*Probe){
		"":                             func(*Probe) {},
		"only tcp and tls connections": func(p *Probe) { p.URL = "http://tcp.example/" },
		"not between 0 and":            func(p *Probe) { p.Hold = &Hold{Pause: Duration(time.Hour)} },
		"give a pause":                 func(p *Probe) { p.Hold = &Hold{Then: "b"} },
		"no phase comes after removed": func(p *Probe) { p.Hold = &Hold{From: &removed} },
		"neither repeat":               func(p *Probe) { p.Hold, p.Repeat = &Hold{From: &applied}, 3 },
		"repeat: -1":                   func(p *Probe) { p.Repeat = -1 },
		"parallel: 1 is not":           func(p *Probe) { p.Parallel = 1 },
		"parallel goes with neither":   func(p *Probe) { p.Parallel, p.Repeat = 2, 2 },
		"say with parallel":            func(p *Probe) { p.Overflow = map[Phase]Count{Applied: {1, 1}} },
		"3 of 2 attempts":              func(p *Probe) { p.Parallel, p.Overflow = 2, map[Phase]Count{Applied: {3, 3}} },
		"at the least":                 func(p *Probe) { p.Spread = map[Phase]Spread{Applied: {"a": {0.6, 1}, "b": {0.5, 1}}} },
		"must be named":                func(p *Probe) { p.Spread = map[Phase]Spread{Applied: {"a": {0.5, 0.5}}} },
	} {
		p := held
		spoil(&p)
		err := p.checkAttempts()
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("want an error with %q, got %v", want, err)
		}
	}
}

// Only a connection that was opened in an earlier phase may end otherwise than it began.
func TestHeldOverRemovalNeedNotRestore(t *testing.T) {
	applied := Applied
	c := sound()
	c.Probes[0] = Probe{From: "client", URL: "tcp://tcp.example:9000", Hold: &Hold{From: &applied, Then: "b"}, Wants: Wants{BRST, OK, 0, Open}}
	if err := c.Check(); err != nil {
		t.Error(err)
	}
	c.Probes[0].Hold = &Hold{Pause: Duration(time.Second)}
	if err := c.Check(); err == nil || !strings.Contains(err.Error(), "removal must restore") {
		t.Error(err)
	}
}

func TestClassifyHeld(t *testing.T) {
	through := func(cluster, flags string) Observation {
		l := AccessLog{UpstreamCluster: cluster, ResponseFlags: flags, UpstreamLocal: "10.0.0.1:40001", UpstreamHost: "198.51.100.50:9000"}
		return Observation{
			Captured: true, Client: ClientWitness{Raw: true, Local: "10.0.0.1:11000"}, Mesh: []AccessLog{l},
			Arrivals: []Arrival{{Server: "tcp.example", Peer: l.UpstreamLocal, Local: l.UpstreamHost}},
		}
	}
	as := func(o Observation, held string, exit int) Observation {
		o.Client.Held, o.Client.ExitCode = held, exit
		return o
	}
	direct := Observation{Captured: true, Client: ClientWitness{Raw: true, Local: "10.0.0.1:11000"}, Arrivals: []Arrival{{Server: "tcp.example", Peer: "10.0.0.1:11000"}}}
	elsewhere := through("outbound|9000||tcp.example", "")
	elsewhere.Target = "db1.example"
	noArrival := through("outbound|9000||tcp.example", "")
	noArrival.Arrivals = nil
	for name, x := range map[string]struct {
		o    Observation
		want Outcome
	}{
		"open":                     {as(through("outbound|9000||tcp.example", ""), "open", 0), Open},
		"open, closed by us":       {as(through("outbound|9000||tcp.example", "DC"), "open", 0), Open},
		"open, unregistered":       {as(through("PassthroughCluster", ""), "open", 0), Pass},
		"open without the sidecar": {as(direct, "open", 0), Direct},
		"cut":                      {as(through("outbound|9000||tcp.example", ""), "cut", 52), Cut},
		"cut by upstream":          {as(through("outbound|9000||tcp.example", "UC"), "cut", 56), Cut},
		"cut, unregistered":        {as(through("PassthroughCluster", "SI"), "cut", 52), Cut},
		"cut without the sidecar":  {as(direct, "cut", 52), 0},
		"led elsewhere":            {as(elsewhere, "open", 0), Led},
		"no arrival":               {as(noArrival, "cut", 52), 0},
		"blocked, yet answered":    {as(Observation{Captured: true, Client: ClientWitness{Raw: true}, Mesh: []AccessLog{{UpstreamCluster: blackHole}}}, "open", 0), 0},
	} {
		got, err := Classify(x.o)
		if got != x.want || (err == nil) != (x.want != 0) {
			t.Errorf("%s: %s %v, want %s", name, got, err, x.want)
		}
	}
}
