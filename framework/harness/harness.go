// Package harness puts the parts together: a cluster, an Istio in it, client pods and the engine. A
// Session is what both the suites and egressctl run cases in, so both run the same thing.
package harness

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"mesh-egress-conformance/framework/cluster"
	"mesh-egress-conformance/framework/components"
	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/engine"
	"mesh-egress-conformance/framework/fixture"
	"mesh-egress-conformance/framework/internet"
	"mesh-egress-conformance/framework/mesh"
	"mesh-egress-conformance/framework/pods"
	"mesh-egress-conformance/framework/provider"
)

// Sabotage breaks the world on purpose, to show that verdicts notice.
type Sabotage string

// The sabotages.
const (
	NoSabotage   Sabotage = ""
	AllowAny     Sabotage = "allow-any"     // the mesh lets everything out although the cases assume REGISTRY_ONLY
	InternetDown Sabotage = "internet-down" // every host of the internet is dead; names still resolve
)

// ParseSabotage reads a --sabotage flag.
func ParseSabotage(s string) (Sabotage, error) {
	switch v := Sabotage(s); v {
	case NoSabotage, AllowAny, InternetDown:
		return v, nil
	}
	return "", fmt.Errorf("sabotage %q is unknown: use %s or %s", s, AllowAny, InternetDown)
}

// Options say what to run in.
type Options struct {
	Provider string
	Name     string
	Istio    string
	Source   components.Source
	Hub      string
	Port     int
	Sabotage Sabotage
	Clients  []egress.Client // all that cases may name
	Fixtures fs.FS
	Progress components.Progress
	Log      io.Writer // one line for each step; nil drops them
}

func (o *Options) logf(format string, a ...any) {
	if o.Log != nil {
		fmt.Fprintf(o.Log, format+"\n", a...)
	}
}

// Session is a cluster with Istio in which cases can run.
type Session struct {
	Cluster cluster.Cluster
	opts    Options
	cs      *kubernetes.Clientset
	fix     *fixture.Client
	pods    *pods.Pods
	istiod  *mesh.Istiod
	logs    *logs
	rules   *rules
	engine  *engine.Engine
	owned   bool
	run     string
	start   time.Time
	ingress string
	// gateways starts the gateways, or finds them.
	gateways func(context.Context) error

	// life ends when the session is closed; what runs in the background ends with it.
	life context.Context //nolint:containedctx // the session is a lifetime
	end  context.CancelFunc

	mu      sync.Mutex
	futures map[string]*future
	timings map[string]float64
}

// future is something that is started once and waited for by many.
type future struct {
	done chan struct{}
	err  error
}

func (f *future) wait(ctx context.Context) error {
	select {
	case <-f.done:
		return f.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// baseClients are the ones that every cluster from `egressctl up` has.
var baseClients = []string{"client", egress.ControlClient}

// Open uses the running cluster of that name, or brings one up that Close takes down again.
func Open(ctx context.Context, o Options) (*Session, error) {
	s, err := prepare(o)
	if err != nil {
		return nil, err
	}
	p, store, err := openProvider(o)
	if err != nil {
		return nil, err
	}
	s.Cluster, err = p.Open(ctx, o.Name)
	switch {
	case errors.Is(err, cluster.ErrNotFound):
		err = s.bringUp(ctx, p, store)
	case err == nil:
		o.logf("using the running cluster %s", o.Name)
		err = s.attach(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, s.Close(context.WithoutCancel(ctx)))
	}
	return s, nil
}

// Up brings a cluster up with Istio, both gateways and the base clients, and lets it live on.
func Up(ctx context.Context, o Options) (*Session, error) {
	s, err := prepare(o)
	if err != nil {
		return nil, err
	}
	p, store, err := openProvider(o)
	if err != nil {
		return nil, err
	}
	s.run = "up" // what belongs to the cluster and not to a run
	err = s.bringUp(ctx, p, store)
	if err == nil {
		err = s.Ready(ctx)
	}
	if err == nil {
		s.owned = false
		err = s.Cluster.Detach()
	}
	if err != nil {
		return nil, errors.Join(err, s.Close(context.WithoutCancel(ctx)))
	}
	return s, nil
}

// Ready waits for the base clients and both gateways.
func (s *Session) Ready(ctx context.Context) error {
	for _, n := range append([]string{gatewaysFuture}, baseClients...) {
		if err := s.need(n).wait(ctx); err != nil {
			return err
		}
	}
	s.mark("everything ready")
	return nil
}

func prepare(o Options) (*Session, error) {
	for _, c := range o.Clients {
		if err := c.Check(); err != nil {
			return nil, err
		}
	}
	life, end := context.WithCancel(context.Background())
	return &Session{
		opts: o, life: life, end: end, start: time.Now(), run: fmt.Sprintf("run-%x", time.Now().UnixNano()&0xffffffffff),
		futures: map[string]*future{}, timings: map[string]float64{},
	}, nil
}

func openProvider(o Options) (cluster.Provider, *components.Store, error) {
	store, err := components.OpenStore()
	if err != nil {
		return nil, nil, err
	}
	p, err := provider.Open(o.Provider, store)
	return p, store, err
}

// mark records when a step was complete, in seconds since the session's start.
func (s *Session) mark(step string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.timings[step] = time.Since(s.start).Seconds()
	s.opts.logf("%6.2fs  %s", s.timings[step], step)
}

const gatewaysFuture = "gateways"

// bringUp makes a cluster and installs Istio. Clients and gateways go on starting in the background.
func (s *Session) bringUp(ctx context.Context, p cluster.Provider, store *components.Store) error {
	set, err := components.Fetch(ctx, store, components.Options{Istio: s.opts.Istio, Source: s.opts.Source, Hub: s.opts.Hub, Progress: s.opts.Progress})
	if err != nil {
		return err
	}
	s.mark("components in the cache")
	c, err := p.Up(ctx, cluster.Options{Name: s.opts.Name, Set: set, Port: s.opts.Port})
	if err != nil {
		return err
	}
	s.Cluster, s.owned = c, true
	ctx, stop := s.alive(ctx)
	defer stop()
	s.mark("cluster processes started")
	if err := s.connect(); err != nil {
		return err
	}
	f := c.Facts()
	in := mesh.NewInstaller(c.RESTConfig(), mesh.Options{Module: f.Module, Tag: f.IstioTag, OfficialProxy: slices.Contains(f.Features, egress.IstioFilters), Policy: egress.RegistryOnly})
	if err := s.waitAPI(ctx); err != nil {
		return s.because(err)
	}
	s.mark("API server ready")
	s.launch(egress.ControlClient)
	if err := in.ControlPlane(ctx); err != nil {
		return s.because(err)
	}
	s.mark("Istio charts applied")
	if _, err := pods.WaitPodReady(ctx, s.cs, mesh.SystemNamespace, "app=istiod"); err != nil {
		return s.because(err)
	}
	s.mark("istiod ready")
	s.launch("client")
	s.gateways = func(ctx context.Context) error { return s.startGateways(ctx, in) }
	if s.run == "up" { // a run wants its first verdict early and starts them later
		s.promise(gatewaysFuture, s.gateways)
	}
	return s.because(s.join(ctx))
}

// attach uses a cluster in which everything is already there.
func (s *Session) attach(ctx context.Context) error {
	if err := s.connect(); err != nil {
		return err
	}
	for _, n := range baseClients {
		s.launch(n)
	}
	s.gateways = s.watchGateways
	return s.join(ctx)
}

// because adds the cluster's own explanation to an error that its death has caused.
func (s *Session) because(err error) error {
	if err == nil || s.Cluster == nil {
		return err
	}
	if cause := s.Cluster.Failure(); cause != nil {
		return fmt.Errorf("%w\n(seen as: %w)", cause, err)
	}
	return err
}

func (s *Session) connect() error {
	cfg := s.Cluster.RESTConfig()
	var err error
	if s.cs, err = kubernetes.NewForConfig(cfg); err != nil {
		return fmt.Errorf("make a Kubernetes client: %w", err)
	}
	if s.fix, err = fixture.NewClient(cfg); err != nil {
		return err
	}
	s.pods = pods.New(pods.Options{Config: cfg, Clientset: s.cs, Fixtures: s.fix, Istioctl: s.Cluster.Program("istioctl"), Kubeconfig: s.Cluster.Kubeconfig(), Run: s.run})
	s.logs = &logs{pods: s.pods, cs: s.cs, follow: map[string]*mesh.AccessLog{}}
	return nil
}

// apiTimeout bounds the start of the API server.
const apiTimeout = 60 * time.Second

func (s *Session) waitAPI(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, egress.Patience(apiTimeout))
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		_, err := s.cs.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Raw()
		if err == nil {
			return nil
		}
		if s.Cluster.Failure() != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the API server: %w", errors.Join(ctx.Err(), err))
		case <-tick.C:
		}
	}
}

// join connects to istiod and makes the engine, once the base client is there.
func (s *Session) join(ctx context.Context) error {
	for _, n := range baseClients {
		if err := s.need(n).wait(ctx); err != nil {
			return err
		}
	}
	s.mark("client pods ready")
	var err error
	if s.istiod, err = mesh.ConnectIstiod(ctx, s.Cluster.RESTConfig(), s.cs); err != nil {
		return err
	}
	policy := func(p egress.Policy) egress.Policy { return p }
	if s.opts.Sabotage == AllowAny {
		policy = func(egress.Policy) egress.Policy { return egress.AllowAny }
	}
	s.rules = &rules{cs: s.cs, fixtures: s.fix, files: s.opts.Fixtures, istiod: s.istiod, pods: s.pods, run: s.run, policy: policy, applied: map[string][]*fixture.Object{}}
	hosts, err := internet.DefaultHosts()
	if err != nil {
		return err
	}
	f := s.Cluster.Facts()
	s.engine = &engine.Engine{
		Clients: clients{s.pods}, Rules: s.rules, Mesh: s.logs, Outside: s.Cluster.Internet(),
		Version:  f.Istio,
		Features: append(slices.Clone(f.Features), egress.IngressGateway, egress.EgressGateway),
		Canonical: func(n string) string {
			if h, ok := hosts.Find(n); ok {
				return h.Name
			}
			return n
		},
		Expand: func(u string) string { return strings.ReplaceAll(u, "${INGRESS_IP}", s.ingress) },
		Rerun: func(c egress.Case) string {
			return fmt.Sprintf("egressctl run --name %s --case %s", s.opts.Name, c.Name)
		},
	}
	return s.sabotage(ctx)
}

func (s *Session) sabotage(ctx context.Context) error {
	switch s.opts.Sabotage {
	case AllowAny:
		s.opts.logf("SABOTAGE: the mesh's outbound policy is ALLOW_ANY although the cases assume REGISTRY_ONLY")
		return s.setPolicy(ctx, egress.AllowAny)
	case InternetDown:
		s.opts.logf("SABOTAGE: every host of the internet is down")
		return s.Cluster.Internet().Down(ctx)
	case NoSabotage:
	}
	return nil
}

func (s *Session) setPolicy(ctx context.Context, p egress.Policy) error {
	err := mesh.SetPolicy(ctx, s.cs, p)
	if errors.Is(err, mesh.ErrUnchanged) {
		return nil
	}
	if err != nil {
		return err
	}
	pod, err := s.pods.Get("client")
	if err != nil {
		return err
	}
	_, err = s.istiod.Settle(ctx, []string{mesh.Proxy(pod.PodName, pod.Namespace)}, func(ctx context.Context) (bool, error) { return s.istiod.HasPolicy(ctx, p) })
	return err
}

// promise starts f in the background, once for each name.
func (s *Session) promise(name string, f func(context.Context) error) *future {
	s.mu.Lock()
	defer s.mu.Unlock()
	if have := s.futures[name]; have != nil {
		return have
	}
	fut := &future{done: make(chan struct{})}
	s.futures[name] = fut
	go func() {
		defer close(fut.done)
		// What is started for one case serves the others too, so it must outlive that case.
		ctx, stop := s.alive(s.life)
		defer stop()
		fut.err = f(ctx)
	}()
	return fut
}

// launch starts a client in the background.
func (s *Session) launch(name string) *future {
	return s.promise(name, func(ctx context.Context) error {
		i := slices.IndexFunc(s.opts.Clients, func(c egress.Client) bool { return c.Name == name })
		if i < 0 {
			return fmt.Errorf("client %q is not defined", name)
		}
		c := s.opts.Clients[i]
		if err := s.pods.Start(ctx, c); err != nil {
			return err
		}
		if !c.Captured() {
			return nil
		}
		pod, err := s.pods.Get(name)
		if err != nil {
			return err
		}
		if err := s.logs.start(ctx, name, pod.Namespace, pod.PodName); err != nil {
			return err
		}
		return s.waitURL(ctx, c.ReadyURL)
	})
}

// waitURL waits until the control client gets an answer from a workload behind the ingress gateway:
// its pod may be ready before the gateway knows it.
func (s *Session) waitURL(ctx context.Context, url string) error {
	if url == "" {
		return nil
	}
	for _, f := range []*future{s.promise(gatewaysFuture, s.gateways), s.need(egress.ControlClient)} {
		if err := f.wait(ctx); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, egress.Patience(apiTimeout))
	defer cancel()
	url = strings.ReplaceAll(url, "${INGRESS_IP}", s.ingress)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		out, err := s.pods.Exec(ctx, egress.ControlClient, "curl -sS -f -o /dev/null -m 5 '"+url+"'")
		if err == nil && out.ExitCode == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for an answer from %s: %w; last: exit %d %s", url, errors.Join(ctx.Err(), err), out.ExitCode, out.Stderr)
		case <-tick.C:
		}
	}
}

func (s *Session) need(name string) *future {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.futures[name]; f != nil {
		return f
	}
	f := &future{done: make(chan struct{}), err: fmt.Errorf("%q was never started", name)}
	close(f.done)
	return f
}

func (s *Session) startGateways(ctx context.Context, in *mesh.Installer) error {
	if err := in.Gateways(ctx); err != nil {
		return err
	}
	return s.watchGateways(ctx)
}

func (s *Session) watchGateways(ctx context.Context) error {
	for _, g := range []string{mesh.IngressGateway, mesh.EgressGateway} {
		pod, err := pods.WaitPodReady(ctx, s.cs, mesh.SystemNamespace, "app="+g)
		if err != nil {
			return err
		}
		if err := s.logs.start(ctx, g, mesh.SystemNamespace, pod.Name); err != nil {
			return err
		}
	}
	svc, err := s.cs.CoreV1().Services(mesh.SystemNamespace).Get(ctx, mesh.IngressGateway, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("find the ingress gateway's address: %w", err)
	}
	s.ingress = svc.Spec.ClusterIP
	return nil
}

// Prepare starts the clients of all cases in the background, so that no case waits long for its own.
func (s *Session) Prepare(cases []egress.Case) {
	s.promise(gatewaysFuture, s.gateways)
	for _, c := range cases {
		if v, _ := s.engine.Applicable(c); v != "" {
			continue
		}
		for _, n := range c.Clients() {
			s.launch(n)
		}
	}
}

// alive returns a context that also ends when the cluster dies, with its failure as the cause.
func (s *Session) alive(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		select {
		case <-s.Cluster.Gone():
			cancel(fmt.Errorf("the cluster died: %w", s.Cluster.Failure()))
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil) }
}

// RunCase runs one case; the clients that it names are started if they are not there.
func (s *Session) RunCase(ctx context.Context, c egress.Case) egress.Result {
	ctx, stop := s.alive(ctx)
	defer stop()
	if v, _ := s.engine.Applicable(c); v == "" {
		if err := s.ready(ctx, c); err != nil {
			return egress.Result{Case: c, Verdict: egress.Inconclusive, Why: s.because(err).Error(), Started: time.Now().UTC(), Rerun: s.engine.Rerun(c)}
		}
	}
	r := s.engine.Run(ctx, c)
	if r.Verdict == egress.Inconclusive {
		if cause := s.Cluster.Failure(); cause != nil {
			r.Why = cause.Error() + "\n(seen as: " + r.Why + ")"
		}
	}
	s.mu.Lock()
	if _, done := s.timings["first verdict"]; !done && (r.Verdict == egress.Conforms || r.Verdict == egress.Violates) {
		s.timings["first verdict"] = time.Since(s.start).Seconds()
		s.opts.logf("%6.2fs  first verdict", s.timings["first verdict"])
	}
	s.mu.Unlock()
	return r
}

func (s *Session) ready(ctx context.Context, c egress.Case) error {
	for _, n := range c.Clients() {
		if err := s.launch(n).wait(ctx); err != nil {
			return err
		}
	}
	if slices.Contains(c.Needs.Features, egress.IngressGateway) || slices.Contains(c.Needs.Features, egress.EgressGateway) {
		return s.promise(gatewaysFuture, s.gateways).wait(ctx)
	}
	if c.Policy != "" { // see mesh.Istiod.Quiet: no pod may be starting
		return s.settled(ctx)
	}
	return nil
}

// settled waits until nothing that was started is still starting. Whether it succeeded is the
// business of the cases that need it.
func (s *Session) settled(ctx context.Context) error {
	s.mu.Lock()
	all := slices.Collect(maps.Values(s.futures))
	s.mu.Unlock()
	for _, f := range all {
		select {
		case <-f.done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// Timings are the moments, in seconds since the session's start, at which its steps were complete.
func (s *Session) Timings() map[string]float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]float64{}
	for k, v := range s.timings {
		out[k] = v
	}
	return out
}

// Deviations are what a reader of this session's results must know about the installation.
func (s *Session) Deviations() []string {
	f := s.Cluster.Facts()
	return append(slices.Clone(f.Notes), mesh.Deviations(mesh.Options{OfficialProxy: slices.Contains(f.Features, egress.IstioFilters)})...)
}

// Keep lets an owned cluster live on.
func (s *Session) Keep() error {
	s.owned = false
	return s.Cluster.Detach()
}

// Close removes what the session made: the whole cluster if it brought it up, else its own
// namespaces and rules. It works on a session that is only half open.
func (s *Session) Close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, egress.Patience(60*time.Second))
	defer cancel()
	var all error
	s.end()
	all = errors.Join(all, s.settled(ctx))
	dead := s.Cluster == nil || s.Cluster.Failure() != nil
	if !dead && !s.owned && s.run != "up" && s.rules != nil {
		all = errors.Join(all, s.rules.removeAll(ctx))
		if s.opts.Sabotage == AllowAny {
			all = errors.Join(all, s.setPolicy(ctx, egress.RegistryOnly))
		}
	}
	if s.istiod != nil {
		s.istiod.Close()
	}
	if s.logs != nil {
		s.logs.close()
	}
	if s.pods != nil {
		if !dead && !s.owned && s.run != "up" {
			all = errors.Join(all, s.pods.Remove(ctx))
		} else {
			s.pods.Close()
		}
	}
	if s.Cluster != nil {
		all = errors.Join(all, s.Cluster.Close(ctx))
	}
	return all
}
