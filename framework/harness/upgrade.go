package harness

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mesh-egress-conformance/framework/cluster"
	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/fixture"
	"mesh-egress-conformance/framework/mesh"
	"mesh-egress-conformance/framework/upgrade"
)

// Strategies of an upgrade.
const (
	ByRevision = "revision" // a canary istiod, to which the workloads move; then the old one goes
	InPlace    = "in-place" // istiod itself is replaced, and the workloads restarted
	Rollback   = "rollback" // a canary istiod, to which the workloads move, and from which they move back; then it goes
)

// Sabotages of an upgrade.
const (
	OpenPolicy = "open-policy" // the callers reach everything for two seconds
	ClosedHost = "closed-host" // they do not reach an allowed host for two seconds
)

// spoiledFor is how long.
const spoiledFor = 2 * time.Second

// UpgradeOptions say how a session upgrades its Istio. The session's cluster is its own, and has the images of To.
type UpgradeOptions struct {
	To       string // minor version
	Strategy string
	Sabotage string        // "", OpenPolicy or ClosedHost
	Replicas int           // of the workload
	Pace     time.Duration // between two attempts of a pod at a target
	Dwell    time.Duration // how long each phase goes on once its work is done
	// OnPhase hears of each phase that begins, the n-th of so many, and OnAttempt of each attempt of a caller from the first phase
	// on, whether it came out as it must, as far as the caller knows. nil hears nothing. They are called at once, and must not block.
	OnPhase   func(name string, n, of int)
	OnAttempt func(fine bool)
}

// Check finds mistakes in the options.
func (o UpgradeOptions) Check() error {
	switch {
	case !slices.Contains([]string{ByRevision, InPlace, Rollback}, o.Strategy):
		return fmt.Errorf("strategy %q is unknown: use %s, %s or %s", o.Strategy, ByRevision, InPlace, Rollback)
	case !slices.Contains([]string{"", OpenPolicy, ClosedHost}, o.Sabotage):
		return fmt.Errorf("sabotage %q is unknown to an upgrade: use %s or %s", o.Sabotage, OpenPolicy, ClosedHost)
	case o.Replicas < 1 || o.Replicas > 10:
		return fmt.Errorf("%d replicas: 1 to 10 are possible", o.Replicas)
	case o.Pace < 100*time.Millisecond || o.Pace > 2*time.Second:
		return fmt.Errorf("pace %s: 100ms to 2s are possible", o.Pace)
	case o.Dwell < time.Second || o.Dwell > 10*time.Minute:
		return fmt.Errorf("dwell %s: 1s to 10m are possible", o.Dwell)
	}
	return nil
}

// upgradePhase is a part of an upgrade.
type upgradePhase struct {
	name string
	do   func(ctx context.Context) error
}

// upgrader is an upgrade under way.
type upgrader struct {
	s        *site
	istiods  *istiods
	o        UpgradeOptions
	from, to cluster.Istio
	callers  *callers
	canary   egress.Revision
	record   upgrade.Record
}

// Upgrade upgrades the session's Istio under traffic, and says what that has done to it. An error means that there is nothing
// to say; an upgrade that fails under way has its report, with faults.
func (s *Session) Upgrade(ctx context.Context, o UpgradeOptions) (*upgrade.Report, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	if !s.hold.temporary {
		return nil, fmt.Errorf("the cluster %s runs already, and an upgrade leaves another Istio behind: choose another --name", s.env.cluster.Name())
	}
	if s.env.internet == nil {
		return nil, errors.New("an upgrade needs the hermetic internet, whose arrivals prove what has got out")
	}
	to := slices.IndexFunc(s.env.facts.Istios(), func(i cluster.Istio) bool { return i.Version == o.To })
	if to < 0 {
		return nil, fmt.Errorf("the cluster has no images of Istio %s", o.To)
	}
	u := &upgrader{s: s.site, istiods: s.istiods, o: o, from: s.env.facts.Istios()[0], to: s.env.facts.Istios()[to]}
	u.canary = egress.Revision{Name: "canary-" + strings.ReplaceAll(o.To, ".", "-"), Version: o.To}
	u.record = upgrade.Record{From: u.from.Version, To: u.to.Version, Strategy: o.Strategy, Sabotage: o.Sabotage, Pace: o.Pace, Targets: callerTargets}
	ctx, stop := s.alive(ctx)
	defer stop()
	u.callers = newCallers(s.site, o)
	if err := s.starter.startGateways().wait(ctx); err != nil {
		return nil, s.because(ctx, err)
	}
	if err := u.callers.start(ctx, u.moment); err != nil {
		return nil, s.because(ctx, errors.Join(err, u.callers.stop(context.WithoutCancel(ctx))))
	}
	u.run(ctx)
	if err := u.callers.stop(context.WithoutCancel(ctx)); err != nil {
		u.fault(err)
	}
	var faults []string
	u.record.Samples, faults = u.callers.heard.samples()
	u.record.Faults = append(u.record.Faults, faults...)
	return upgrade.Of(u.record), nil
}

func (u *upgrader) moment(format string, a ...any) {
	m := upgrade.Moment{At: time.Now(), What: fmt.Sprintf(format, a...)}
	u.callers.mu.Lock()
	defer u.callers.mu.Unlock()
	u.record.Moments = append(u.record.Moments, m)
	u.s.opts.logf("%s", m.What)
}

func (u *upgrader) fault(err error) { u.record.Faults = append(u.record.Faults, err.Error()) }

// phases are those of the strategy.
func (u *upgrader) phases() []upgradePhase {
	none := func(context.Context) error { return nil }
	out := []upgradePhase{{"before", none}}
	switch u.o.Strategy {
	case InPlace:
		out = append(out, upgradePhase{"istiod", u.replaceIstiod}, upgradePhase{"restart", u.restart}, upgradePhase{"gateway", u.moveGateway(u.to, "")})
	case Rollback:
		out = append(out, upgradePhase{"canary", u.installCanary}, upgradePhase{"move", u.moveTo(u.canary.Name)}, upgradePhase{"gateway", u.moveGateway(u.to, u.canary.Name)},
			upgradePhase{"back", u.moveTo("")}, upgradePhase{"gateway-back", u.moveGateway(u.from, "")}, upgradePhase{"canary-goes", u.removeCanary})
	default:
		out = append(out, upgradePhase{"canary", u.installCanary}, upgradePhase{"move", u.moveTo(u.canary.Name)}, upgradePhase{"gateway", u.moveGateway(u.to, u.canary.Name)}, upgradePhase{"old-goes", u.removeOld})
	}
	return append(out, upgradePhase{"after", none})
}

// run goes through the phases; the first that fails is the last.
func (u *upgrader) run(ctx context.Context) {
	phases := u.phases()
	for i, p := range phases {
		x := upgrade.Phase{Name: p.name, From: time.Now()}
		u.s.opts.logf("phase %s", p.name)
		if u.o.OnPhase != nil {
			u.o.OnPhase(p.name, i+1, len(phases))
		}
		err := p.do(ctx)
		if err == nil && i == 1 {
			err = u.spoil(ctx)
		}
		if err == nil {
			err = pause(ctx, u.o.Dwell)
		}
		if err == nil {
			x.Versions, err = u.versions(ctx)
		}
		x.To = time.Now()
		u.record.Phases = append(u.record.Phases, x)
		if err != nil {
			u.fault(fmt.Errorf("phase %s: %w", p.name, u.s.because(ctx, err)))
			return
		}
	}
	last := u.record.Phases[len(u.record.Phases)-1]
	want := u.to.Tag
	if u.o.Strategy == Rollback {
		want = u.from.Tag
	}
	for _, v := range last.Versions {
		if v.Proxy != want || v.Istiod != want {
			u.fault(fmt.Errorf("in the end, the proxy of pod %s is %s under istiod %q, and not %s under %[4]s", v.Pod, v.Proxy, v.Istiod, want))
		}
	}
}

// pause lets traffic go on for a while.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// versions are those of the callers, as their proxies and istiods say.
func (u *upgrader) versions(ctx context.Context) ([]upgrade.Version, error) {
	serving, unasked := u.istiods.changer.Serving(ctx) // the old one may have gone
	gateways, err := u.s.conn.cs.CoreV1().Pods(mesh.SystemNamespace).List(ctx, metav1.ListOptions{LabelSelector: "app=" + mesh.EgressGateway})
	if err != nil {
		return nil, fmt.Errorf("find the egress gateway: %w", err)
	}
	type place struct{ namespace, pod string }
	var all []place
	for _, pod := range u.callers.inService() {
		all = append(all, place{callersNamespace, pod})
	}
	for _, pod := range gateways.Items {
		all = append(all, place{mesh.SystemNamespace, pod.Name})
	}
	var out []upgrade.Version
	for _, p := range all {
		pod := p.pod
		text, err := u.s.conn.pages.Page(ctx, p.namespace, pod, "/server_info", "")
		if err != nil {
			return out, err
		}
		c, err := parseServerInfo(text)
		if err != nil {
			return out, fmt.Errorf("pod %s: %w", pod, err)
		}
		by, known := serving[mesh.Proxy(pod, p.namespace)]
		if !known {
			return out, fmt.Errorf("no istiod serves the proxy of pod %s: %w", pod, errors.Join(errors.New("of those that answer, none has a connection of it"), unasked))
		}
		out = append(out, upgrade.Version{Pod: pod, Proxy: c.Proxy, Envoy: c.Envoy, Revision: by.Revision, Istiod: by.Version})
	}
	return out, nil
}

func (u *upgrader) installCanary(ctx context.Context) error {
	if err := u.istiods.revisions.install(ctx, u.canary); err != nil {
		return err
	}
	u.moment("the istiod of revision %s, Istio %s, serves", u.canary.Name, u.to.Tag)
	return nil
}

func (u *upgrader) removeCanary(ctx context.Context) error {
	if err := u.istiods.revisions.remove(ctx, u.canary.Name); err != nil {
		return err
	}
	u.moment("the istiod of revision %s is gone", u.canary.Name)
	return nil
}

// moveTo gives the callers' namespace the label of a revision, "" for the default one, and restarts the callers.
func (u *upgrader) moveTo(revision string) func(context.Context) error {
	return func(ctx context.Context) error {
		if err := u.callers.label(ctx, revision); err != nil {
			return err
		}
		if revision == "" {
			revision = mesh.DefaultRevision
		}
		u.moment("namespace %s has the label of revision %s", callersNamespace, revision)
		return u.restart(ctx)
	}
}

func (u *upgrader) restart(ctx context.Context) error {
	u.moment("the callers are restarted, one after another")
	if err := u.callers.restart(ctx); err != nil {
		return err
	}
	u.moment("all callers are restarted")
	return nil
}

// moveGateway makes the egress gateway one of a version and a revision.
func (u *upgrader) moveGateway(to cluster.Istio, revision string) func(context.Context) error {
	return func(ctx context.Context) error {
		u.moment("the egress gateway is restarted")
		if err := u.s.installer(to).UpgradeGateway(ctx, mesh.EgressGateway, revision); err != nil {
			return err
		}
		if u.o.Strategy == InPlace { // with another revision, its pods are others anyway
			if err := restart(ctx, u.s.conn.cs, mesh.SystemNamespace, mesh.EgressGateway); err != nil {
				return err
			}
		}
		if err := awaitRollout(ctx, u.s.conn.cs, mesh.SystemNamespace, mesh.EgressGateway, u.s.opts.Limits.Pods.Ready); err != nil {
			return err
		}
		u.moment("the egress gateway is Istio %s", to.Tag)
		return nil
	}
}

func (u *upgrader) removeOld(ctx context.Context) error {
	if err := u.s.installer(u.from).RemoveControlPlane(); err != nil {
		return err
	}
	if err := mesh.AwaitGone(ctx, u.s.conn.cs, mesh.DefaultRevision, u.s.opts.Limits.Pods.Ready); err != nil {
		return err
	}
	u.moment("the old istiod is gone")
	return nil
}

func (u *upgrader) replaceIstiod(ctx context.Context) error {
	if err := u.s.installer(u.to).UpgradeControlPlane(ctx); err != nil {
		return err
	}
	u.moment("the chart of istiod %s is applied", u.to.Tag)
	if err := awaitRollout(ctx, u.s.conn.cs, mesh.SystemNamespace, "istiod", u.s.opts.Limits.Pods.Ready); err != nil {
		return err
	}
	u.moment("istiod is %s", u.to.Tag)
	return nil
}

// spoil does for a while what the sabotage says.
func (u *upgrader) spoil(ctx context.Context) error {
	later := context.WithoutCancel(ctx)
	switch u.o.Sabotage {
	case OpenPolicy:
		return u.apart(ctx, openSidecar, "the policy is open", func(objs []*fixture.Object) error {
			_, err := u.s.conn.fix.Apply(ctx, callersNamespace, objs...)
			return err
		}, func(objs []*fixture.Object) error { return u.s.conn.fix.Remove(later, objs...) })
	case ClosedHost:
		return u.apart(ctx, httpbinEntry, "httpbin.org is closed", func(objs []*fixture.Object) error { return u.s.conn.fix.Remove(ctx, objs...) }, func(objs []*fixture.Object) error {
			_, err := u.s.conn.fix.Apply(later, callersNamespace, objs...)
			return err
		})
	}
	return nil
}

// apart does something with objects, and undoes it a while later.
func (u *upgrader) apart(ctx context.Context, text, what string, do, undo func([]*fixture.Object) error) error {
	objs, err := fixture.Parse(ctx, []byte(text))
	if err != nil {
		return err
	}
	if err := do(objs); err != nil {
		return err
	}
	u.moment("SABOTAGE: %s", what)
	err = errors.Join(pause(ctx, spoiledFor), undo(objs))
	u.moment("SABOTAGE: it is as before")
	return err
}
