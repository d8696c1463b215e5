// Package harness puts the parts together: a cluster, an Istio in it, client pods and the engine. A
// Session is what both the suites and egressctl run cases in, so both run the same thing.
package harness

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"time"

	"mesh-egress-conformance/framework/cluster"
	"mesh-egress-conformance/framework/components"
	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/fixture"
	"mesh-egress-conformance/framework/internet"
	"mesh-egress-conformance/framework/limits"
	"mesh-egress-conformance/framework/mesh"
	"mesh-egress-conformance/framework/pods"
	"mesh-egress-conformance/framework/provider"
	"mesh-egress-conformance/framework/schedule"
)

// Options say what to run in.
type Options struct {
	Provider string
	Place    provider.Options
	Name     string
	Istio    string
	// IstioSource is a folder with Istio's source, which is built in place of the release's; "" for none.
	IstioSource string
	// Releases is a folder with Istio releases beside those of the catalogue; "" is the user's own.
	Releases string
	// Also are further Istio versions whose istiod and proxy can run beside the cluster's own (egress.Revision.Version).
	Also []string
	// AlsoCached has a cluster that is brought up carry those, too, that clients of Cases are bound to and that are in the cache.
	AlsoCached bool
	Source     components.Source
	Hub        string
	Port       int
	Lanes      int // how many cases may run side by side; 0 means DefaultLanes
	// Watch lets a session into a cluster in which a run is at work. It only observes.
	Watch bool
	// StrictCluster refuses a cluster of the harness's own in which something is that it has not installed.
	StrictCluster bool
	// Internet is the one that cases call. "" is that of the running cluster, or the hermetic one.
	Internet cluster.InternetKind
	// Profile is what a cluster is made for that is brought up (Up).
	Profile cluster.Profile
	// Hosts are what cases may call; nil means those that are built in.
	Hosts    *internet.Hosts
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
	Command []string
	// OnFail hears of a case that fails while all that it has applied is still there; the case goes on when it returns. nil
	// hears nothing.
	OnFail func(context.Context, Failing)
	// OnStep hears of each step of the bring-up that is complete, at once, and OnStage of the cases that Run runs. nil hears
	// nothing.
	OnStep   func(step string)
	OnStage  schedule.Listener
	Progress components.Progress
	// Limits are the time limits; left out, those of this process (limits.SlowEnv).
	Limits limits.Limits
	Log    io.Writer // one line for each step; nil drops them
}

// components are the options that say what a cluster is made of.
func (o *Options) components() components.Options {
	return components.Options{Istio: o.Istio, IstioSource: o.IstioSource, Releases: o.Releases, Also: o.Also, Source: o.Source, Hub: o.Hub, Progress: o.Progress}
}

func (o *Options) logf(format string, a ...any) {
	if o.Log != nil {
		fmt.Fprintf(o.Log, format+"\n", a...)
	}
}

// Session is a cluster with Istio in which cases can run.
type Session struct {
	*site
	hold    hold
	istiods *istiods // nil until the session is joined
	cases   *runner  // nil until there are lanes, and where nothing but questions are asked
	// asker asks in a lane, of a session that is open. examiner tries objects in a cluster of the harness's own; it is nil elsewhere.
	asker    *asker
	examiner *examiner
}

// Cluster is the cluster that the session runs in.
func (s *Session) Cluster() cluster.Cluster { return s.env.cluster }

// EmbeddedFeatures are those of an embedded cluster with locally built parts.
var EmbeddedFeatures = []egress.Feature{egress.Hermetic, egress.MeshConfig, egress.IngressGateway, egress.EgressGateway, egress.Credential, egress.TPROXY, egress.GatewayAPI, egress.NFTables, egress.NetworkPolicy, egress.IPv6}

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
	case o.Provider != provider.Existing: // held before anybody can know that there is no cluster
		s.hold.lock, err = acquireByName(store, o.Provider, o.Name, s.hold.run)
	}
	var c cluster.Cluster
	if err == nil {
		c, err = p.Open(ctx, o.Name)
	}
	switch {
	case errors.Is(err, cluster.ErrNotFound) && !o.Watch:
		err = s.bringUp(ctx, p, store)
	case err == nil && c.Facts().Foreign:
		o.logf("using the cluster of context %s, which belongs to somebody else", c.Name())
		s.env = environment{cluster: c}
		err = s.useExisting(ctx, store)
	case err == nil && !o.Watch && c.Facts().Profile != cluster.Standard:
		err = CasesFit(c)
	case err == nil:
		o.logf("using the running cluster %s", o.Name)
		err = s.useRunning(ctx, c, store)
	}
	if err == nil {
		err = s.hold.lock.complete()
	}
	if err != nil {
		return nil, errors.Join(s.because(ctx, err), s.Close(context.WithoutCancel(ctx)))
	}
	return s, nil
}

// sameInternet demands that a running cluster reaches the internet that was asked for.
func sameInternet(c cluster.Cluster, want cluster.InternetKind) error {
	if have := c.Facts().Internet; want != "" && want != have {
		return fmt.Errorf("the running cluster %s reaches the %s internet, not the %s one: take it down, or choose another --name", c.Name(), have, want)
	}
	return nil
}

// sameIstio demands that a running cluster of the harness has the Istio that was asked for, if one was.
func sameIstio(ctx context.Context, c cluster.Cluster, o Options) error {
	if err := CarriesIstios(c, o.Also); err != nil {
		return err
	}
	if o.Istio == "" && o.IstioSource == "" {
		return nil
	}
	want, err := components.Find(ctx, o.components())
	if err != nil {
		return err
	}
	have := c.Facts()
	if o.IstioSource == "" && o.Istio == want.Version && have.Istio == want.Version || have.IstioTag == want.Release {
		return nil
	}
	return fmt.Errorf("the running cluster %s has Istio %s, not %s: take it down, or choose another --name", c.Name(), have.IstioTag, want.Release)
}

// Up brings a cluster up with Istio, both gateways and the base clients, and lets it live on.
func Up(ctx context.Context, o Options) (*Session, error) {
	s, p, store, err := open(o)
	if err != nil {
		return nil, err
	}
	s.hold.run = "" // what belongs to the cluster and not to a run
	if s.hold.lock, err = acquireByName(store, o.Provider, o.Name, s.hold.run); err == nil {
		err = s.bringUp(ctx, p, store)
	}
	if err == nil {
		err = s.Ready(ctx)
	}
	if err == nil && o.Profile == cluster.IstioDocs {
		err = s.prepareForDocs(ctx)
	}
	if err == nil {
		err = errors.Join(s.Keep(), s.hold.lock.complete())
	}
	if err != nil {
		return nil, errors.Join(s.because(ctx, err), s.Close(context.WithoutCancel(ctx)))
	}
	return s, nil
}

// Ready waits for the base clients and both gateways.
func (s *Session) Ready(ctx context.Context) error {
	for _, n := range append([]string{gatewaysStartup}, baseClients...) {
		if err := s.starter.lookup(n).wait(ctx); err != nil {
			return err
		}
	}
	s.times.mark("everything ready")
	return nil
}

// open checks the options and opens the provider; nothing runs yet.
func open(o Options) (*Session, cluster.Provider, *components.Store, error) {
	if o.IstioSource != "" && o.Provider == provider.Existing {
		return nil, nil, nil, fmt.Errorf("the Istio of %s cannot be installed on an existing cluster, which pulls its images from a registry: install it there yourself, or let the harness make the cluster (--provider embedded or kind)", o.IstioSource)
	}
	o.Clients = slices.Clone(o.Clients)
	if o.Limits == (limits.Limits{}) {
		o.Limits = limits.Process()
	}
	if _, err := egress.RevisionsOf(o.Clients); err != nil {
		return nil, nil, nil, err
	}
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
	if o.Hosts == nil {
		var err error
		if o.Hosts, err = internet.DefaultHosts(); err != nil {
			return nil, nil, nil, err
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
	return newSession(o), p, store, nil
}

func newSession(o Options) *Session {
	s := &Session{site: &site{opts: o, times: newRecorder(o.logf, o.OnStep)}, hold: hold{run: fmt.Sprintf("run-%x", time.Now().UnixNano()&0xffffffffff)}}
	s.starter = newStarter(o.Clients, o.Limits, o.logf, s.alive)
	return s
}

// Timings are the moments, in seconds since the session's start, at which its steps were complete.
func (s *Session) Timings() map[string]float64 { return s.times.all() }

// Keep lets an owned cluster live on.
func (s *Session) Keep() error {
	s.hold.temporary = false
	return cluster.Detach(s.env.cluster)
}

// Close removes what the session made: the whole cluster if it brought it up, else its own
// namespaces and rules. It works on a session that is only half open.
func (s *Session) Close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.opts.Limits.Cluster.Close)
	defer cancel()
	var all error
	all = errors.Join(all, s.starter.close(ctx))
	dead := s.env.dead()
	if !dead && !s.hold.temporary && s.hold.run != "" && s.istiods != nil {
		if s.cases != nil {
			all = errors.Join(all, s.cases.removeAll(ctx))
		}
		all = errors.Join(all, s.opts.Sabotage.mend(ctx, s.istiods.target()))
		if s.env.ours && !s.opts.Watch {
			all = errors.Join(all, mesh.RestoreConfig(ctx, s.conn.cs), pods.Return(ctx, s.conn.cs))
		}
	}
	if s.examiner != nil && s.examiner.guests && !dead && !s.hold.temporary {
		all = errors.Join(all, sendGuestsAway(ctx, s.env.cluster))
	}
	if s.istiods != nil {
		s.istiods.close()
	}
	if s.conn != nil {
		s.conn.close()
	}
	all = errors.Join(all, s.hold.remove(ctx, s.conn, dead))
	if s.istiods != nil && !dead && !s.hold.temporary && all == nil {
		all = s.istiods.revisions.forget(ctx)
	}
	all = errors.Join(all, s.env.close(ctx))
	if s.hold.lock != nil {
		all = errors.Join(all, s.hold.lock.end(dead || all == nil))
	}
	return all
}
