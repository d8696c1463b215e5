package engine

import (
	"testing"
	"time"

	"mesh-egress-conformance/framework/egress"
)

// A probe from the control client that gets no connection is looked for in no sidecar's log.
func TestControlAsClient(t *testing.T) {
	c := theCase()
	c.Probes[0].Dead = true
	c.Probes = append(c.Probes, egress.Probe{From: egress.ControlClient, URL: "http://httpbin.org/", Dead: true, Wants: egress.Wants{egress.REF, egress.REF, egress.REF, egress.REF}})
	bubble(t, func(t *testing.T) {
		r := engineOf(&world{lost: true}).Run(t.Context(), c)
		for _, ph := range r.Phases {
			if p := ph.Probes[1]; p.Verdict != egress.Conforms {
				t.Errorf("phase %s: %s %s (%s)", ph.Phase, p.Got, p.Verdict, p.Why)
			}
		}
		if len(r.Phases) == 0 {
			t.Error(r.Why)
		}
	})
}

// A question to DNS may be lost on its way, and an attempt may have its connection when its time is nearly over, since a name came
// late; of the client as of the control client: neither proves anything by it.
func TestLateOrLost(t *testing.T) {
	for what, to := range map[string]func(*world) *map[string]int{
		"questions are lost":   func(w *world) *map[string]int { return &w.unanswered },
		"connections are late": func(w *world) *map[string]int { return &w.late },
	} {
		for _, client := range []string{"client", egress.ControlClient} {
			for _, n := range []int{1, 2, 4} {
				bubble(t, func(t *testing.T) {
					w := &world{}
					*to(w) = map[string]int{client: n}
					e := engineOf(w)
					e.Patience = time.Second
					if r := e.Run(t.Context(), theCase()); r.Verdict != egress.Conforms {
						t.Errorf("%d %s, of the client %s: %s (%s)", n, what, client, r.Verdict, r.Why)
					}
				})
			}
		}
	}
}

// What had kept the control client from its target for a while may have kept the other client as well, and a moment longer.
func TestOutage(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := engineOf(&world{late: map[string]int{egress.ControlClient: 9, "client": 25}})
		e.Patience = time.Second
		if r := e.Run(t.Context(), theCase()); r.Verdict != egress.Conforms {
			t.Errorf("%s: %s", r.Verdict, r.Why)
		}
	})
}

// A Service that a case has made may be late in the control client's network on a busy machine, though the proxies have it.
func TestLateService(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := &world{refusals: 28}
		e := engineOf(w)
		e.Patience = 3 * time.Second
		if r := e.Run(t.Context(), theCase()); r.Verdict != egress.Conforms {
			t.Errorf("%s: %s", r.Verdict, r.Why)
		}
	})
}
