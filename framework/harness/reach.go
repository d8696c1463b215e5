package harness

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"mesh-egress-conformance/framework/cluster"
	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/internet"
	"mesh-egress-conformance/framework/pods"
	"mesh-egress-conformance/framework/probe"
)

// hermeticReach knows which targets of the cases, in the hermetic internet, the control client cannot reach.
type hermeticReach struct {
	hosts *internet.Hosts
	try   func(ctx context.Context, target string) error // reach a host:port
	logf  func(format string, a ...any)

	again   sync.Once  // where a result hints that something has died
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
		if !p.Protocol().Stream || p.Dead || strings.Contains(p.URL+p.Connect, "${") {
			continue
		}
		target := p.Address()
		name, port, err := net.SplitHostPort(target)
		h, ours := hosts.Find(name)
		if err != nil || port == "" || !ours || h.Dead || slices.Contains(c.Names(), name) || slices.Contains(out, target) {
			continue
		}
		out = append(out, target)
	}
	return out
}

// look makes sure that the hermetic internet is there. One answer is enough to begin with; where it does not come, all
// targets are tried.
func (r *hermeticReach) look(ctx context.Context, cases []egress.Case) error {
	r.expect(cases)
	i := slices.IndexFunc(r.targets, func(t string) bool { return strings.HasSuffix(t, ":80") || strings.HasSuffix(t, ":443") })
	if i < 0 || r.try(ctx, r.targets[i]) == nil {
		return nil
	}
	r.lookAtAll(ctx)
	return nil
}

// expect notes what cases call.
func (r *hermeticReach) expect(cases []egress.Case) {
	var targets []string
	for _, c := range cases {
		targets = append(targets, targetsOf(c, r.hosts)...)
	}
	slices.Sort(targets)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.targets = slices.Compact(targets)
}

// lookAtAll tries all targets and tells which cannot be reached.
func (r *hermeticReach) lookAtAll(ctx context.Context) {
	r.tryAll(ctx)
	if text := r.lost(); text != "" {
		r.logf("internet: %s", text)
	}
}

// suspect tries all targets again where a case says that its own could not be reached: the internet may have died.
func (r *hermeticReach) suspect(life context.Context, x egress.Result) {
	if x.Verdict != egress.Inconclusive || r.lost() != "" {
		return
	}
	for _, ph := range x.Phases {
		for _, p := range ph.Probes {
			if p.Control == nil || p.Control.Reached || p.Verdict != egress.Inconclusive {
				continue
			}
			r.again.Do(func() { go r.lookAtAll(life) })
			return
		}
	}
}

// tryAll finds out which targets cannot be reached, by several attempts at each.
func (r *hermeticReach) tryAll(ctx context.Context) {
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
func (r *hermeticReach) attempt(ctx context.Context, targets []string) map[string]string {
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
func (r *hermeticReach) unreachable(c egress.Case) string {
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

// summary says that the internet is the hermetic one, and what of it cannot be reached.
func (r *hermeticReach) summary() string {
	if text := r.lost(); text != "" {
		return string(cluster.Hermetic) + ", but " + text
	}
	return string(cluster.Hermetic)
}

// lost is one line on what cannot be reached; "" where everything can.
func (r *hermeticReach) lost() string {
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

// control runs a request in the client that has no sidecar.
func (s *site) control(ctx context.Context, q probe.Request) (pods.Output, error) {
	return s.conn.pods.Do(ctx, egress.ControlClient, q)
}

// tryTarget connects from the control client.
func (s *site) tryTarget(ctx context.Context, target string) error {
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
	out, err := s.control(ctx, probe.Request{Spec: spec})
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
