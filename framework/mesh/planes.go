package mesh

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// planes are the istiods of a mesh. All of them watch the same objects; each serves proxies of its own, and it alone
// knows what those have acknowledged.
type planes struct {
	mu      sync.Mutex
	byName  map[string]plane  // by revision
	away    map[string]bool   // revisions whose istiod was sent away
	proxies map[string]string // whose proxy is served by which revision; the default one's are not in it
	// gateways know by which revision those are served that nobody has bound; nil knows of none.
	gateways *Gateways
}

// plane is one istiod of a mesh.
type plane struct {
	revision string
	istiod   *Istiod
}

func newPlanes(first *Istiod) *planes {
	return &planes{byName: map[string]plane{DefaultRevision: {DefaultRevision, first}}, away: map[string]bool{}, proxies: map[string]string{}}
}

// here are the istiods that are not away, the default one first.
func (p *planes) here() []plane {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := []plane{p.byName[DefaultRevision]}
	for _, name := range slices.Sorted(maps.Keys(p.byName)) {
		if name != DefaultRevision && !p.away[name] {
			out = append(out, p.byName[name])
		}
	}
	return out
}

// of sorts proxies by the revision that serves them.
func (p *planes) of(proxies []string) map[string][]string {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := map[string][]string{}
	for _, name := range proxies {
		r := p.revision(name)
		out[r] = append(out[r], name)
	}
	return out
}

// revision is the one that serves a proxy. A gateway of an istiod that is none of these is the default one's: somebody else's
// istiod may have a revision of any name.
func (p *planes) revision(proxy string) string {
	if r := p.proxies[proxy]; r != "" {
		return r
	}
	if p.gateways != nil {
		if r := p.gateways.revision(proxy); p.byName[r].istiod != nil {
			return r
		}
	}
	return DefaultRevision
}

// tally is what each istiod had done at one moment, by revision.
type tally map[string]mark

// computed asks every istiod. A further one that does not answer is left out: whose proxies it serves finds out.
func (p *planes) computed(ctx context.Context) (tally, error) {
	here := p.here()
	have := make([]mark, len(here))
	errs := make([]error, len(here))
	var wg sync.WaitGroup
	for i, x := range here {
		wg.Go(func() { have[i], errs[i] = x.istiod.computed(ctx) })
	}
	wg.Wait()
	out := tally{}
	for i, x := range here {
		switch {
		case errs[i] == nil:
			out[x.revision] = have[i]
		case x.revision == DefaultRevision:
			return nil, errs[i]
		}
	}
	return out, nil
}

// Join adds the istiod of a further revision to those that see every change.
func (c *Changer) Join(revision string, istiod *Istiod) {
	c.planes.mu.Lock()
	defer c.planes.mu.Unlock()
	c.planes.byName[revision] = plane{revision, istiod}
	delete(c.planes.away, revision)
}

// Leave forgets the istiod of a revision, and which proxies it has served.
func (c *Changer) Leave(revision string) {
	c.planes.mu.Lock()
	defer c.planes.mu.Unlock()
	delete(c.planes.byName, revision)
	delete(c.planes.away, revision)
}

// Bind says which revision serves a proxy, named as by Proxy. Gateways say it themselves (Follow); the others are the default one's.
func (c *Changer) Bind(proxy, revision string) {
	c.planes.mu.Lock()
	defer c.planes.mu.Unlock()
	c.planes.proxies[proxy] = revision
}

// Follow asks these gateways which revision serves each of them, whoever has made it.
func (c *Changer) Follow(g *Gateways) {
	c.planes.mu.Lock()
	defer c.planes.mu.Unlock()
	c.planes.gateways = g
}

// Away notes that the istiod of a revision was sent away, or is back. While it is away nobody can tell what its proxies
// have, and no change waits for it.
func (c *Changer) Away(revision string, away bool) {
	c.planes.mu.Lock()
	defer c.planes.mu.Unlock()
	if away {
		c.planes.away[revision] = true
	} else {
		delete(c.planes.away, revision)
	}
}

// change is a written change that all istiods see.
type change struct {
	proxies  []string // who must have it
	all      bool     // it is for all proxies, and those of an istiod that is away are not missed
	expected expected
	arrived  arrival // of the mesh configuration; nil where that has not changed
	before   tally
	began    time.Time
	hasty    bool // see Mutation
	// leave is called once every istiod has computed the push of the change; it may be nil.
	leave func()
}

// settle waits until the istiods that serve the proxies of a change have it acknowledged by them, and lets no other
// change be made before each istiod has computed the change.
func (c *Changer) settle(ctx context.Context, ch change) (Settled, error) {
	here, serve := c.planes.here(), c.planes.of(ch.proxies)
	var pending sync.WaitGroup // istiods that have not computed it yet
	pending.Add(len(here))
	if ch.leave != nil {
		go func() { pending.Wait(); ch.leave() }()
	}
	var serving sync.WaitGroup
	settled, errs := make([]*Settled, len(here)), make([]error, len(here))
	for i, p := range here {
		computed := sync.OnceFunc(pending.Done)
		proxies, serves := serve[p.revision]
		delete(serve, p.revision)
		if !serves && (len(ch.proxies) > 0 || p.revision != DefaultRevision) {
			go func() {
				defer computed()
				c.absorb(context.WithoutCancel(ctx), p, ch)
			}()
			continue
		}
		serving.Go(func() {
			defer computed()
			var s Settled
			s, errs[i] = c.settleOn(ctx, p, ch, proxies, computed)
			settled[i] = &s
		})
	}
	serving.Wait()
	out := together(settled)
	if !ch.all {
		out.without(serve)
	}
	return out, errors.Join(errs...)
}

// settleOn waits until the proxies of one istiod have a change.
func (c *Changer) settleOn(ctx context.Context, p plane, ch change, proxies []string, computed func()) (Settled, error) {
	e := ch.expected.of(p.revision)
	if ch.arrived[p.revision] == nil && !e.concerns() { // labelled for another istiod
		return Settled{Acknowledged: true, Unconcerned: true}, nil
	}
	s, err := p.istiod.settle(ctx, pending{proxies: proxies, all: ch.all, seen: c.seen(p, e, ch.arrived[p.revision]), before: ch.before[p.revision], began: ch.began, computed: computed, hasty: ch.hasty})
	if err != nil && p.revision != DefaultRevision {
		err = fmt.Errorf("istiod of revision %s: %w", p.revision, err)
	}
	return s, err
}

// absorb waits until an istiod that serves no proxy of a change has computed it. One that does not answer is found out by
// whoever has proxies there.
func (c *Changer) absorb(ctx context.Context, p plane, ch change) {
	e := ch.expected.of(p.revision)
	if ch.arrived[p.revision] == nil && !e.concerns() {
		return
	}
	waiting := pending{before: ch.before[p.revision], began: ch.began}
	if seen := c.seen(p, e, ch.arrived[p.revision]); seen != nil {
		if poll(ctx, p.istiod.pace(), c.limits.Change.Seen, seen) != nil {
			return
		}
	}
	if p.istiod.baseline(ctx, &waiting) == nil {
		_ = p.istiod.computes(ctx, waiting.before.pushes)
	}
}

// computed waits until every istiod has computed a push since a change that concerns no proxy, or until it is clear that
// none comes.
func (c *Changer) computed(ctx context.Context, ch change) {
	var wg sync.WaitGroup
	for _, p := range c.planes.here() {
		wg.Go(func() { _ = p.istiod.computes(ctx, ch.before[p.revision].pushes) }) // one that does not answer is found out by the next change
	}
	wg.Wait()
}

// together is what is known of a change on the istiods that serve its proxies; nil for the others.
func together(all []*Settled) Settled {
	all = slices.DeleteFunc(all, func(s *Settled) bool { return s == nil })
	out := Settled{Acknowledged: true, Unconcerned: len(all) > 0, Reached: len(all) > 0}
	var notes []string
	for _, s := range all {
		out.Acknowledged = out.Acknowledged && s.Acknowledged
		out.Unconcerned = out.Unconcerned && s.Unconcerned
		out.Reached = out.Reached && s.Reached
		out.Beside = out.Beside || s.Beside
		out.Rejections = append(out.Rejections, s.Rejections...)
		out.Sent = append(out.Sent, s.Sent...)
		out.Took = max(out.Took, s.Took)
		if s.Note != "" && !slices.Contains(notes, s.Note) {
			notes = append(notes, s.Note)
		}
	}
	out.Note = strings.Join(notes, "; ")
	return out
}

// without notes the proxies whose istiods are not here, by revision.
func (s *Settled) without(missing map[string][]string) {
	for _, revision := range slices.Sorted(maps.Keys(missing)) {
		s.Acknowledged, s.Reached = false, false
		if s.Note != "" {
			s.Note += "; "
		}
		s.Note += fmt.Sprintf("the istiod of revision %s is away, so nobody can tell what %s has: equal results in a row decide alone", revision, strings.Join(missing[revision], ", "))
	}
}
