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
	"mesh-egress-conformance/framework/internet"
	"mesh-egress-conformance/framework/live"
	"mesh-egress-conformance/framework/probe"
)

// sameOutside demands that a running cluster reaches the internet that was asked for.
func (s *Session) sameOutside() error {
	have := s.Cluster.Facts().Outside
	if want := s.opts.Outside; want != "" && want != have {
		return fmt.Errorf("the running cluster %s reaches the %s internet, not the %s one: take it down, or choose another --name", s.Cluster.Name(), have, want)
	}
	return nil
}

// lookTries is how often a host is looked at that was not reached.
const lookTries = 2

// lookOutside finds out which hosts of the live internet the control client reaches, so that cases whose hosts
// it does not reach need not wait for them.
func (s *Session) lookOutside(ctx context.Context, cases []egress.Case) {
	hosts, err := internet.DefaultHosts()
	if err != nil {
		s.opts.logf("look at the live internet: %v", err)
		return
	}
	t := &live.Constraints{Hosts: hosts, Files: s.opts.Fixtures, Found: map[string]live.Host{}}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, n := range t.Names(cases) {
		wg.Go(func() {
			var found live.Host
			for range lookTries {
				if found = s.lookAt(ctx, n); found.Address.IsValid() {
					break
				}
			}
			mu.Lock()
			defer mu.Unlock()
			t.Found[n] = found
		})
	}
	wg.Wait()
	s.terms = t
	s.opts.logf("internet: %s", t.Summary())
}

// seconds is a limit as curl takes it.
func seconds(d time.Duration) string { return strconv.Itoa(int(d.Seconds())) }

// lookAt calls a host from the control client.
func (s *Session) lookAt(ctx context.Context, name string) live.Host {
	ctx, cancel := context.WithTimeout(ctx, 2*s.opts.Limits.Probe.Total)
	defer cancel()
	out, err := s.pods.Do(ctx, egress.ControlClient, probe.Request{Argv: []string{
		"curl", "-sS", "-o", "/dev/null", "-w", "%{json}", "--connect-timeout", seconds(s.opts.Limits.Probe.Connect), "-m", seconds(s.opts.Limits.Probe.Total), "https://" + name + "/",
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
