package engine

import (
	"strings"
	"testing"
	"time"

	"mesh-egress-conformance/framework/egress"
)

func dumpOf(times ...string) string {
	var b strings.Builder
	b.WriteString(`{"configs":[{"dynamic_active_clusters":[`)
	for _, t := range times {
		b.WriteString(`{"cluster":{"name":"x"},"last_updated": "` + t + `"},`)
	}
	b.WriteString(`{}]}]}`)
	return b.String()
}

func TestLastUpdate(t *testing.T) {
	for dump, want := range map[string]string{
		dumpOf("2026-01-02T03:04:05.678Z", "2026-01-02T03:04:05.9Z", "2025-01-01T00:00:00Z"): "2026-01-02T03:04:05.9Z",
		dumpOf("yesterday"): "0001-01-01T00:00:00Z",
		"":                  "0001-01-01T00:00:00Z",
	} {
		if got := lastUpdate(dump).Format(time.RFC3339Nano); got != want {
			t.Errorf("%s: %s, wanted %s", dump, got, want)
		}
	}
}

// An object that means nothing to the proxy is named as that, and only where the outcome is not as wanted.
func TestNoEffect(t *testing.T) {
	const line, older, newer = "2026-01-02T03:04:05.500Z", "2026-01-02T03:04:05.499Z", "2026-01-02T03:04:05.501Z"
	for name, x := range map[string]struct {
		w    *world
		want bool
	}{
		"an object without effect":    {&world{deaf: true, clock: line, dump: dumpOf(older)}, true},
		"one with another effect":     {&world{deaf: true, clock: line, dump: dumpOf(older, newer)}, false},
		"a proxy that does not tell":  {&world{deaf: true, clock: line}, false},
		"lines that do not tell when": {&world{deaf: true, dump: dumpOf(older)}, false},
		"one with its effect":         {&world{clock: line, dump: dumpOf(older)}, false},
	} {
		t.Run(name, func(t *testing.T) {
			var r egress.Result
			bubble(t, func(*testing.T) { r = run1(x.w) })
			for _, ph := range r.Phases {
				note := strings.Contains(strings.Join(ph.Notes, "\n"), "the sidecar of client has changed no listener, route or cluster since phase before")
				if note != (x.want && ph.Phase == egress.Applied) {
					t.Errorf("phase %s: %v", ph.Phase, ph.Notes)
				}
			}
		})
	}
}
