package engine

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/probe"
	"mesh-egress-conformance/framework/probe/wire"
)

// nameless is a mesh whose proxy has no host for a while.
type nameless struct {
	*world
	until time.Time
	name  string // that has addresses, for the control client
}

func (n *nameless) Do(ctx context.Context, client string, q probe.Request) (Execution, error) {
	if q.Spec != nil && strings.HasPrefix(q.Spec.URL, "dns:///") {
		exit := wire.ExitDNS
		if client == egress.ControlClient && q.Spec.URL == "dns:///"+n.name {
			exit = 0
		}
		rep, err := json.Marshal(map[string]any{"exitcode": exit, "output": "NOERROR 198.51.100.10"})
		return Execution{ExitCode: exit, Stdout: string(rep)}, err
	}
	if client != egress.ControlClient {
		n.ejected = time.Now().Before(n.until)
	}
	return n.world.Do(ctx, client, q)
}

func TestUnresolved(t *testing.T) {
	const pool = "pool.example"
	const byDNS = `"type": "STRICT_DNS",` + "\n" + `"address": "pool.example",` + "\n"
	const hosts = "outbound|80||httpbin.org::198.51.100.10:80::weight::1\n"
	for name, x := range map[string]struct {
		until        time.Duration
		name         string
		flag         string
		dump, hosts  string
		want         egress.Verdict
		why          string
		atLeastAfter time.Duration
	}{
		"asked again after a minute":    {60 * time.Second, pool, "UH", byDNS, "", egress.Conforms, "", 60 * time.Second},
		"never asked again":             {time.Hour, pool, "UH", byDNS, "", egress.Inconclusive, "has no address of pool.example, which the control client resolves", 60 * time.Second},
		"a name that nobody has":        {time.Hour, "", "UH", byDNS, "", egress.Violates, "503UH, wanted OK", 0},
		"a host that is not taken":      {time.Hour, pool, "UH", byDNS, hosts, egress.Violates, "503UH, wanted OK", 0},
		"an address in place of a name": {time.Hour, pool, "UH", `"type": "STATIC",` + "\n" + `"address": "198.51.100.10",`, "", egress.Violates, "503UH, wanted OK", 0},
		"a name that nobody asks for":   {time.Hour, pool, "UH", `"type": "EDS",` + "\n" + `"address": "pool.example",`, "", egress.Violates, "503UH, wanted OK", 0},
		"a name that a client calls":    {60 * time.Second, "httpbin.org", "DF", "", "", egress.Conforms, "", 60 * time.Second},
		"one that nobody has":           {time.Hour, pool, "DF", "", "", egress.Violates, "503DF, wanted OK", 0},
	} {
		bubble(t, func(t *testing.T) {
			w := &world{pages: map[string]string{"/clusters": x.hosts, "/config_dump": x.dump}, refusal: x.flag}
			e := engineOf(w)
			e.Limits = e.Limits.OrDefault()
			e.Clients, e.Patience = &nameless{w, time.Now().Add(x.until), x.name}, time.Second
			start := time.Now()
			r := e.Run(t.Context(), theCase())
			if r.Verdict != x.want || !strings.Contains(r.Why, x.why) {
				t.Errorf("%s: %s (%s)", name, r.Verdict, r.Why)
			}
			if took := time.Since(start); took < x.atLeastAfter || x.atLeastAfter == 0 && took > 20*time.Second {
				t.Errorf("%s: %s after %s", name, r.Verdict, took)
			}
		})
	}
}
