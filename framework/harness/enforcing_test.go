package harness

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/enforcer"
	"mesh-egress-conformance/framework/fixture"
)

// noted is an enforcement that notes what it was asked, and fails where it is told to.
type noted struct {
	asked []string
	fail  map[string]error
}

func (n *noted) do(what string) error {
	n.asked = append(n.asked, what)
	return n.fail[what]
}

func (n *noted) Start(context.Context) error                       { return n.do("start") }
func (n *noted) Stop(context.Context) error                        { return n.do("stop") }
func (n *noted) Enforced(context.Context, []*fixture.Object) error { return n.do("enforced") }
func (n *noted) Lifted(context.Context, []*fixture.Object) error   { return n.do("lifted") }

// NetworkPolicies are enforced for the cases that need it and for no other, and nothing runs while the rules may still be there.
func TestEnforcing(t *testing.T) {
	needs, other := egress.Case{Name: "needs", Needs: []egress.Feature{egress.NetworkPolicy}}, egress.Case{Name: "other"}
	by := &noted{fail: map[string]error{}}
	e := &enforcing{by: by, limit: time.Minute}
	run := func(c egress.Case) (egress.Result, error) {
		by.asked = nil
		if err := e.begin(t.Context(), c); err != nil {
			return egress.Result{}, err
		}
		if err := errors.Join(e.enforced(t.Context(), c, nil), e.lifted(t.Context(), c, nil)); err != nil {
			t.Error(err)
		}
		return e.end(t.Context(), c)(egress.Result{Verdict: egress.Conforms}), nil
	}
	want := func(what string, asked ...string) {
		t.Helper()
		if !slices.Equal(by.asked, asked) {
			t.Errorf("%s: it was asked to %v, not to %v", what, by.asked, asked)
		}
	}
	if r, err := run(other); err != nil || r.Verdict != egress.Conforms {
		t.Errorf("another case: %+v, %v", r, err)
	}
	want("another case")
	if r, err := run(needs); err != nil || r.Verdict != egress.Conforms {
		t.Errorf("a case that needs it: %+v, %v", r, err)
	}
	want("a case that needs it", "start", "enforced", "lifted", "stop")

	by.fail["stop"] = errors.New("rules are left")
	if r, err := run(needs); err != nil || r.Verdict != egress.Inconclusive || !strings.Contains(r.Why, "rules are left") {
		t.Errorf("its rules stay: %+v, %v", r, err)
	}
	for _, c := range []egress.Case{other, needs} {
		if _, err := run(c); err == nil || !strings.Contains(err.Error(), "rules are left") {
			t.Errorf("%s is begun beside rules of another: %v", c.Name, err)
		}
		want("beside rules of another", "start", "stop")
	}
	by.fail = nil
	if r, err := run(other); err != nil || r.Verdict != egress.Conforms {
		t.Errorf("the rules have gone: %+v, %v", r, err)
	}
	want("the rules have gone", "start", "stop")
	by.fail = map[string]error{"start": errors.New("no image")}
	if _, err := run(needs); err == nil || !strings.Contains(err.Error(), "no image") {
		t.Errorf("it does not start: %v", err)
	}
	if _, err := run(other); err != nil {
		t.Errorf("it left nothing: %v", err)
	}
	by.fail = map[string]error{"start": fmt.Errorf("no answer: %w", enforcer.ErrLeft)}
	if _, err := run(needs); err == nil {
		t.Error("it does not start")
	}
	if _, err := run(other); err == nil || !strings.Contains(err.Error(), "may still be there") {
		t.Errorf("beside what a failed start has left: %v", err)
	}
}
