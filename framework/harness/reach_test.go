package harness

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/internet"
)

func probing(urls ...string) egress.Case {
	var c egress.Case
	for _, u := range urls {
		c.Probes = append(c.Probes, egress.GET("client", u))
	}
	return c
}

func TestTargetsOf(t *testing.T) {
	hosts, err := internet.DefaultHosts()
	if err != nil {
		t.Fatal(err)
	}
	c := probing("http://httpbin.org/get", "https://httpbin.org:443/get", "https://httpbin.org/headers", "dns://httpbin.org", "http://${INGRESS_IP}/", "http://nobody.knows/")
	dead, led := egress.GET("client", "http://www.wikipedia.org/"), egress.GET("client", "tls://evil.example")
	dead.Dead, led.Connect = true, "httpbin.org:8443"
	c.Probes = append(c.Probes, dead, led)
	if got, want := targetsOf(c, hosts), []string{"httpbin.org:80", "httpbin.org:443", "httpbin.org:8443"}; !slices.Equal(got, want) {
		t.Errorf("got %v, wanted %v", got, want)
	}
}

// What cannot be reached is found by several attempts, said in one line, and ends its own cases alone.
func TestReach(t *testing.T) {
	hosts, err := internet.DefaultHosts()
	if err != nil {
		t.Fatal(err)
	}
	a, b := probing("http://httpbin.org/"), probing("http://www.wikipedia.org/")
	for name, x := range map[string]struct {
		fails   map[string]int // how often each target fails
		summary string
		a, b    bool
	}{
		"everything is there": {nil, "", false, false},
		"a moment's trouble":  {map[string]int{"httpbin.org:80": looks - 1, "www.wikipedia.org:80": 1}, "", false, false},
		"one host is dead":    {map[string]int{"httpbin.org:80": looks}, "does not reach httpbin.org:80", true, false},
		"all are dead":        {map[string]int{"httpbin.org:80": looks, "www.wikipedia.org:80": looks}, "reaches none of the 2 targets", true, true},
	} {
		synctest.Test(t, func(t *testing.T) {
			var mu sync.Mutex
			fails := maps.Clone(x.fails)
			r := &hermeticReach{hosts: hosts, try: func(_ context.Context, target string) error {
				mu.Lock()
				defer mu.Unlock()
				if fails[target] > 0 {
					fails[target]--
					return errors.New("exit 7")
				}
				return nil
			}}
			r.expect([]egress.Case{a, b})
			r.tryAll(t.Context())
			if got := r.lost(); x.summary == "" && got != "" || !strings.Contains(got, x.summary) {
				t.Errorf("%s: %q", name, got)
			}
			if (r.unreachable(probing("udp://httpbin.org:5000")) != "") != x.b { // of which no connection tells
				t.Errorf("%s, by UDP: %q", name, r.unreachable(probing("udp://httpbin.org:5000")))
			}
			if (r.unreachable(a) != "") != x.a || (r.unreachable(b) != "") != x.b {
				t.Errorf("%s: %q, %q", name, r.unreachable(a), r.unreachable(b))
			}
		})
	}
}
