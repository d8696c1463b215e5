package harness

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"mesh-egress-conformance/framework/cluster"
	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/fixture"
	"mesh-egress-conformance/framework/internet"
	"mesh-egress-conformance/framework/limits"
	"mesh-egress-conformance/framework/live"
	"mesh-egress-conformance/framework/mesh"
	"mesh-egress-conformance/framework/pods"
)

// environment is what a session runs in: a cluster, the internet that its pods reach, and what follows from whose the
// cluster is. It is complete before the first case runs and does not change after that.
type environment struct {
	cluster cluster.Cluster
	// facts are the cluster's, with what the session has found out about an existing one.
	facts cluster.Facts
	// ours says that the harness made the cluster: it may change the mesh configuration, and anything else in it.
	ours bool
	// hosts are what cases may call, besides what the cluster itself serves.
	hosts *internet.Hosts
	// internet is nil for the live one, which nobody observes.
	internet cluster.Internet
	// reach knows which hosts the control client does not reach.
	reach       reachability
	constraints []constraint
	// revision is the Istio's.
	revision string
	// custom is what client pods need; nil where the cluster has all of it.
	custom *pods.Customization
	// foreign is what is in the cluster and not the harness's.
	foreign foreignObjects
}

// constraint is a kind of environment in which not every case makes sense.
type constraint struct {
	where string // "on an existing cluster"
	// skipReason says why a case cannot run there; "" if it can. An error means that it is not known.
	skipReason func(egress.Case) (string, error)
}

// reachability is what is known of the hosts that cases call. A host that the control client does not reach proves
// nothing about the mesh, and each case would find it out for itself, after long waits.
type reachability interface {
	// look finds out what the cases need to know before they run.
	look(ctx context.Context, cases []egress.Case) error
	// unreachable says which host of a case cannot be reached; "" for none.
	unreachable(c egress.Case) string
	// suspect looks again, in the background until life ends, where a result hints that a host has died.
	suspect(life context.Context, r egress.Result)
	// summary says which internet this is and what of it cannot be reached.
	summary() string
}

// ownEnvironment is that of a cluster which the harness has made.
func (s *opening) ownEnvironment(c cluster.Cluster) environment {
	e := environment{cluster: c, facts: c.Facts(), ours: true, hosts: s.opts.Hosts, internet: c.Internet(), revision: mesh.DefaultRevision}
	e.constraints = append(e.constraints, constraint{"on this cluster", families{e.hosts, s.opts.Fixtures, s.opts.Clients, slices.Contains(e.facts.Features, egress.IPv6)}.skipReason})
	s.starter.ipv6 = slices.Contains(e.facts.Features, egress.IPv6)
	s.completeEnvironment(&e)
	return e
}

// completeEnvironment adds what does not depend on whose the cluster is.
func (s *opening) completeEnvironment(e *environment) {
	e.constraints = append(e.constraints, constraint{"on this cluster", lacksVersions{e.facts, s.opts.Clients}.skipReason})
	if e.internet == nil {
		known := &live.Constraints{Hosts: e.hosts, Files: s.opts.Fixtures, Found: map[string]live.Host{}}
		e.constraints = append(e.constraints, constraint{"against the live internet", known.SkipReason})
		e.reach = &liveReach{constraints: known, control: s.control, limits: s.opts.Limits.Probe, logf: s.opts.logf}
		return
	}
	e.reach = &hermeticReach{hosts: e.hosts, try: s.tryTarget, logf: s.opts.logf}
}

// extend makes sure that a running internet has the wanted hosts, and returns all that it serves. Hosts that it has,
// alike in all, stay as they are.
func extend(ctx context.Context, c cluster.Cluster, want *internet.Hosts) (*internet.Hosts, error) {
	in, ok := c.Internet().(cluster.Extensible)
	if !ok { // it is the live one
		return want, nil
	}
	have, err := in.Hosts(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask cluster %s for the hosts of its internet: %w", c.Name(), err)
	}
	missing := want.Missing(have)
	if len(missing.Hosts)+len(missing.ClientCertificates) == 0 {
		return have, nil
	}
	if _, err := have.Add(missing); err != nil { // which knows the files that they come from
		return nil, fmt.Errorf("the running cluster %s has hosts that these do not fit (give them other names or addresses, take the cluster down, or choose another --name):\n%w", c.Name(), err)
	}
	if err := in.Add(ctx, missing); err != nil {
		return nil, fmt.Errorf("add hosts to the running cluster %s: %w", c.Name(), err)
	}
	if have, err = in.Hosts(ctx); err != nil {
		return nil, fmt.Errorf("ask cluster %s for the hosts of its internet: %w", c.Name(), err)
	}
	return have, nil
}

// AddHosts adds hosts to a running cluster of the harness. Those that it has, alike in all, stay as they are. It does
// nothing against the live internet, and is an error on an existing cluster, where each run has hosts of its own.
func AddHosts(ctx context.Context, c cluster.Cluster, more *internet.Hosts) error {
	if c.Facts().Foreign {
		return fmt.Errorf("cluster %s belongs to somebody else: hosts are pods there, which a run makes for itself", c.Name())
	}
	_, err := extend(ctx, c, more)
	return err
}

// AddGatewayAPI makes a running cluster of the harness know the Gateway API, in the version that its Istio was made for. It
// changes nothing where that is so, and is an error on somebody else's cluster.
func AddGatewayAPI(ctx context.Context, c cluster.Cluster) error {
	f := c.Facts()
	if f.Foreign {
		return fmt.Errorf("cluster %s belongs to somebody else, who says which version of the Gateway API it has", c.Name())
	}
	client, err := fixture.NewClient(c.RESTConfig(), fixture.ClusterOwner, nil)
	if err != nil {
		return err
	}
	return installGatewayAPI(ctx, client, f, limits.Process().Cluster.GatewayAPI)
}

// installGatewayAPI makes a cluster know the Gateway API, and waits for istiod's classes where it makes them: a Gateway is refused whose
// class is not there, and they come some time after the kinds.
func installGatewayAPI(ctx context.Context, client *fixture.Client, f cluster.Facts, patience time.Duration) error {
	if err := mesh.InstallGatewayAPI(ctx, client, f.Module, f.Istio, patience); err != nil || f.Foreign {
		return err
	}
	return mesh.AwaitGatewayClasses(ctx, client, patience)
}

// skipReason says why a case cannot run here although its needs are met; "" if it can.
func (e *environment) skipReason(c egress.Case) (string, error) {
	for _, x := range e.constraints {
		why, err := x.skipReason(c)
		if err != nil {
			return "", err
		}
		if why != "" {
			return "not " + x.where + ": " + why, nil
		}
	}
	return "", nil
}

// features are what cases can rely on.
func (e *environment) features() []egress.Feature {
	f := slices.Clone(e.facts.Features)
	if e.ours {
		f = append(f, egress.IngressGateway, egress.EgressGateway, egress.GatewayAPI, egress.NFTables)
		if e.internet != nil {
			f = append(f, egress.Credential)
		}
	}
	return f
}

// deviations are what a reader of results must know about the installation.
func (e *environment) deviations() []string {
	if !e.ours {
		return e.facts.Notes
	}
	notes := slices.Clone(e.facts.Notes)
	if n := newest(e.facts); n.Tag != e.facts.IstioTag {
		notes = append(notes, fmt.Sprintf("the CRDs are those of Istio %s, the newest version whose images the cluster has", n.Tag))
	}
	return append(notes, mesh.Deviations(mesh.Options{OfficialProxy: slices.Contains(e.facts.Features, egress.IstioFilters)})...)
}

// limit is the client that makes what cases ask for: on an existing cluster, in namespaces of the run alone.
func (e *environment) limit(c *fixture.Client) *fixture.Client {
	if e.ours {
		return c
	}
	return c.Confined()
}

// failure is why a cluster that is gone has died.
func (e *environment) failure() error {
	if err := e.cluster.Failure(); err != nil {
		return err
	}
	return errors.New("somebody took it down")
}

// dead says whether there is no cluster, or none any more.
func (e *environment) dead() bool { return e.cluster == nil || e.cluster.Failure() != nil }

// close ends what the environment holds open, and the cluster if the session has made it for itself.
func (e *environment) close(ctx context.Context) error {
	var err error
	if c, ok := e.internet.(io.Closer); ok {
		err = c.Close()
	}
	if e.cluster != nil {
		err = errors.Join(err, e.cluster.Close(ctx))
	}
	return err
}
