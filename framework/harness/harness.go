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

	"k8s.io/client-go/kubernetes"

	"mesh-egress-conformance/framework/cluster"
	"mesh-egress-conformance/framework/components"
	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/fixture"
	"mesh-egress-conformance/framework/live"
	"mesh-egress-conformance/framework/mesh"
	"mesh-egress-conformance/framework/pods"
	"mesh-egress-conformance/framework/provider"
)

// Options say what to run in.
type Options struct {
	Provider string
	Place    provider.Options
	Name     string
	Istio    string
	Source   components.Source
	Hub      string
	Port     int
	Lanes    int // how many cases may run side by side; 0 means DefaultLanes
	// Watch lets a session into a cluster in which a run is at work. It only observes.
	Watch bool
	// StrictCluster refuses a cluster of the harness's own in which something is that it has not installed.
	StrictCluster bool
	// Outside is the internet that cases call. "" is that of the running cluster, or the hermetic one.
	Outside  cluster.Outside
	Sabotage Sabotage
	Clients  []egress.Client // all that cases may name
	Fixtures fs.FS
	// AllowInstall lets a session on somebody else's cluster install Istio where there is none.
	AllowInstall bool
	// Cases that are going to run, and the image of client pods ("" chooses): for a cluster of somebody else.
	Cases []egress.Case
	// OwnCases says that they are the user's own: on such a cluster, it is an error and no reason to skip one that
	// it would make objects outside the run's own namespaces.
	OwnCases    bool
	ClientImage string
	// Command runs the same cases again, as a shell's words: program, subcommand, and the flags that were given, but for
	// those that select cases or name the cluster. Nil means egressctl run.
	Command  []string
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
	journal *fixture.Journal // what this run makes; nil for what stays in the cluster
	pods    *pods.Pods
	istiod  *mesh.Istiod
	logs    *mesh.AccessLogs
	changer *mesh.Changer // nil until istiod is there
	lanes   []*world      // one for each lane; the first has the clients as the cases name them
	owned   bool
	// installed says that this session has installed an Istio on somebody else's cluster.
	installed bool
	run       string
	start     time.Time
	ingress   string
	foreign   []foreign // what is in the cluster and not the harness's
	reach     *reach    // nil until a run begins, and for the live internet
	lookOnce  sync.Once // for what a case suspects
	// gateways starts the gateways, or finds them.
	gateways func(context.Context) error
	visit    *visit // nil on a cluster of the harness
	// terms are what is known of the live internet, once it was looked at; nil for the hermetic one.
	terms *live.Constraints

	// life ends when the session is closed; what runs in the background ends with it.
	life context.Context //nolint:containedctx // the session is a lifetime
	end  context.CancelFunc

	mu      sync.Mutex
	futures map[string]*future
	timings map[string]float64
	tenancy *tenancy // nil for a watcher
	// gatewayPods are the running gateways' pods by the gateway's name.
	gatewayPods map[string]string
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

// EmbeddedFeatures are those of an embedded cluster with locally built parts.
var EmbeddedFeatures = []egress.Feature{egress.Hermetic, egress.MeshConfig, egress.IngressGateway, egress.EgressGateway, egress.Credential, egress.TPROXY, egress.GatewayAPI, egress.NFTables}

// baseClients are the ones that every cluster from `egressctl up` has.
var baseClients = []string{"client", egress.ControlClient}

// Open uses the running cluster of that name, or brings one up that Close takes down again.
func Open(ctx context.Context, o Options) (*Session, error) {
	s, p, store, err := open(o)
	if err != nil {
		return nil, err
	}
	switch {
	case o.Watch:
		err = startingIn(store, o.Provider, o.Name)
	case o.Provider != provider.Existing:
		err = s.occupy(store) // held before anybody can know that there is no cluster
	}
	if err == nil {
		s.Cluster, err = p.Open(ctx, o.Name)
	}
	switch {
	case errors.Is(err, cluster.ErrNotFound) && !o.Watch:
		err = s.bringUp(ctx, p, store)
	case err == nil && s.Cluster.Facts().Foreign:
		o.logf("using the cluster of context %s, which belongs to somebody else", s.Cluster.Name())
		err = s.call(ctx, store)
	case err == nil:
		o.logf("using the running cluster %s", o.Name)
		if err = s.sameOutside(); err == nil {
			err = s.attach(ctx, store)
		}
	}
	if err == nil {
		err = s.tenancy.complete()
	}
	if err != nil {
		return nil, errors.Join(s.because(ctx, err), s.Close(context.WithoutCancel(ctx)))
	}
	return s, nil
}

// Up brings a cluster up with Istio, both gateways and the base clients, and lets it live on.
func Up(ctx context.Context, o Options) (*Session, error) {
	s, p, store, err := open(o)
	if err != nil {
		return nil, err
	}
	s.run = "" // what belongs to the cluster and not to a run
	if err = s.occupy(store); err == nil {
		err = s.bringUp(ctx, p, store)
	}
	if err == nil {
		err = s.Ready(ctx)
	}
	if err == nil {
		s.owned = false
		err = errors.Join(s.Cluster.Detach(), s.tenancy.complete())
	}
	if err != nil {
		return nil, errors.Join(s.because(ctx, err), s.Close(context.WithoutCancel(ctx)))
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

// open checks the options and opens the provider; nothing runs yet.
func open(o Options) (*Session, cluster.Provider, *components.Store, error) {
	o.Clients = slices.Clone(o.Clients)
	for i, c := range o.Clients {
		if err := c.Check(); err != nil {
			return nil, nil, nil, err
		}
		if spoil := actions[o.Sabotage].clients; spoil != nil && c.Captured() {
			o.Clients[i] = spoil(c)
		}
	}
	for _, c := range o.Cases {
		if err := fixture.Check(context.Background(), o.Fixtures, c.Fixtures...); err != nil {
			return nil, nil, nil, fmt.Errorf("case %s: %w", c.Name, err)
		}
	}
	store, err := components.OpenStore()
	if err != nil {
		return nil, nil, nil, err
	}
	p, err := provider.Open(o.Provider, store, o.Place)
	if err != nil {
		return nil, nil, nil, err
	}
	life, end := context.WithCancel(context.Background())
	return &Session{
		opts: o, life: life, end: end, start: time.Now(), run: fmt.Sprintf("run-%x", time.Now().UnixNano()&0xffffffffff),
		gatewayPods: map[string]string{}, futures: map[string]*future{}, timings: map[string]float64{},
	}, p, store, nil
}

// alive returns a context that also ends when the cluster dies, with its failure as the cause.
func (s *Session) alive(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		select {
		case <-s.Cluster.Gone():
			cancel(fmt.Errorf("the cluster died: %w", s.failure()))
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil) }
}

// failure is why a cluster that is gone has died.
func (s *Session) failure() error {
	if err := s.Cluster.Failure(); err != nil {
		return err
	}
	return errors.New("somebody took it down")
}

// beginCase runs one case in a lane, up to its verdict, which the returned function makes; the clients that
// it names are started if they are not there.
func (s *Session) beginCase(ctx context.Context, w *world, c egress.Case) (judge func() egress.Result) {
	not := func(v egress.Verdict, why string) func() egress.Result {
		r := w.engine.NotRun(c, v, why)
		return func() egress.Result { return r }
	}
	if v, why := s.applicable(c); v != "" {
		return not(v, why)
	}
	if err := s.ready(ctx, w.lane, c); err != nil {
		return not(egress.Inconclusive, s.because(ctx, err).Error())
	}
	verdict := w.engine.Begin(ctx, c)
	return func() egress.Result { return s.blame(s.concluded(verdict())) }
}

// concluded adds to a result what only the session knows.
func (s *Session) concluded(r egress.Result) egress.Result {
	switch r.Verdict {
	case egress.Conforms, egress.Violates, egress.Inconclusive:
		// A part that has died may have made the client fail where the mesh would not.
		if s.Cluster.Failure() != nil {
			if r.Verdict != egress.Inconclusive {
				r.Why = strings.TrimSpace(fmt.Sprintf("it came out as %q when the cluster was dead: %s", r.Verdict, r.Why))
			}
			r.Verdict = egress.Inconclusive
		}
	case egress.Skipped, egress.NotApplicable:
	}
	s.suspect(r)
	s.mu.Lock()
	if _, done := s.timings["first verdict"]; !done && (r.Verdict == egress.Conforms || r.Verdict == egress.Violates) {
		s.timings["first verdict"] = time.Since(s.start).Seconds()
		s.opts.logf("%6.2fs  first verdict", s.timings["first verdict"])
	}
	s.mu.Unlock()
	return r
}

// waits says whether a case would have to wait for a client that is still starting.
func (s *Session) waits(l lane, c egress.Case) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range c.Clients() {
		f := s.futures[l.actual(n)]
		if f == nil {
			return true
		}
		select {
		case <-f.done:
		default:
			return true
		}
	}
	return false
}

// ready waits for what a case needs.
func (s *Session) ready(ctx context.Context, l lane, c egress.Case) error {
	for _, n := range c.Clients() {
		if err := s.launch(l.actual(n)).wait(ctx); err != nil {
			return err
		}
	}
	if c.Gateway() {
		if err := s.promise(gatewaysFuture, s.gateways).wait(ctx); err != nil {
			return err
		}
	}
	if slices.Contains(c.Needs, egress.GatewayAPI) {
		if err := s.promise(gatewayAPIFuture, s.gatewayAPI).wait(ctx); err != nil {
			return err
		}
	}
	if c.Alone() { // see mesh.Istiod.Quiet: no pod may be starting
		return s.settled(ctx)
	}
	return nil
}

// settled waits until nothing that was started is still starting. Whether it succeeded is the
// business of the cases that need it.
func (s *Session) settled(ctx context.Context) error {
	return s.await(ctx, func(string) bool { return true })
}

// calm waits until nothing is starting that has endpoints.
func (s *Session) calm(ctx context.Context) error {
	return s.await(ctx, func(name string) bool {
		c, err := s.client(name)
		return err != nil || c.Serves() // the gateways are no clients
	})
}

func (s *Session) await(ctx context.Context, which func(name string) bool) error {
	s.mu.Lock()
	var all []*future
	for name, f := range maps.Clone(s.futures) {
		if which(name) {
			all = append(all, f)
		}
	}
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
	if f.Foreign {
		return f.Notes
	}
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
	if !dead && !s.owned && s.run != "" && s.changer != nil {
		for _, w := range s.lanes {
			all = errors.Join(all, w.rules.removeAll(ctx))
		}
		all = errors.Join(all, s.changer.Restore(ctx), s.mend(ctx))
	}
	if s.istiod != nil {
		s.istiod.Close()
	}
	if s.visit != nil && s.visit.internet != nil {
		all = errors.Join(all, s.visit.internet.Close())
	}
	if s.logs != nil {
		s.logs.Close()
	}
	if s.pods != nil {
		s.pods.Close()
	}
	all = errors.Join(all, s.removeOwn(ctx, dead))
	if s.Cluster != nil {
		all = errors.Join(all, s.Cluster.Close(ctx))
	}
	if s.tenancy != nil {
		all = errors.Join(all, s.tenancy.end(dead || all == nil))
	}
	return all
}
