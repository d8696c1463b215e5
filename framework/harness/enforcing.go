package harness

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/enforcer"
	"mesh-egress-conformance/framework/fixture"
)

// enforcerPart is the part of the journal with what enforces NetworkPolicies.
const enforcerPart = "enforcer"

// enforcement enforces NetworkPolicies in the whole cluster, see framework/enforcer.
type enforcement interface {
	Start(ctx context.Context) error
	// Enforced returns when the NetworkPolicies among some objects hold, Lifted when they do no more.
	Enforced(ctx context.Context, made []*fixture.Object) error
	Lifted(ctx context.Context, removed []*fixture.Object) error
	Stop(ctx context.Context) error
}

// enforcing lets an enforcement run for the cases that need it, each of which runs alone, and for no other: its rules are on
// every pod's traffic.
type enforcing struct {
	by    enforcement
	limit time.Duration // of its end

	mu   sync.Mutex
	left error // why its rules may still be there
}

func needsPolicy(c egress.Case) bool { return slices.Contains(c.Needs, egress.NetworkPolicy) }

// begin starts it for a case that needs it. No case is begun while its rules may still be there.
func (e *enforcing) begin(ctx context.Context, c egress.Case) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.left != nil {
		// A new one takes the rules of an old one for its own.
		if err := errors.Join(e.by.Start(ctx), e.by.Stop(ctx)); err != nil {
			return fmt.Errorf("the rules by which another case's NetworkPolicies were enforced may still be there: %w", errors.Join(e.left, err))
		}
		e.left = nil
	}
	if !needsPolicy(c) {
		return nil
	}
	err := e.by.Start(ctx)
	if errors.Is(err, enforcer.ErrLeft) {
		e.left = err
	}
	return err
}

// end stops it when a case has no phases left, also when the run was cut short. The returned function says in the case's
// result what went wrong.
func (e *enforcing) end(ctx context.Context, c egress.Case) func(egress.Result) egress.Result {
	if !needsPolicy(c) {
		return func(r egress.Result) egress.Result { return r }
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), e.limit)
	defer cancel()
	err := e.by.Stop(ctx)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.left = err
	return func(r egress.Result) egress.Result {
		if err != nil {
			r.Verdict, r.Why = egress.Inconclusive, strings.TrimSpace(r.Why+"\n"+err.Error())
		}
		return r
	}
}

// enforced waits until the NetworkPolicies that a case has made hold.
func (e *enforcing) enforced(ctx context.Context, c egress.Case, made []*fixture.Object) error {
	if !needsPolicy(c) {
		return nil
	}
	return e.by.Enforced(ctx, made)
}

// lifted waits until those that it has deleted hold no more.
func (e *enforcing) lifted(ctx context.Context, c egress.Case, removed []*fixture.Object) error {
	if !needsPolicy(c) {
		return nil
	}
	return e.by.Lifted(ctx, removed)
}

// idle is an enforcement that does nothing, as where the network plugin takes NetworkPolicies and ignores them.
type idle struct{}

func (idle) Start(context.Context) error                       { return nil }
func (idle) Enforced(context.Context, []*fixture.Object) error { return nil }
func (idle) Lifted(context.Context, []*fixture.Object) error   { return nil }
func (idle) Stop(context.Context) error                        { return nil }
