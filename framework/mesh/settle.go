package mesh

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"mesh-egress-conformance/framework/limits"
)

// A change passes these states, and each has one word:
//
//	written       the API server has it
//	seen          every replica of istiod holds all of it
//	computed      istiod has worked it into a push (and may send that to nobody)
//	acknowledged  every proxy under test has accepted the push
//
// A change is split when a push may have a part of it alone. istiod is quiet when it has sent no push for a while.

// Settled says how far a change has come.
type Settled struct {
	Acknowledged bool          `json:"acknowledged"`         // istiod has proof from every proxy under test
	Note         string        `json:"note,omitempty"`       // what is not proven
	Rejections   []string      `json:"rejections,omitempty"` // NACKs: a proxy refused a configuration
	Took         time.Duration `json:"took"`
	// Sent are the proxies under test that have been sent a push since the change, and have acknowledged it; it is complete
	// where the change was acknowledged.
	Sent []string `json:"sent,omitempty"`
	// Unconcerned says that istiod has computed the push and sent it to none of the proxies.
	Unconcerned bool `json:"unconcerned,omitempty"`
	// Reached says that every proxy under test has been sent a push since the change, and has acknowledged it: it has the
	// change, and whatever was changed before.
	Reached bool `json:"reached,omitempty"`
	// Beside says that istiod has computed another push between the writing of the change and the change's own push, as
	// far as its counts tell. Istio 1.31 may then lose a deletion (docs/findings.md).
	Beside bool `json:"beside,omitempty"`
}

// pending is a written change that settle waits for.
type pending struct {
	proxies []string // who must have it
	all     bool     // they are all that there are, and one that no istiod knows is not missed
	// seen reports whether istiod holds the new state; nil where it does not show that.
	seen func(context.Context) (bool, error)
	// before is what istiod had computed before the first part of the change was written, and began when that was: a
	// later push has the change, or, from debounce after the beginning on, perhaps a part of it.
	before mark
	began  time.Time
	// computed is called, perhaps often, once the push is known to have been computed; it may be nil.
	computed func()
	// hasty says that proxies which are at work on the push are not waited for, see Mutation.Hasty.
	hasty bool
}

// settle waits until istiod has seen a change and every proxy has acknowledged its push.
func (i *Istiod) settle(ctx context.Context, c pending) (Settled, error) {
	start, written := time.Now(), c.before
	var w *watch
	err := errFurther
	for errors.Is(err, errFurther) { // which may not have seen the change yet
		if c.seen != nil {
			if err := poll(ctx, i.pace(), i.limits.Change.Seen, c.seen); err != nil {
				return Settled{}, fmt.Errorf("wait until istiod has seen the change: %w", err)
			}
		}
		if err := i.baseline(ctx, &c); err != nil {
			return Settled{}, err
		}
		w = newWatch(i, c)
		err = w.wait(ctx)
		c.before.pushes = w.before
	}
	s := Settled{Acknowledged: err == nil, Took: time.Since(start), Rejections: w.rejections()}
	s.Sent = w.sent
	s.Unconcerned = s.Acknowledged && len(c.proxies) > 0 && len(w.sent) == 0
	s.Reached = s.Acknowledged && len(w.sent) == len(c.proxies)
	s.Beside = w.own.anyBeyondNext(written.pushes)
	if err == nil || errors.Is(err, errPatience) {
		if err := i.restarted(ctx, written); err != nil {
			return s, err
		}
	}
	if errors.Is(err, errPatience) {
		if err := w.unknown(); err != nil && !c.all {
			return s, err
		}
		s.Note = "no later push was acknowledged by every proxy under test; equal results in a row decide alone"
		err = nil
	}
	return s, err
}

// unknown says which proxy no istiod knows: it keeps what it had, and nothing can be said of a change, whatever it does.
func (w *watch) unknown() error {
	for _, name := range w.proxies {
		if known, _ := w.proxy(name); !known {
			return fmt.Errorf("the proxy %s is connected to no istiod", name)
		}
	}
	return nil
}

// baseline moves what istiod had computed before a change up to now, where none of that can have all of the change: istiod
// has just seen the whole of it, and begins no push sooner than its debounce after the first part. A push for something
// else that was computed while the change was being written and seen would count as its own otherwise.
func (i *Istiod) baseline(ctx context.Context, c *pending) error {
	if c.began.IsZero() || time.Since(c.began) >= i.limits.Debounce {
		return nil
	}
	now, err := i.computed(ctx)
	if err != nil {
		return fmt.Errorf("ask istiod what it has computed: %w", err)
	}
	if time.Since(c.began) < i.limits.Debounce { // else the answer may have the change's own push
		c.before = now
	}
	return nil
}

// errFurther says that a further replica of istiod was found.
var errFurther = errors.New("a further replica of istiod was found")

// wait waits until every proxy has acknowledged the change.
func (w *watch) wait(ctx context.Context) error {
	i := w.istiod
	select {
	case <-time.After(i.limits.Sent.Soonest - time.Since(w.began)):
	case <-ctx.Done():
		return ctx.Err()
	}
	w.asked = time.Now()
	answers := 0
	return poll(ctx, i.pace(), i.limits.Sent.Answered, func(ctx context.Context) (bool, error) {
		sent, err := i.sent(ctx)
		if err != nil {
			return false, err
		}
		if w.further(sent) {
			return false, errFurther
		}
		if w.split {
			asked := time.Now()
			computed, err := i.metrics(ctx)
			if err != nil {
				return false, err
			}
			w.follow(asked, computed)
		}
		done, err := w.look(ctx, sent)
		done = done && (!w.split || w.still.longAgo(i.limits.Sent.Next))
		if answers++; err == nil && !done && (w.hasty || !w.owed()) && i.limits.Sent.Acknowledged.Over(w.asked, answers) {
			err = errPatience
		}
		return done, err
	})
}

// owed says whether some proxy is at work on what it was sent.
func (w *watch) owed() bool {
	return slices.ContainsFunc(w.proxies, func(name string) bool {
		for _, p := range w.last {
			if p.owing[name] {
				return true
			}
		}
		return false
	})
}

// further says whether there is a replica that was not there before the change. What it sends from now on counts.
func (w *watch) further(sent map[string]push) bool {
	found := false
	for pod, p := range sent {
		if _, known := w.before[pod]; !known {
			w.before[pod], found = p.latest, true
		}
	}
	return found
}

// watch follows the push of a change.
type watch struct {
	pending
	before    counts // what each replica had computed before the change
	istiod    *Istiod
	sawAll    time.Time // when istiod had all of the change
	split     bool      // a push may have a part of it
	asked     time.Time // when the watch began
	followers map[string]*follower

	last  map[string]push
	own   counts   // when the push was first known to have been computed
	sent  []string // the proxies that were sent a push since the change
	still moment   // when the last push was computed or sent
	out   moment   // when the push was first known to have reached a proxy, or to have been computed for none
}

// moment is a time, and how often istiod has answered since.
type moment struct {
	at      time.Time
	answers int
}

func now() moment { return moment{at: time.Now()} }

func (m moment) longAgo(p limits.Patience) bool { return p.Over(m.at, m.answers) }

// newWatch begins to follow a change that has been seen just now. istiod begins no push sooner after a change than its
// debounce, so where it has seen everything before that, the next push has everything. Otherwise one may have begun, or
// be under way, that has a part of it, until istiod's metrics say otherwise.
func newWatch(i *Istiod, c pending) *watch {
	w := &watch{pending: c, istiod: i, sawAll: time.Now(), followers: map[string]*follower{}}
	w.split = w.sawAll.Sub(c.began) >= i.limits.Debounce
	w.before = maps.Clone(c.before.pushes)
	if w.before == nil {
		w.before = counts{}
	}
	return w
}

// follower is what is known of the pushes that one replica computes, where the change may be split.
type follower struct {
	last  computed
	idle  time.Time // when the replica was last asked before it had computed the first push since the change
	split bool
}

// follow notes which pushes a replica has computed. Where the first one since the change began after istiod had seen
// all of it, that is not split: it had not been computed when the replica was last asked, and the metrics tell how long
// it took.
func (f *follower) follow(asked, sawAll time.Time, before int64, c computed) (more bool) {
	last := f.last
	f.last = c
	switch {
	case c.pushes == before:
		f.idle = asked
	case last.pushes == before && c.pushes == before+1 && !f.idle.IsZero():
		f.split = !f.idle.Add(last.took - c.took).After(sawAll)
	}
	return c.pushes != last.pushes
}

// follow notes which pushes all replicas have computed. One whose metrics cannot be read leaves the change split.
func (w *watch) follow(asked time.Time, metrics map[string]computed) {
	for pod, c := range metrics {
		f := w.followers[pod]
		if f == nil {
			f = &follower{split: true}
			w.followers[pod] = f
		}
		if f.follow(asked, w.sawAll, w.before[pod], c) {
			w.still = now()
		}
	}
	if len(metrics) == 0 {
		return
	}
	w.split = false
	for pod := range w.before {
		if f := w.followers[pod]; f == nil || f.split {
			w.split = true
		}
	}
}

// look says whether every proxy has acknowledged the push, or has nothing to acknowledge: one push goes to
// all proxies that it concerns at once.
func (w *watch) look(ctx context.Context, sent map[string]push) (bool, error) {
	w.still.answers++
	if !maps.Equal(latest(sent), latest(w.last)) {
		w.still = now()
	}
	w.last = sent
	newest := counts{}
	for pod, p := range sent {
		newest[pod] = p.newest()
	}
	w.report(newest)
	var told []string
	for _, name := range w.proxies {
		known, acknowledged := w.proxy(name)
		if !known { // perhaps a further replica knows it
			return false, w.istiod.lookAgain(ctx)
		}
		if !acknowledged.settled {
			return false, nil
		}
		if acknowledged.later {
			told = append(told, name)
		}
	}
	w.sent = told
	if len(told) == len(w.proxies) {
		return true, nil
	}
	w.out.answers++
	if w.out.at.IsZero() && (len(told) > 0 || w.unheard(ctx)) {
		w.out = now()
	}
	return !w.out.at.IsZero() && w.out.longAgo(w.istiod.limits.Sent.Unconcerned), nil
}

// acknowledgement is what is known of one proxy.
type acknowledgement struct {
	settled bool // it has acknowledged everything that was sent to it
	later   bool // a push since the change was sent to it
}

// proxy says what the replicas know of a proxy. One that has just gone over to another replica is known to both.
func (w *watch) proxy(name string) (known bool, a acknowledgement) {
	a.settled = true
	for pod, p := range w.last {
		sent, here := p.sent[name]
		if !here {
			continue
		}
		known = true
		a.settled = a.settled && p.behind[name] == ""
		a.later = a.later || sent > w.before[pod]
	}
	return known, a
}

// unheard says whether the push has been computed, though no proxy has been sent it yet.
func (w *watch) unheard(ctx context.Context) bool {
	if time.Since(w.asked) < w.istiod.limits.Sent.Unheard {
		return false
	}
	metrics, err := w.istiod.metrics(ctx)
	if err != nil || len(metrics) < len(w.last) {
		return false
	}
	have := counts{}
	for pod, c := range metrics {
		have[pod] = c.pushes
	}
	return w.report(have)
}

// report notes what has been computed, and says whether the push has. A split change may cause another one.
func (w *watch) report(have counts) bool {
	if !have.allAfter(w.before) {
		return false
	}
	if w.own == nil || w.split {
		w.own = have
	}
	if !w.split && w.computed != nil {
		w.computed()
	}
	return true
}

// rejections are what proxies have refused, as far as is known.
func (w *watch) rejections() []string {
	var out []string
	for _, pod := range slices.Sorted(maps.Keys(w.last)) {
		out = append(out, w.last[pod].nacks...)
	}
	return out
}
