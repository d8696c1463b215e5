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

// patience is how long to wait for something before concluding that it does not come. It is over when the time has
// passed and istiod has answered often enough besides: on a busy machine the answers are late for the same reason as
// what is waited for.
type patience struct {
	time    time.Duration
	answers int
}

// within is the patience for what comes within a time when istiod answers at half its usual pace at least.
func within(d time.Duration) patience { return patience{egress.Patience(d), int(d / (2 * lookEvery))} }

// over says whether the patience has run out since a moment, after which istiod has answered so often.
func (p patience) over(since time.Time, answers int) bool {
	return time.Since(since) > p.time && answers > p.answers
}

var (
	// settlePatience bounds the wait for a push. A change that concerns no proxy causes none, which istiod's
	// metrics tell; where they do not, equal results in a row decide alone.
	settlePatience = within(1500 * time.Millisecond)
	// unconcerned is how long after the first acknowledgement, or after a push was seen to be computed, a proxy
	// may still be sent the same push: 3 in 100 take more than 100 ms.
	unconcerned = within(300 * time.Millisecond)
	// echo is how long after a push the next one begins at the latest, if changes are waiting.
	echo = within(200 * time.Millisecond)
	// quiet is how long after a push no other one is expected, if no change is made.
	quiet = within(180 * time.Millisecond)
)

// unheard is how long after a change was seen its push is expected before istiod's metrics are asked
// whether it concerned nobody. They cost istiod more than its other answers.
const unheard = 150 * time.Millisecond

// debounce is how long istiod waits for more changes before it begins to compute a push (PILOT_DEBOUNCE_AFTER). It
// never waits shorter.
const debounce = 100 * time.Millisecond

// soonest is how long after istiod has heard of a change it makes no sense to look for the push.
const soonest = debounce * 3 / 4

var computedRE = regexp.MustCompile(`(?m)^pilot_pushcontext_init_seconds_(count|sum) (\S+)$`)

// computed is what istiod's metrics say of the pushes that it has computed.
type computed struct {
	pushes int64
	took   time.Duration // all of them
}

// parseComputed reads it out of the metrics.
func parseComputed(metrics []byte) (computed, error) {
	var c computed
	found := computedRE.FindAllSubmatch(metrics, -1)
	if len(found) != 2 {
		return c, errors.New("istiod's metrics do not have pilot_pushcontext_init_seconds")
	}
	for _, m := range found {
		v, err := strconv.ParseFloat(string(m[2]), 64)
		if err != nil {
			return c, fmt.Errorf("read istiod's metric %s: %w", m[0], err)
		}
		if string(m[1]) == "count" {
			c.pushes = int64(v)
		} else {
			c.took = time.Duration(v * float64(time.Second))
		}
	}
	return c, nil
}

// Computed is the number of pushes that istiod has computed, which is also the counter of the last one of them in the
// nonces (DiscoveryServer.Push numbers and counts them). Where istiod's metrics cannot be read it is the counter of
// the last push that was sent to any proxy; one that is computed and not sent yet is not in it then.
func (i *Istiod) Computed(ctx context.Context) (int64, error) {
	if i.computed != nil {
		c, err := i.computed.ask(ctx)
		return c.pushes, err
	}
	p, err := i.pushes.ask(ctx)
	return p.latest, err
}

// Computes waits until a push has been computed since that counter, or until it is clear that none comes.
func (i *Istiod) Computes(ctx context.Context, before int64) error {
	err := poll(ctx, lookEvery, within(4*debounce), func(ctx context.Context) (bool, error) {
		n, err := i.Computed(ctx)
		return n > before, err
	})
	if errors.Is(err, errPatience) {
		return nil
	}
	return err
}

// Change is what Settle waits for.
type Change struct {
	Proxies []string // who must have it
	// Seen reports whether istiod holds the new state; nil where it does not show that.
	Seen func(context.Context) (bool, error)
	// Before is Computed from before the first part of the change was written, and Began when that was: a later push
	// has the change, or, from debounce after the beginning on, perhaps a part of it.
	Before int64
	Began  time.Time
	// Pushed is called, perhaps often, once the push is known to have been computed; it may be nil.
	Pushed func()
}

// Settle waits until istiod has seen a change and every proxy has acknowledged its push.
func (i *Istiod) Settle(ctx context.Context, c Change) (Settled, error) {
	start := time.Now()
	w := watch{Change: c, last: push{latest: -1}}
	if c.Seen != nil {
		if err := poll(ctx, lookEvery/10, seenPatience, c.Seen); err != nil {
			return Settled{}, fmt.Errorf("wait until istiod has seen the change: %w", err)
		}
	}
	// istiod begins no push sooner after a change than debounce, so where it has seen everything before that, the next
	// push has everything. Otherwise one may have begun, or be under way, that has a part of it, until istiod's metrics
	// say otherwise.
	w.seen = time.Now()
	w.torn = w.seen.Sub(c.Began) >= debounce
	select {
	case <-time.After(soonest - time.Since(c.Began)):
	case <-ctx.Done():
		return Settled{}, ctx.Err()
	}
	w.asked = time.Now()
	err := poll(ctx, lookEvery/10, settlePatience, func(ctx context.Context) (bool, error) {
		p, err := i.pushes.ask(ctx)
		if err != nil {
			return false, err
		}
		if w.torn && i.computed != nil {
			asked := time.Now()
			c, err := i.computed.ask(ctx)
			if err != nil {
				return false, err
			}
			w.follow(asked, c)
		}
		return w.look(ctx, i, p) && (!w.torn || echo.over(w.still, w.stillFor)), nil
	})
	s := Settled{Acknowledged: err == nil, Took: time.Since(start), Rejections: w.last.nacks}
	if errors.Is(err, errPatience) {
		s.Note = "no later push was acknowledged by every proxy under test; equal results in a row decide alone"
		err = nil
	}
	return s, err
}

// seenPatience bounds the wait until istiod has seen a change, which it surely will.
var seenPatience = within(30 * time.Second)

// watch follows the push of a change.
type watch struct {
	Change
	seen  time.Time // when istiod had all of the change
	torn  bool      // a push may have a part of it
	asked time.Time // when the watch began

	last     push
	computed computed  // where the change may be torn
	idle     time.Time // when istiod was last asked before it had computed the first push since Before
	still    time.Time // when the last push was computed or sent
	stillFor int       // how many answers ago that was
	out      time.Time // when the push was first known to have reached a proxy, or to have been computed for none
	outFor   int       // how many answers ago that was
}

// follow notes which pushes have been computed. Where the first one since Before began after istiod had seen the whole
// change, that is not torn: it had not been computed when istiod was last asked, and the metrics tell how long it took.
func (w *watch) follow(asked time.Time, c computed) {
	last := w.computed
	w.computed = c
	switch {
	case c.pushes == w.Before:
		w.idle = asked
	case last.pushes == w.Before && c.pushes == w.Before+1 && !w.idle.IsZero():
		w.torn = !w.idle.Add(last.took - c.took).After(w.seen)
	}
	if c.pushes != last.pushes {
		w.still, w.stillFor = time.Now(), 0
	}
}

// look says whether every proxy has acknowledged the push, or has nothing to acknowledge: one push goes to
// all proxies that it concerns at once.
func (w *watch) look(ctx context.Context, i *Istiod, p push) bool {
	w.stillFor++
	if p.latest != w.last.latest {
		w.still, w.stillFor = time.Now(), 0
	}
	w.last = p
	w.pushed(p.newest() > w.Before)
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
	w.outFor++
	if w.out.IsZero() && (done > 0 || w.unheard(ctx, i)) {
		w.out, w.outFor = time.Now(), 0
	}
	return !w.out.IsZero() && unconcerned.over(w.out, w.outFor)
}

// unheard says whether the push has been computed, though no proxy has been sent it yet.
func (w *watch) unheard(ctx context.Context, i *Istiod) bool {
	if i.computed == nil || time.Since(w.asked) < unheard {
		return false
	}
	c, err := i.computed.ask(ctx)
	w.pushed(err == nil && c.pushes > w.Before)
	return err == nil && c.pushes > w.Before
}

// pushed tells that the push has been computed. A torn change may cause another one.
func (w *watch) pushed(yes bool) {
	if yes && !w.torn && w.Pushed != nil {
		w.Pushed()
	}
}
