package mesh

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
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
	configz := []byte(`[{"kind":"ServiceEntry","metadata":{"name":"a","namespace":"n","uid":"u","generation":2}}]`)
	v := Version{Kind: "ServiceEntry", Namespace: "n", Name: "a", UID: "u", Generation: 2}
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

// istiodStub answers like istiod's debug endpoints.
func istiodStub(t *testing.T, syncz func() string) *Istiod {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/debug/syncz" {
			_, _ = w.Write([]byte(syncz()))
			return
		}
		http.NotFound(w, r)
	}))
	t.Cleanup(srv.Close)
	return newIstiod(srv.URL, srv.Client(), nil)
}

func status(proxy, typ, sent, acked, lastErr string) string {
	return `{"proxy":"` + proxy + `","resources":{"type.googleapis.com/envoy.config.` + typ + `":{"sent":"` + sent + `","acked":"` + acked + `","last_error":"` + lastErr + `"}}}`
}

func heard(context.Context) (bool, error) { return true, nil }

func TestSettle(t *testing.T) {
	for name, x := range map[string]struct {
		later string // syncz from the third question on
		acked bool
		nacks int
	}{
		"acknowledged":           {status("p.n", "Listener", nonce("6"), nonce("6"), ""), true, 0},
		"not yet acknowledged":   {status("p.n", "Listener", nonce("6"), nonce("5"), ""), false, 0},
		"no later push":          {status("p.n", "Listener", nonce("5"), nonce("5"), ""), false, 0},
		"endpoints alone":        {status("p.n", "ClusterLoadAssignment", nonce("6"), nonce("6"), ""), false, 0},
		"another proxy's push":   {status("q.n", "Listener", nonce("6"), nonce("6"), ""), false, 0},
		"rejected by the proxy":  {status("p.n", "Listener", nonce("6"), nonce("5"), "bad listener"), false, 1},
		"rejected and sent anew": {status("p.n", "Listener", nonce("7"), nonce("7"), "bad listener"), true, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var n atomic.Int64
			i := istiodStub(t, func() string {
				if n.Add(1) < 3 {
					return "[" + status("p.n", "Listener", nonce("5"), nonce("5"), "") + "]"
				}
				return "[" + x.later + "]"
			})
			s, err := i.Settle(t.Context(), Change{Proxies: []string{"p.n"}, Seen: heard, Before: 5, Began: time.Now()})
			if err != nil || s.Acknowledged != x.acked || len(s.Rejections) != x.nacks || (s.Note == "") != x.acked {
				t.Errorf("%+v %v", s, err)
			}
		})
	}
}

// A change that concerns nobody is computed and sent to nobody: istiod's metrics tell.
func TestSettleUnconcerned(t *testing.T) {
	for name, x := range map[string]struct {
		metrics string // from the second question on
		acked   bool
	}{
		"computed":     {"pilot_pushcontext_init_seconds_sum 0.02\npilot_pushcontext_init_seconds_count 8\n", true},
		"not computed": {"pilot_pushcontext_init_seconds_sum 0.01\npilot_pushcontext_init_seconds_count 7\n", false},
		"no metric":    {"pilot_something 8\n", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i := istiodStub(t, func() string { return "[" + status("p.n", "Listener", nonce("5"), nonce("5"), "") + "]" })
			var n atomic.Int64
			metrics := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if n.Add(1) == 1 {
					_, _ = w.Write([]byte("# HELP x\npilot_pushcontext_init_seconds_sum 0.01\npilot_pushcontext_init_seconds_count 7\n"))
					return
				}
				_, _ = w.Write([]byte(x.metrics))
			}))
			t.Cleanup(metrics.Close)
			i.count(metrics.URL)
			s, err := i.Settle(t.Context(), Change{Proxies: []string{"p.n"}, Seen: heard, Before: 7, Began: time.Now()})
			if err != nil || s.Acknowledged != x.acked {
				t.Errorf("%+v %v", s, err)
			}
		})
	}
}

// A push that may have begun before the whole change was there does not count alone: the one that follows
// is waited for.
func TestSettleTorn(t *testing.T) {
	for took, want := range map[time.Duration]bool{0: false, debounce: true} {
		var n, whole atomic.Int64
		i := istiodStub(t, func() string {
			counter := "6"
			switch k := n.Add(1); {
			case k < 3:
				counter = "5"
			case k > 6:
				counter = "7"
				whole.Add(1)
			}
			return "[" + status("p.n", "Listener", nonce(counter), nonce(counter), "") + "]"
		})
		s, err := i.Settle(t.Context(), Change{Proxies: []string{"p.n"}, Seen: heard, Before: 5, Began: time.Now().Add(-took)})
		if err != nil || !s.Acknowledged || whole.Load() > 0 != want {
			t.Errorf("a change that took %s: %+v %v, the later push was seen %d times", took, s, err, whole.Load())
		}
	}
}

// istiod's metrics tell whether the push began when it had seen the whole change.
func TestFollow(t *testing.T) {
	seen := time.Now()
	at := func(ms int) time.Time { return seen.Add(time.Duration(ms) * time.Millisecond) }
	took := func(pushes int64, ms int) computed { return computed{pushes, time.Duration(ms) * time.Millisecond} }
	type answer struct {
		asked time.Time
		c     computed
	}
	for name, x := range map[string]struct {
		answers []answer
		torn    bool
	}{
		"it began after that":           {[]answer{{at(1), took(5, 100)}, {at(31), took(5, 100)}, {at(61), took(6, 104)}}, false},
		"it may have begun before that": {[]answer{{at(1), took(5, 100)}, {at(31), took(6, 104)}}, true},
		"it took long":                  {[]answer{{at(1), took(5, 100)}, {at(31), took(5, 100)}, {at(61), took(6, 140)}}, true},
		"nobody asked before it":        {[]answer{{at(1), took(6, 104)}}, true},
		"there were two":                {[]answer{{at(1), took(5, 100)}, {at(31), took(5, 100)}, {at(61), took(7, 104)}}, true},
		"none came":                     {[]answer{{at(1), took(5, 100)}, {at(31), took(5, 100)}}, true},
	} {
		w := watch{Change: Change{Before: 5}, seen: seen, torn: true}
		for _, a := range x.answers {
			w.follow(a.asked, a.c)
		}
		if w.torn != x.torn {
			t.Errorf("%s: torn %t", name, w.torn)
		}
	}
	if _, err := parseComputed([]byte("pilot_pushcontext_init_seconds_count 7\n")); err == nil {
		t.Error("metrics without the sum are accepted")
	}
}

// Where istiod is slow to answer, so are its pushes: patience is counted in its answers, too.
func TestPatience(t *testing.T) {
	p := within(10 * lookEvery)
	for name, x := range map[string]struct {
		since   time.Duration
		answers int
		want    bool
	}{
		"soon": {5 * lookEvery, 9, false}, "late": {11 * lookEvery, 9, true}, "late, and istiod is slow": {11 * lookEvery, 3, false},
	} {
		if got := p.over(time.Now().Add(-x.since), x.answers); got != x.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

func TestSettleFails(t *testing.T) {
	i := istiodStub(t, func() string { return "not JSON" })
	if _, err := i.Settle(t.Context(), Change{Seen: heard, Began: time.Now()}); err == nil {
		t.Error("an unreadable syncz goes unnoticed")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if _, err := i.Settle(ctx, Change{Seen: func(context.Context) (bool, error) { return false, nil }}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestAccessLogWait(t *testing.T) {
	l := &AccessLog{more: make(chan struct{})}
	match := func(a egress.AccessLog) bool { return a.Path == "/x" }
	if _, err := l.Wait(t.Context(), 10*time.Millisecond, 0, match); !errors.Is(err, ErrNoLine) {
		t.Errorf("got %v", err)
	}
	go l.add(egress.AccessLog{Path: "/x"})
	if got, err := l.Wait(t.Context(), 5*time.Second, 0, match); err != nil || len(got) != 1 {
		t.Errorf("%v %v", got, err)
	}
	m := &AccessLog{more: make(chan struct{})}
	go m.read(nopCloser{strings.NewReader("noise\n" + `{"start_time":"t","downstream_remote_address":"a:1","path":"/x"}` + "\n")})
	if got, err := m.Wait(t.Context(), 5*time.Second, 0, match); err != nil || len(got) != 1 {
		t.Errorf("%v %v", got, err)
	}
	if _, err := m.Wait(t.Context(), 5*time.Second, 0, func(egress.AccessLog) bool { return false }); err == nil || errors.Is(err, ErrNoLine) {
		t.Errorf("the end of the stream reads as %v", err)
	}
}

type nopCloser struct{ *strings.Reader }

func (nopCloser) Close() error { return nil }
