package remote

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/schedule"
)

// runner runs cases as a test says.
type runner func(ctx context.Context, c egress.Case, hear schedule.Listener) egress.Result

func (r runner) Case(ctx context.Context, c egress.Case, hear schedule.Listener) egress.Result {
	return r(ctx, c, hear)
}

var cases = []egress.Case{{Name: "http-a", Claim: "a claim"}, {Name: "http-b"}}

func serve(t *testing.T, r runner) (*Server, *Client) {
	t.Helper()
	s, err := Serve(cases, r)
	if err != nil {
		t.Fatal(err)
	}
	return s, Dial(s.Address())
}

func TestCase(t *testing.T) {
	s, c := serve(t, func(_ context.Context, c egress.Case, hear schedule.Listener) egress.Result {
		hear(schedule.Event{Case: c.Name, Stage: schedule.StageBefore})
		hear(schedule.Event{Case: c.Name, Stage: schedule.StageApplied})
		return egress.Result{Case: c, Verdict: egress.Violates, Why: "why", Phases: []egress.PhaseResult{{Phase: egress.Applied, Probes: []egress.ProbeResult{{Got: egress.Pass, Want: egress.Blocked}}}}}
	})
	var heard []string
	r, err := c.Case(t.Context(), "http-a", func(e schedule.Event) { heard = append(heard, e.Case+" "+string(e.Stage)) })
	if err != nil || r.Verdict != egress.Violates || r.Case.Claim != "a claim" || r.Phases[0].Probes[0].Got != egress.Pass {
		t.Errorf("%+v %v", r, err)
	}
	if got := strings.Join(heard, ", "); got != "http-a before, http-a applied" {
		t.Errorf("heard %s", got)
	}
	if _, err := c.Case(t.Context(), "http/c", nil); err == nil || !strings.Contains(err.Error(), `no case is named "http/c"`) {
		t.Error(err)
	}
	st, err := os.Stat(filepath.Dir(s.Address()))
	if err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("the socket's folder: %v %v", st, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Dir(s.Address())); err == nil {
		t.Error("the socket's folder is left")
	}
	if _, err := c.Case(t.Context(), "http-a", nil); err == nil || !strings.Contains(err.Error(), s.Address()) {
		t.Errorf("nobody serves, and the error is %v", err)
	}
}

// Events come while the case runs, and cases of several processes run side by side.
func TestSideBySide(t *testing.T) {
	both := sync.WaitGroup{}
	both.Add(2)
	s, c := serve(t, func(_ context.Context, c egress.Case, hear schedule.Listener) egress.Result {
		hear(schedule.Event{Case: c.Name, Stage: schedule.StageApplied})
		both.Wait() // for ever, if the events did not arrive, or one case waited for the other
		return egress.Result{Case: c, Verdict: egress.Conforms}
	})
	var wg sync.WaitGroup
	for _, k := range cases {
		wg.Go(func() {
			if r, err := c.Case(t.Context(), k.Name, func(schedule.Event) { both.Done() }); err != nil || r.Case.Name != k.Name {
				t.Errorf("%+v %v", r, err)
			}
		})
	}
	wg.Wait()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// A process that gives up ends its case; Close waits until that has restored what was before.
func TestGivingUp(t *testing.T) {
	begun, restored := make(chan struct{}), false
	s, c := serve(t, func(ctx context.Context, c egress.Case, _ schedule.Listener) egress.Result {
		close(begun)
		<-ctx.Done()
		restored = true
		return egress.Result{Case: c, Verdict: egress.Inconclusive, Unfinished: true}
	})
	timeout := errors.New("the spec timed out")
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() { <-begun; cancel(timeout) }()
	if _, err := c.Case(ctx, "http-a", nil); !errors.Is(err, timeout) && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if !restored {
		t.Error("Close did not wait for the case")
	}
}

// Close ends cases that are under way, and whoever waits for one hears of it.
func TestClose(t *testing.T) {
	begun := make(chan struct{})
	s, c := serve(t, func(ctx context.Context, c egress.Case, _ schedule.Listener) egress.Result {
		close(begun)
		<-ctx.Done()
		return egress.Result{Case: c, Verdict: egress.Inconclusive, Unfinished: true}
	})
	closed := make(chan error, 1)
	go func() { <-begun; closed <- s.Close() }()
	if r, err := c.Case(t.Context(), "http-a", nil); err != nil || !r.Unfinished {
		t.Errorf("%+v %v", r, err)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
}

// A run that panics costs its own case alone, and the error says that there is no result.
func TestNoResult(t *testing.T) {
	s, c := serve(t, func(_ context.Context, _ egress.Case, hear schedule.Listener) egress.Result {
		hear(schedule.Event{Stage: schedule.StageStarted})
		panic("a mistake")
	})
	s.http.ErrorLog = nil
	if _, err := c.Case(t.Context(), "http-a", nil); err == nil || !strings.Contains(err.Error(), "has ended, or was cut off") {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
