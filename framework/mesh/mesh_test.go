package mesh

import (
	"errors"
	"strings"
	"testing"
	"time"

	"mesh-egress-conformance/framework/egress"
)

const uuid = "0123456789abcdef0123456789abcdef0123"

func nonce(n string) string { return "2026-11-23T22:53:05Z/" + n + uuid }

func TestNonceCounter(t *testing.T) {
	for in, want := range map[string]int64{nonce("7"): 7, nonce("1234"): 1234, "": -1, uuid: -1, nonce("x"): -1, "no-slash" + uuid: -1, nonce("-3"): -1} {
		got, ok := nonceCounter(in)
		if ok != (want >= 0) || (ok && got != want) {
			t.Errorf("%q: %d %t", in, got, ok)
		}
	}
}

func FuzzNonceCounter(f *testing.F) {
	f.Add(nonce("7"))
	f.Fuzz(func(t *testing.T, s string) {
		if n, ok := nonceCounter(s); ok && n < 0 {
			t.Errorf("%q gives %d", s, n)
		}
	})
}

func FuzzParseAccessLog(f *testing.F) {
	f.Add(`{"start_time":"t","downstream_remote_address":"10.0.0.1:1","response_flags":"UH","response_code":0}`)
	f.Add("2026-11-23T22:53:05Z info x")
	f.Add(textHTTP)
	f.Fuzz(func(t *testing.T, s string) {
		a, err := ParseAccessLog(s)
		if err == nil && (a.DownstreamRemote == "" || a.ResponseFlags == "-") {
			t.Errorf("%q reads as %+v", s, a)
		}
	})
}

func TestParseAccessLog(t *testing.T) {
	a, err := ParseAccessLog(`{"start_time":"t","downstream_remote_address":"10.0.0.1:1","response_flags":"-","response_code":502,"route_name":"block_all","upstream_cluster":null}`)
	if err != nil || a.ResponseFlags != "" || a.ResponseCode != 502 || a.UpstreamCluster != "" || a.RouteName != "block_all" {
		t.Errorf("%+v %v", a, err)
	}
	for _, bad := range []string{"", "plain text", "{", `{"level":"info"}`, `{"start_time":5}`} {
		if _, err := ParseAccessLog(bad); err == nil {
			t.Errorf("%q was taken for an access log line", bad)
		}
	}
}

// Lines as an istio-proxy with accessLogFile alone writes them.
const (
	textHTTP = `[2026-11-24T05:30:00.123Z] "GET /headers HTTP/1.1" 502 - direct_response - "-" 0 0 0 - "-" "curl/8.5.0" "b2c1" "httpbin.org" "-" - - 198.51.100.10:80 10.244.0.7:40000 - block_all`
	textTCP  = `[2026-11-24T05:30:00.123Z] "- - -" 0 UH - - "-" 0 0 0 - "-" "-" "-" "-" "-" BlackHoleCluster - 198.51.100.10:443 10.244.0.7:40001 httpbin.org -`
)

func TestParseTextAccessLog(t *testing.T) {
	a, err := ParseAccessLog(textHTTP)
	if err != nil || a.ResponseCode != 502 || a.RouteName != "block_all" || a.DownstreamRemote != "10.244.0.7:40000" || a.Authority != "httpbin.org" || a.ResponseFlags != "" || a.ResponseDetails != "direct_response" {
		t.Errorf("%+v %v", a, err)
	}
	a, err = ParseAccessLog(textTCP)
	if err != nil || a.UpstreamCluster != "BlackHoleCluster" || a.ResponseFlags != "UH" || a.SNI != "httpbin.org" || a.Method != "" {
		t.Errorf("%+v %v", a, err)
	}
}

func TestHolds(t *testing.T) {
	configz := []byte(`[{"apiVersion":"networking.istio.io/v1","kind":"ServiceEntry","metadata":{"name":"a","namespace":"n","uid":"u","generation":2}},
		{"apiVersion":"networking.istio.io/v1","kind":"Gateway","metadata":{"name":"g","namespace":"n","uid":"of Istio","generation":1}},
		{"apiVersion":"gateway.networking.k8s.io/v1","kind":"Gateway","metadata":{"name":"g","namespace":"n","uid":"of the Gateway API","generation":1}}]`)
	v := Version{Group: "networking.istio.io", Kind: "ServiceEntry", Namespace: "n", Name: "a", UID: "u", Generation: 2}
	for name, x := range map[string]struct {
		change func(*Version)
		want   bool
	}{
		"the same":         {func(*Version) {}, true},
		"an older one":     {func(v *Version) { v.Generation = 1 }, true},
		"not yet seen":     {func(v *Version) { v.Generation = 3 }, false},
		"made again":       {func(v *Version) { v.UID = "other" }, false},
		"should be gone":   {func(v *Version) { v.UID = "" }, false},
		"gone":             {func(v *Version) { v.Name, v.UID = "b", "" }, true},
		"missing":          {func(v *Version) { v.Name = "b" }, false},
		"no addresses yet": {func(v *Version) { v.Addressed = true }, false},
		"another kind":     {func(v *Version) { v.Kind = "Sidecar" }, false},
		"of two groups": {func(v *Version) {
			*v = Version{Group: "networking.istio.io", Kind: "Gateway", Namespace: "n", Name: "g", UID: "of Istio", Generation: 1}
		}, true},
		"another namspace": {func(v *Version) { v.Namespace = "m" }, false},
	} {
		w := v
		x.change(&w)
		c, err := parseConfig(configz)
		if got := c.holds([]Version{w}); err != nil || got != x.want {
			t.Errorf("%s: %t %v", name, got, err)
		}
	}
	if _, err := parseConfig([]byte("<html>")); err == nil {
		t.Error("a page that is no JSON is accepted")
	}
}

func TestAccessLogWait(t *testing.T) {
	l := newAccessLog(func() {})
	match := ofPath("/x")
	if _, err := l.Wait(t.Context(), 10*time.Millisecond, 0, match); !errors.Is(err, ErrNoLine) {
		t.Errorf("got %v", err)
	}
	go l.add(egress.AccessLog{Path: "/x"})
	if got, err := l.Wait(t.Context(), 5*time.Second, 0, match); err != nil || len(got) != 1 {
		t.Errorf("%v %v", got, err)
	}
	m := newAccessLog(func() {})
	go m.read(nopCloser{strings.NewReader("noise\n" + `{"start_time":"t","downstream_remote_address":"a:1","path":"/x"}` + "\n")})
	if got, err := m.Wait(t.Context(), 5*time.Second, 0, match); err != nil || len(got) != 1 {
		t.Errorf("%v %v", got, err)
	}
	if _, err := m.Wait(t.Context(), 5*time.Second, 0, ofPath("/y")); err == nil || errors.Is(err, ErrNoLine) {
		t.Errorf("the end of the stream reads as %v", err)
	}
}

type nopCloser struct{ *strings.Reader }

func (nopCloser) Close() error { return nil }
