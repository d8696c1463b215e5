package harness

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/limits"
	"mesh-egress-conformance/framework/mesh"
	"mesh-egress-conformance/framework/probe"
)

// What is started once for all cases, besides clients.
const (
	gatewaysStartup   = "gateways"
	gatewayAPIStartup = "the Gateway API"
)

// starter starts in the background, once for all cases, what several of them use: clients, gateways, the Gateway API.
type starter struct {
	*startups
	gateways *ownGateways
	clients  []egress.Client // all that cases may name
	limits   limits.Limits
	lanes    int // how many lanes have clients of their own
	// ipv6 says that pods can have IPv6 addresses: the control client has one then, since whoever calls a host, it does too.
	ipv6 bool
	logf func(format string, a ...any)
	conn *connection // nil until the cluster is there
	// mesh serves what starts. It is nil until the session is joined, which waits itself for those of the clients that have started by
	// then.
	mesh joinedMesh
	rest sync.WaitGroup // what starts a few at a time
}

// joinedMesh is the mesh as those need it who start something in it.
type joinedMesh interface {
	// install installs the istiod of a revision, and bind says which proxy it serves.
	install(ctx context.Context, v egress.Revision) error
	bind(proxy, revision string)
	// installGatewayAPI makes the cluster know the Gateway API.
	installGatewayAPI(ctx context.Context) error
	// connected waits until the istiods that serve proxies know them.
	connected(ctx context.Context, proxies ...string) error
}

func newStarter(clients []egress.Client, lim limits.Limits, logf func(string, ...any), alive func(context.Context) (context.Context, context.CancelFunc)) *starter {
	return &starter{startups: newStartups(alive), gateways: &ownGateways{limits: lim.Pods}, clients: clients, limits: lim, lanes: 1, logf: logf}
}

// use takes the connection over which everything is started from now on.
func (s *starter) use(c *connection) { s.conn, s.gateways.conn = c, c }

func (s *starter) startGateways() *startup { return s.startOnce(gatewaysStartup, s.gateways.bring) }

func (s *starter) startGatewayAPI() *startup {
	return s.startOnce(gatewayAPIStartup, func(ctx context.Context) error { return s.mesh.installGatewayAPI(ctx) })
}

// startRevision starts the istiod that a client is bound to.
func (s *starter) startRevision(v egress.Revision) *startup {
	return s.startOnce("the istiod of revision "+v.Name, func(ctx context.Context) error {
		if err := s.released(ctx); err != nil { // see there
			return err
		}
		return s.mesh.install(ctx, v)
	})
}

// startClient starts a client, or a lane's copy of one.
func (s *starter) startClient(name string) *startup {
	return s.startOnce(name, func(ctx context.Context) error {
		c, err := s.client(name)
		if err == nil {
			err = s.released(ctx) // it may be one of those
		}
		if err != nil {
			return err
		}
		if c.Istiod != nil {
			if err := s.startRevision(*c.Istiod).wait(ctx); err != nil {
				return err
			}
		}
		if err := s.conn.pods.Start(ctx, c); err != nil {
			return err
		}
		pod, err := s.conn.pods.Get(name)
		if err != nil || !pod.Proxied() {
			return err
		}
		if err := s.served(ctx, c, mesh.Proxy(pod.PodName, pod.Namespace)); err != nil {
			return err
		}
		if err := s.conn.logs.Start(ctx, name, logSource(pod)); err != nil {
			return err
		}
		if c.Container != "" && !c.Escapes {
			if err := s.conn.logs.Attached(ctx, name); err != nil {
				return err
			}
		}
		return s.waitURL(ctx, c.ReadyURL)
	})
}

// served notes which istiod serves a client's proxy, and waits until that knows it: a pod that ran before may have lost its istiod.
func (s *starter) served(ctx context.Context, c egress.Client, proxy string) error {
	if c.Revision != "" {
		s.mesh.bind(proxy, c.Revision)
	}
	if s.mesh == nil {
		return nil
	}
	return s.mesh.connected(ctx, proxy)
}

// client finds the description of a client, or of a lane's copy of one.
func (s *starter) client(name string) (egress.Client, error) {
	for _, c := range s.clients {
		for l := range lane(s.lanes) {
			if l.actual(c.Name) == name {
				c.DualStack = c.DualStack || s.ipv6 && c.Name == egress.ControlClient
				return l.client(c), nil
			}
		}
	}
	return egress.Client{}, fmt.Errorf("client %q is not defined", name)
}

// waitURL waits until the control client gets an answer from a workload behind the ingress gateway:
// its pod may be ready before the gateway knows it.
func (s *starter) waitURL(ctx context.Context, url string) error {
	if url == "" {
		return nil
	}
	for _, u := range []*startup{s.startGateways(), s.lookup(egress.ControlClient)} {
		if err := u.wait(ctx); err != nil {
			return err
		}
	}
	url = strings.ReplaceAll(url, "${INGRESS_IP}", s.gateways.ingressIP())
	var last error
	err := wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, s.limits.Cluster.APIServer, true, func(ctx context.Context) (bool, error) {
		out, err := s.conn.pods.Do(ctx, egress.ControlClient, probe.Request{Argv: []string{"curl", "-sS", "-f", "-o", "/dev/null", "-m", seconds(s.limits.Pods.Request), url}})
		if err == nil && out.ExitCode != 0 {
			err = fmt.Errorf("exit %d %s", out.ExitCode, out.Stderr)
		}
		last = err
		return err == nil, nil
	})
	if err != nil {
		return fmt.Errorf("wait for an answer from %s: %w", url, errors.Join(err, last))
	}
	return nil
}

// waits says whether a case would have to wait for a client that is still starting.
func (s *starter) waits(l lane, c egress.Case) bool {
	var names []string
	for _, n := range c.Clients() {
		names = append(names, l.actual(n))
	}
	return !s.haveStarted(names)
}

// ready starts what a case needs, where that is not done, and waits for it.
func (s *starter) ready(ctx context.Context, l lane, c egress.Case) error {
	for _, n := range c.Clients() {
		if err := s.startClient(l.actual(n)).wait(ctx); err != nil {
			return err
		}
	}
	if c.Gateway() {
		if err := s.startGateways().wait(ctx); err != nil {
			return err
		}
	}
	if slices.Contains(c.Needs, egress.GatewayAPI) {
		return s.startGatewayAPI().wait(ctx)
	}
	return nil
}

// prepare starts what has endpoints, and the clients of so many lanes, and waits for the former. Istio 1.31 may lose a
// change that meets an update of endpoints (docs/findings.md), so no case may run meanwhile.
func (s *starter) prepare(ctx context.Context, cases []egress.Case) error {
	gateways := false
	for _, c := range cases {
		for _, n := range c.Clients() {
			k, err := s.client(n)
			if err != nil {
				continue
			}
			if k.Istiod != nil {
				s.startRevision(*k.Istiod)
			}
			if k.Serves() {
				s.startClient(n)
			}
		}
		gateways = gateways || c.Gateway()
		if slices.Contains(c.Needs, egress.GatewayAPI) {
			s.startGatewayAPI()
		}
	}
	if gateways {
		s.startGateways()
	}
	for l := range lane(min(s.lanes, len(cases))) {
		s.startClient(l.actual("client"))
	}
	return s.await(ctx, func(name string) bool {
		c, err := s.client(name)
		return err != nil || c.Serves() // gateways and istiods are no clients
	})
}

// startersAtOnce is how many pods start at once beside running cases: they compete for the processor.
const startersAtOnce = 2

// startRest starts the other clients that cases need, a few at a time, beside running cases. Whether one started well is
// the business of the cases that need it.
func (s *starter) startRest(ctx context.Context, cases []egress.Case) {
	names := make(chan string)
	s.rest.Go(func() {
		defer close(names)
		seen := map[string]bool{}
		for _, c := range cases {
			for _, n := range c.Clients() {
				if seen[n] || slices.Contains(laneClients, n) {
					continue
				}
				seen[n] = true
				select {
				case names <- n:
				case <-ctx.Done():
					return
				}
			}
		}
	})
	for range startersAtOnce {
		s.rest.Go(func() {
			for n := range names {
				if err := s.startClient(n).wait(ctx); err != nil {
					s.logf("client %s did not start: %v", n, err) // its cases say so too
				}
			}
		})
	}
}

// settled waits until nothing that was started is still starting. Whether it succeeded is the business of the cases that
// need it.
func (s *starter) settled(ctx context.Context) error {
	s.rest.Wait() // it ends with the run
	return s.await(ctx, func(string) bool { return true })
}

// close ends what is still starting, and waits for it.
func (s *starter) close(ctx context.Context) error {
	s.end()
	return errors.Join(s.settled(ctx), s.released(ctx))
}
