package mesh

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"time"

	"mesh-egress-conformance/framework/egress"
)

// Settled says how a change reached the proxies.
type Settled struct {
	Acknowledged bool          `json:"acknowledged"` // istiod has proof from every proxy under test
	Note         string        `json:"note,omitempty"`
	Rejections   []string      `json:"rejections,omitempty"` // NACKs: a proxy refused a configuration
	Took         time.Duration `json:"took"`
}

// settlePatience bounds the wait for a push. A change that concerns no proxy causes none, which istiod's
// metrics tell; where they do not, equal results in a row decide alone.
const settlePatience = 1500 * time.Millisecond

// unconcerned is how long after the first acknowledgement, or after a push was seen to be computed, a proxy
// may still be sent the same push: 3 in 100 take more than 100 ms.
const unconcerned = 300 * time.Millisecond

// unheard is how long after a change was seen its push is expected before istiod's metrics are asked
// whether it concerned nobody. They cost istiod more than its other answers.
const unheard = 150 * time.Millisecond

// soonest is how long after istiod has heard of a change it makes no sense to look for the push: it waits
// 100 ms for more changes first (PILOT_DEBOUNCE_AFTER).
const soonest = 75 * time.Millisecond

// echo is how long after a push the next one begins at the latest, if changes are waiting.
const echo = 200 * time.Millisecond

var computedRE = regexp.MustCompile(`(?m)^pilot_pushcontext_init_seconds_count (\d+)$`)

// parseComputed reads the number of pushes that istiod has computed out of its metrics.
func parseComputed(metrics []byte) (int64, error) {
	m := computedRE.FindSubmatch(metrics)
	if m == nil {
		return 0, errors.New("istiod's metrics do not have pilot_pushcontext_init_seconds_count")
	}
	return strconv.ParseInt(string(m[1]), 10, 64)
}

// after is a moment in istiod's life, from which on its pushes are counted.
type after struct{ computed int64 }

// now notes how many pushes istiod has computed; nothing where it does not tell.
func (i *Istiod) now(ctx context.Context) *after {
	if i.computed == nil {
		return nil
	}
	n, err := i.computed.ask(ctx)
	if err != nil {
		return nil
	}
	return &after{n}
}

// passed says whether a push has been computed since.
func (a *after) passed(ctx context.Context, i *Istiod) bool {
	if a == nil {
		return false
	}
	n, err := i.computed.ask(ctx)
	return err == nil && n > a.computed
}

// Change is what Settle waits for.
type Change struct {
	Proxies []string // who must have it
	// Seen reports whether istiod holds the new state; nil where it does not show that.
	Seen func(context.Context) (bool, error)
	// Before is the counter of the last push before the change was made: any later one will do. 0 demands one
	// that begins after Seen.
	Before int64
	// Torn means that an earlier push may be under way that has only a part of the change, so Settle waits
	// besides until no further one comes.
	Torn bool
	// Pushed is called, perhaps often, once the push is known to have been computed; it may be nil.
	Pushed func()
}

// Settle waits until istiod has seen a change and every proxy has acknowledged its push.
func (i *Istiod) Settle(ctx context.Context, c Change) (Settled, error) {
	start := time.Now()
	w := watch{Change: c, last: push{latest: -1}}
	if c.Seen != nil {
		if err := poll(ctx, lookEvery/10, egress.Patience(10*time.Second), c.Seen); err != nil {
			return Settled{}, fmt.Errorf("wait until istiod has seen the change: %w", err)
		}
		w.began = i.now(ctx)
		p, err := i.pushes.ask(ctx)
		if err != nil {
			return Settled{}, err
		}
		if w.Before == 0 {
			w.Before = p.latest
		}
		select {
		case <-time.After(soonest):
		case <-ctx.Done():
			return Settled{}, ctx.Err()
		}
	}
	w.asked = time.Now()
	err := poll(ctx, lookEvery/10, egress.Patience(settlePatience), func(ctx context.Context) (bool, error) {
		p, err := i.pushes.ask(ctx)
		if err != nil {
			return false, err
		}
		over := w.look(ctx, i, p)
		return over && (!c.Torn || time.Since(w.still) >= echo), nil
	})
	s := Settled{Acknowledged: err == nil, Took: time.Since(start), Rejections: w.last.nacks}
	if errors.Is(err, errPatience) {
		s.Note = "no later push was acknowledged by every proxy under test; equal results in a row decide alone"
		err = nil
	}
	return s, err
}

// watch follows the push of a change.
type watch struct {
	Change
	began *after
	asked time.Time // when the watch began

	last  push
	still time.Time // when the last push was new
	out   time.Time // when the push was first known to have reached a proxy, or to have been computed for none
}

// look says whether every proxy has acknowledged the push, or has nothing to acknowledge: one push goes to
// all proxies that it concerns at once.
func (w *watch) look(ctx context.Context, i *Istiod, p push) bool {
	if p.latest != w.last.latest {
		w.still = time.Now()
	}
	w.last = p
	if w.Pushed != nil && p.newest() > w.Before {
		w.Pushed()
	}
	done := 0
	for _, name := range w.Proxies {
		sent, known := p.sent[name]
		if !known || p.behind[name] != "" {
			return false
		}
		if sent > w.Before {
			done++
		}
	}
	if done == len(w.Proxies) {
		return true
	}
	if w.out.IsZero() && (done > 0 || time.Since(w.asked) > unheard && w.began.passed(ctx, i)) {
		w.out = time.Now()
	}
	return !w.out.IsZero() && time.Since(w.out) > egress.Patience(unconcerned)
}
