package harness

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/limits"
	"mesh-egress-conformance/framework/live"
	"mesh-egress-conformance/framework/pods"
	"mesh-egress-conformance/framework/probe"
)

// liveReach knows which hosts of the live internet the control client reaches.
type liveReach struct {
	constraints *live.Constraints
	control     controlClient
	limits      limits.Probe
	logf        func(format string, a ...any)
}

// controlClient runs a request in the client that has no sidecar.
type controlClient func(context.Context, probe.Request) (pods.Output, error)

// lookTries is how often a host is looked at that was not reached.
const lookTries = 2

// look calls every real host that the cases call, once.
func (r *liveReach) look(ctx context.Context, cases []egress.Case) error {
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, n := range r.constraints.Names(cases) {
		wg.Go(func() {
			var found live.Host
			for range lookTries {
				if found = r.lookAt(ctx, n); found.Address.IsValid() {
					break
				}
			}
			mu.Lock()
			defer mu.Unlock()
			r.constraints.Found[n] = found
		})
	}
	wg.Wait()
	r.logf("internet: %s", r.summary())
	return nil
}

func (r *liveReach) unreachable(c egress.Case) string { return r.constraints.Unreachable(c) }

func (r *liveReach) suspect(context.Context, egress.Result) {} // what a real host does is its own business

func (r *liveReach) summary() string { return r.constraints.Summary() }

// seconds is a limit as curl takes it.
func seconds(d time.Duration) string { return strconv.Itoa(int(d.Seconds())) }

// lookAt calls a host from the control client.
func (r *liveReach) lookAt(ctx context.Context, name string) live.Host {
	ctx, cancel := context.WithTimeout(ctx, 2*r.limits.Total)
	defer cancel()
	out, err := r.control(ctx, probe.Request{Argv: []string{
		"curl", "-sS", "-o", "/dev/null", "-w", "%{json}", "--connect-timeout", seconds(r.limits.Connect), "-m", seconds(r.limits.Total), "https://" + name + "/",
	}})
	if err != nil {
		return live.Host{Detail: err.Error()}
	}
	var rep struct {
		Code  int    `json:"http_code"`
		IP    string `json:"remote_ip"`
		Error string `json:"errormsg"`
	}
	if err := json.Unmarshal([]byte(out.Stdout), &rep); err != nil {
		return live.Host{Detail: fmt.Sprintf("curl gave no report (exit %d): %v", out.ExitCode, err)}
	}
	h := live.Host{Detail: fmt.Sprintf("exit %d, status %d", out.ExitCode, rep.Code)}
	if rep.Error != "" {
		h.Detail += ", " + rep.Error
	}
	if out.ExitCode == 0 && rep.Code > 0 && rep.Code < 500 {
		h.Address, _ = netip.ParseAddr(rep.IP) // an address that cannot be read counts as none
	}
	return h
}
