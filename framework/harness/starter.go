package harness

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/limits"
	"mesh-egress-conformance/framework/mesh"
	"mesh-egress-conformance/framework/pods"
	"mesh-egress-conformance/framework/probe"
)

// What is started once for all cases, besides clients.
const (
	gatewaysStartup   = "gateways"
	gatewayAPIStartup = "the Gateway API"
)

// starter starts in the background, once for all cases, what several of them use: clients, gateways, the Gateway API.
type starter struct {
	clients []egress.Client // all that cases may name
	limits  limits.Limits
	lanes   int // how many lanes have clients of their own
	// ipv6 says that pods can have IPv6 addresses: the control client has one then, since whoever calls a host, it does too.
	ipv6 bool
	logf func(format string, a ...any)
	// alive returns a context that ends with the cluster too.
	alive func(context.Context) (context.Context, context.CancelFunc)
	// life ends when the session is closed; what runs in the background ends with it.
	life context.Context //nolint:containedctx // the starter's lifetime
	end  context.CancelFunc

	conn *connection // nil until the cluster is there
	// gateways starts the gateways, or finds them; gatewayAPI makes the cluster know the Gateway API.
	gateways, gatewayAPI func(context.Context) error
	// revision installs the istiod of a revision, and bind says which proxy it serves.
	revision func(context.Context, egress.Revision) error
	bind     func(proxy, revision string)
	// connected waits until the istiods that serve proxies know them; nil until the session is joined, which waits itself for
	// those of the clients that have started by then.
	connected func(ctx context.Context, proxies ...string) error

	mu      sync.Mutex
	once    map[string]*startup
	ends    []chan struct{} // of clients that end: each is closed when it has
	ingress string          // the address of the ingress gateway
	rest    sync.WaitGroup  // what starts a few at a time
}

func newStarter(clients []egress.Client, lim limits.Limits, logf func(string, ...any), alive func(context.Context) (context.Context, context.CancelFunc)) *starter {
	life, end := context.WithCancel(context.Background())
	return &starter{clients: clients, limits: lim, lanes: 1, logf: logf, alive: alive, life: life, end: end, once: map[string]*startup{}}
}

// startup is something that is started once and waited for by many.
type startup struct {
	done chan struct{}
	err  error
}

func (u *startup) wait(ctx context.Context) error {
	select {
	case <-u.done:
		return u.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (u *startup) over() bool {
	select {
	case <-u.done:
		return true
	default:
		return false
	}
}

// startOnce starts something in the background unless that was done already.
func (s *starter) startOnce(name string, f func(context.Context) error) *startup {
	s.mu.Lock()
	defer s.mu.Unlock()
	if have := s.once[name]; have != nil {
		return have
	}
	u := &startup{done: make(chan struct{})}
	s.once[name] = u
	go func() {
		defer close(u.done)
		// What is started for one case serves the others too, so it must outlive that case.
		ctx, stop := s.alive(s.life)
		defer stop()
		u.err = f(ctx)
	}()
	return u
}

// lookup finds what was started; where it was not, waiting for it is an error.
func (s *starter) lookup(name string) *startup {
	s.mu.Lock()
	defer s.mu.Unlock()
	if u := s.once[name]; u != nil {
		return u
	}
	u := &startup{done: make(chan struct{}), err: fmt.Errorf("%q was never started", name)}
	close(u.done)
	return u
}

func (s *starter) startGateways() *startup   { return s.startOnce(gatewaysStartup, s.gateways) }
func (s *starter) startGatewayAPI() *startup { return s.startOnce(gatewayAPIStartup, s.gatewayAPI) }

// startRevision starts the istiod that a client is bound to.
func (s *starter) startRevision(v egress.Revision) *startup {
	return s.startOnce("the istiod of revision "+v.Name, func(ctx context.Context) error {
		if err := s.released(ctx); err != nil { // see there
			return err
		}
		return s.revision(ctx, v)
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
		s.bind(proxy, c.Revision)
	}
	if s.connected == nil {
		return nil
	}
	return s.connected(ctx, proxy)
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
	url = strings.ReplaceAll(url, "${INGRESS_IP}", s.ingressIP())
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

// installedGateways are the gateways that every cluster of ours has, by the feature that a case needs.
var installedGateways = map[egress.Feature]string{egress.IngressGateway: mesh.IngressGateway, egress.EgressGateway: mesh.EgressGateway}

// findGateways waits until the gateways' pods are ready and their logs followed.
func (s *starter) findGateways(ctx context.Context) error {
	for _, name := range installedGateways {
		if _, err := pods.WaitPodReady(ctx, s.conn.cs, mesh.SystemNamespace, "app="+name, s.limits.Pods); err != nil {
			return err
		}
		if err := s.conn.followed.Await(ctx, mesh.SystemNamespace, map[string]string{"app": name}, 1); err != nil {
			return err
		}
	}
	svc, err := s.conn.cs.CoreV1().Services(mesh.SystemNamespace).Get(ctx, mesh.IngressGateway, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("find the ingress gateway's address: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ingress = svc.Spec.ClusterIP
	return nil
}

// gatewaysConnected waits until istiod knows the gateways, once the session is joined.
func (s *starter) gatewaysConnected(ctx context.Context) error {
	var proxies []string
	for f := range installedGateways {
		proxies = append(proxies, s.gatewayProxies(f)...)
	}
	return s.connected(ctx, proxies...)
}

// haveGateways says whether both gateways are installed: whoever brought the cluster up may not have needed them.
func (s *starter) haveGateways(ctx context.Context) (bool, error) {
	for _, g := range installedGateways {
		_, err := s.conn.cs.AppsV1().Deployments(mesh.SystemNamespace).Get(ctx, g, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("look for gateway %s: %w", g, err)
		}
	}
	return true, nil
}

// ingressIP is the address of the ingress gateway; "" before that was found.
func (s *starter) ingressIP() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ingress
}

// gatewayProxies names the proxies of the gateway that a feature stands for; none while it does not run.
func (s *starter) gatewayProxies(f egress.Feature) []string {
	name := installedGateways[f]
	if name == "" {
		return nil
	}
	return s.conn.followed.Proxies(mesh.SystemNamespace, map[string]string{"app": name})
}

// waits says whether a case would have to wait for a client that is still starting.
func (s *starter) waits(l lane, c egress.Case) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(c.Clients(), func(n string) bool {
		u := s.once[l.actual(n)]
		return u == nil || !u.over()
	})
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

// release lets the clients end that none of the cases needs which are still to come. Each proxy, and each log that the kubelet
// is asked to follow, takes inotify instances, of which the machine gives a cluster 128 (fs.inotify.max_user_instances):
// with those of all cases and the istiods that some need besides, proxies do not start any more. Clients that have
// endpoints stay, whose end every proxy would be told of.
func (s *starter) release(cases []egress.Case) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range unneeded(s.clients, cases) {
		if started := s.once[name]; started == nil || !started.over() {
			continue
		}
		delete(s.once, name)
		end, err := s.ending(name) // of one that did not start well, there is none
		if err != nil {
			continue
		}
		ended := make(chan struct{})
		s.ends = append(s.ends, ended)
		go func() {
			defer close(ended)
			ctx, stop := s.alive(s.life)
			defer stop()
			if err := end(ctx); err != nil && ctx.Err() == nil {
				s.logf("a client that nobody needs any more: %v", err)
			}
		}()
	}
}

// ending takes a client out of those that run, and returns what ends it and the following of its log.
func (s *starter) ending(name string) (func(context.Context) error, error) {
	end, err := s.conn.pods.End(name)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		s.conn.logs.Stop(name)
		return end(ctx)
	}, nil
}

// unneeded are the clients that none of the cases needs and that may end.
func unneeded(clients []egress.Client, cases []egress.Case) []string {
	needed := slices.Concat(laneClients, []string{egress.ControlClient})
	for _, c := range cases {
		needed = append(needed, c.Clients()...)
	}
	var out []string
	for _, c := range clients {
		if !slices.Contains(needed, c.Name) && !c.Serves() {
			out = append(out, c.Name)
		}
	}
	return out
}

// released waits until those have ended that release lets end.
func (s *starter) released(ctx context.Context) error {
	s.mu.Lock()
	ends := s.ends
	s.mu.Unlock()
	for _, e := range ends {
		select {
		case <-e:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// settled waits until nothing that was started is still starting. Whether it succeeded is the business of the cases that
// need it.
func (s *starter) settled(ctx context.Context) error {
	s.rest.Wait() // it ends with the run
	return s.await(ctx, func(string) bool { return true })
}

// await waits for those that are meant of what was started.
func (s *starter) await(ctx context.Context, meant func(name string) bool) error {
	s.mu.Lock()
	all := maps.Clone(s.once)
	s.mu.Unlock()
	for name, u := range all {
		if !meant(name) {
			continue
		}
		select {
		case <-u.done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// close ends what is still starting, and waits for it.
func (s *starter) close(ctx context.Context) error {
	s.end()
	return errors.Join(s.settled(ctx), s.released(ctx))
}
