package suites_test

import (
	"context"
	"errors"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"mesh-egress-conformance/fixtures"
	"mesh-egress-conformance/framework/cluster"
	"mesh-egress-conformance/framework/components"
	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/harness"
	"mesh-egress-conformance/framework/provider"
	"mesh-egress-conformance/framework/remote"
	"mesh-egress-conformance/framework/report"
	"mesh-egress-conformance/framework/schedule"
)

var (
	folder  *report.Folder
	outcome *report.Report // of the run, once its clean-up has begun
	openErr error          // why there was no run
)

// suiteRun is the session of the suite and the run in it.
type suiteRun struct {
	session *harness.Session
	run     *harness.Run
	server  *remote.Server
}

// begin opens the session in which the chosen cases run.
func begin(ctx context.Context, run []egress.Case) *suiteRun {
	folder, openErr = report.OpenFolder(*outDir)
	Expect(openErr).NotTo(HaveOccurred())
	var s *harness.Session
	s, openErr = harness.Open(ctx, options(ctx, run))
	Expect(openErr).NotTo(HaveOccurred())
	c := &suiteRun{session: s, run: s.Begin(context.WithoutCancel(ctx), run, folder)}
	if c.server, openErr = remote.Serve(run, c.run); openErr != nil {
		openErr = errors.Join(openErr, s.Close(context.WithoutCancel(ctx)))
	}
	Expect(openErr).NotTo(HaveOccurred())
	return c
}

// runCase runs a case of this process.
func (c *suiteRun) runCase(ctx context.Context, k egress.Case, hear schedule.Listener) (egress.Result, error) {
	return c.run.Case(ctx, k, hear), nil
}

// finish ends the run and closes the session, and returns everything that went wrong outside any case.
func (c *suiteRun) finish(ctx context.Context) []string {
	served := c.server.Close() // first: no case is under way then
	outcome = c.run.End(ctx)
	if err := errors.Join(served, c.session.Close(ctx)); err != nil {
		outcome.Faults = append(outcome.Faults, "clean-up: "+err.Error())
	}
	return outcome.Faults
}

func options(ctx context.Context, run []egress.Case) harness.Options {
	src, err := components.ParseSource(*source)
	Expect(err).NotTo(HaveOccurred())
	sab, err := harness.ParseSabotage(*sabotage)
	Expect(err).NotTo(HaveOccurred())
	where := provider.Options{Kubeconfig: *kubecfg}
	if *place == provider.Auto {
		store, err := components.OpenStore()
		Expect(err).NotTo(HaveOccurred())
		*place, err = provider.Choose(ctx, store, where)
		Expect(err).NotTo(HaveOccurred())
	}
	out, err := cluster.ParseInternet(*outside)
	Expect(err).NotTo(HaveOccurred())
	return harness.Options{
		Internet: out, Provider: *place, Place: where, Cases: run, Name: *name, Components: components.Options{Istio: *istio, Source: src}, Sabotage: sab, Lanes: *lanes,
		Clients: clients, Fixtures: fixtures.FS, Log: GinkgoWriter,
	}
}
