// Package e2e shows how a team that has tests of its own with e2e-framework runs egress cases in them: its
// cases lie beside the test, its cluster is the one of KUBECONFIG. Plain `go test` or Ginkgo works alike:
// what matters is harness.Open and Session.Run.
package e2e

import (
	"context"
	"os"
	"testing"

	"sigs.k8s.io/e2e-framework/pkg/env"
	"sigs.k8s.io/e2e-framework/pkg/envconf"
	"sigs.k8s.io/e2e-framework/pkg/features"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/harness"
	"mesh-egress-conformance/framework/input"
	"mesh-egress-conformance/framework/provider"
	"mesh-egress-conformance/framework/report"
	"mesh-egress-conformance/suites"
)

var testenv env.Environment

func TestMain(m *testing.M) {
	provider.ChildMain() // this program plays the hermetic internet inside the cluster
	testenv = env.NewWithConfig(envconf.NewWithKubeConfig(os.Getenv("KUBECONFIG")))
	os.Exit(testenv.Run(m))
}

func TestEgress(t *testing.T) {
	if os.Getenv("KUBECONFIG") == "" {
		t.Skip("KUBECONFIG names no cluster")
	}
	testenv.Test(t, features.New("egress").Assess("every claim conforms", func(ctx context.Context, t *testing.T, cfg *envconf.Config) context.Context {
		cases, clients, err := suites.LoadMore(input.Dir("cases"))
		if err != nil {
			t.Fatal(err)
		}
		out, err := report.OpenFolder(t.ArtifactDir())
		if err != nil {
			t.Fatal(err)
		}
		defer out.Close()
		s, err := harness.Open(ctx, harness.Options{
			Provider: "existing", Place: provider.Options{Kubeconfig: cfg.KubeconfigFile()},
			Cases: cases, Clients: clients, Fixtures: input.Dir("cases"),
		})
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := s.Close(context.WithoutCancel(ctx)); err != nil {
				t.Error(err)
			}
		}()
		rep := s.Run(ctx, cases, out, func(r egress.Result) {
			if t.Logf("%s: %s", r.Case.Name, r.Verdict); r.Verdict == egress.Violates || r.Verdict == egress.Inconclusive {
				t.Error(report.Explain(r))
			}
		})
		for _, f := range rep.Faults {
			t.Error(f)
		}
		return ctx
	}).Feature())
}
