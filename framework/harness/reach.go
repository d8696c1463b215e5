package harness

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"mesh-egress-conformance/framework/cluster"
	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/internet"
	"mesh-egress-conformance/framework/probe"
)

// reach is what is known of the hermetic internet: which targets of the cases the control client cannot reach. Each
// case would find it out for itself, after long waits, and prove nothing.
type reach struct {
	hosts *internet.Hosts
	try   func(ctx context.Context, target string) error // reach a host:port

	looking sync.Mutex // one look at a time
	mu      sync.Mutex
	targets []string
	dead    map[string]string // by target, what happened there
}

// lookPause and looks bound a look at targets that do not answer: all of them may have been busy.
const (
	lookPause = 300 * time.Millisecond
	looks     = 4
)

// targetsOf are the hosts, with ports, that a case calls from the start. Those that are dead on purpose, or get their
// name while the case runs, are not among them.
func targetsOf(c egress.Case, hosts *internet.Hosts) []string {
	var out []string
	for _, p := range c.Probes {
		u, err := url.Parse(p.URL)
		port := p.Protocol().Port
		if err != nil || !p.Protocol().Stream || p.Dead || strings.Contains(p.URL+p.Connect, "${") {
			continue
		}
		if u.Port() != "" {
			port = u.Port()
		}
		target := net.JoinHostPort(u.Hostname(), port)
		if p.Connect != "" {
			target = p.Connect
		}
		name, port, err := net.SplitHostPort(target)
		h, ours := hosts.Find(name)
		if err != nil || port == "" || !ours || h.Dead || slices.Contains(c.Names(), name) || slices.Contains(out, target) {
			continue
		}
		out = append(out, target)
	}
	return out
}

// newReach notes what cases call.
func newReach(cases []egress.Case, hosts *internet.Hosts, try func(context.Context, string) error) *reach {
	r := &reach{hosts: hosts, try: try, dead: map[string]string{}}
	for _, c := range cases {
		r.targets = append(r.targets, targetsOf(c, hosts)...)
	}
	slices.Sort(r.targets)
	r.targets = slices.Compact(r.targets)
	return r
}

// look finds out which targets cannot be reached, by several attempts at each.
func (r *reach) look(ctx context.Context) {
	r.looking.Lock()
	defer r.looking.Unlock()
	left := r.targets
	var dead map[string]string
	for n := range looks {
		if n > 0 {
			select {
			case <-time.After(lookPause):
			case <-ctx.Done():
				return
			}
		}
		if dead = r.attempt(ctx, left); len(dead) == 0 || ctx.Err() != nil {
			break
		}
		left = slices.Sorted(maps.Keys(dead))
	}
	if ctx.Err() != nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dead = dead
}

// attempt tries targets side by side and returns those that cannot be reached.
func (r *reach) attempt(ctx context.Context, targets []string) map[string]string {
	var mu sync.Mutex
	var wg sync.WaitGroup
	dead := map[string]string{}
	turn := make(chan struct{}, 16)
	for _, t := range targets {
		wg.Go(func() {
			turn <- struct{}{}
			defer func() { <-turn }()
			if err := r.try(ctx, t); err != nil {
				mu.Lock()
				defer mu.Unlock()
				dead[t] = err.Error()
			}
		})
	}
	wg.Wait()
	return dead
}

// unreachable says which target of a case cannot be reached; "" for none.
func (r *reach) unreachable(c egress.Case) string {
	if r == nil {
		return ""
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.dead) == 0 {
		return ""
	}
	if len(r.dead) == len(r.targets) { // with all of them goes what no connection tells of, too
		for _, p := range c.Probes {
			if h, ours := r.hosts.Find(p.Destination()); ours && !h.Dead && !p.Dead && !p.Protocol().Question {
				return fmt.Sprintf("the control client reaches no host of the internet, and so not %s: nothing is proven about the mesh", h.Name)
			}
		}
	}
	for _, t := range targetsOf(c, r.hosts) {
		if why, is := r.dead[t]; is {
			return fmt.Sprintf("the control client cannot reach %s (%s): nothing is proven about the mesh", t, why)
		}
	}
	return ""
}

// summary is one line on what cannot be reached; "" where everything can.
func (r *reach) summary() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	names := slices.Sorted(maps.Keys(r.dead))
	switch {
	case len(names) == 0:
		return ""
	case len(names) == len(r.targets):
		return fmt.Sprintf("the control client reaches none of the %d targets that cases call (%s: %s): every case that calls one is inconclusive", len(names), names[0], r.dead[names[0]])
	}
	return fmt.Sprintf("the control client does not reach %s: cases that call them are inconclusive", strings.Join(names, ", "))
}

// lookHermetic makes sure that the hermetic internet is there. One answer is enough to begin with; where it does not
// come, all targets are looked at.
func (s *Session) lookHermetic(ctx context.Context, cases []egress.Case) error {
	hosts, err := internet.DefaultHosts()
	if err != nil {
		return err
	}
	s.reach = newReach(cases, hosts, s.tryTarget)
	i := slices.IndexFunc(s.reach.targets, func(t string) bool { return strings.HasSuffix(t, ":80") || strings.HasSuffix(t, ":443") })
	if i < 0 || s.tryTarget(ctx, s.reach.targets[i]) == nil {
		return nil
	}
	s.relook(ctx)
	return nil
}

// relook looks at all targets and tells what cannot be reached.
func (s *Session) relook(ctx context.Context) {
	s.reach.look(ctx)
	if text := s.reach.summary(); text != "" {
		s.opts.logf("internet: %s", text)
	}
}

// suspect looks at all targets again where a case says that its own could not be reached: the internet may have died.
func (s *Session) suspect(r egress.Result) {
	if s.reach == nil || r.Verdict != egress.Inconclusive || s.reach.summary() != "" {
		return
	}
	for _, ph := range r.Phases {
		for _, p := range ph.Probes {
			if p.Control == nil || p.Control.Reached || p.Verdict != egress.Inconclusive {
				continue
			}
			s.lookOnce.Do(func() { go s.relook(s.starter.life) })
			return
		}
	}
}

// tryTarget connects from the control client.
func (s *Session) tryTarget(ctx context.Context, target string) error {
	limit := s.opts.Limits.Control.Reach
	spec := &probe.Spec{URL: "tcp://" + target, Timeout: int(limit.Milliseconds())}
	switch _, port, _ := net.SplitHostPort(target); port {
	case "80":
		spec.URL = "http://" + target + "/"
	case "443":
		spec.URL = "tls://" + target
	}
	ctx, cancel := context.WithTimeout(ctx, 2*limit)
	defer cancel()
	out, err := s.pods.Do(ctx, egress.ControlClient, probe.Request{Spec: spec})
	if err != nil {
		return err
	}
	var rep probe.Report
	if err := json.Unmarshal([]byte(out.Stdout), &rep); err != nil {
		return fmt.Errorf("read the probe agent's report: %w", err)
	}
	if rep.RemotePort == 0 && rep.LocalPort == 0 { // whatever it answers, it is there
		return fmt.Errorf("exit %d, %s", rep.ExitCode, rep.Error)
	}
	return nil
}

// outsideText says which internet the cases of this session call.
func (s *Session) outsideText() string {
	switch {
	case s.terms != nil:
		return s.terms.Summary()
	case s.Cluster.Internet() == nil:
		return string(cluster.Live)
	case s.reach != nil && s.reach.summary() != "":
		return string(cluster.Hermetic) + ", but " + s.reach.summary()
	}
	return string(cluster.Hermetic)
}
