// Package e2e shows how a team has egress cases in a suite of its own, with Ginkgo and e2e-framework: its cases lie
// beside it, its cluster is the one of KUBECONFIG. Copy it; what matters is harness.Open, Session.Begin and the matchers.
//
//	KUBECONFIG=... go test ./samples/e2e
//	KUBECONFIG=... ginkgo -v --label-filter payments --flake-attempts 2 --junit-report egress.xml ./samples/e2e
package e2e

import (
	"context"
	"os"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	"sigs.k8s.io/e2e-framework/klient/wait"
	"sigs.k8s.io/e2e-framework/klient/wait/conditions"
	"sigs.k8s.io/e2e-framework/pkg/envconf"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/harness"
	"mesh-egress-conformance/framework/input"
	. "mesh-egress-conformance/framework/matchers"
	"mesh-egress-conformance/framework/provider"
	"mesh-egress-conformance/framework/report"
	"mesh-egress-conformance/framework/schedule"
	"mesh-egress-conformance/suites"
)

func TestMain(m *testing.M) {
	provider.ChildMain() // this program plays the hermetic internet inside the cluster
	os.Exit(m.Run())
}

func TestEgress(t *testing.T) {
	if os.Getenv("KUBECONFIG") == "" {
		t.Skip("KUBECONFIG names no cluster")
	}
	RegisterFailHandler(Fail)
	RunSpecs(t, "egress")
}

// folder has the team's cases.
const folder = "cases"

var cases, clients, loadErr = suites.LoadMore(input.Dir(folder))

var (
	cfg     = envconf.NewWithKubeConfig(os.Getenv("KUBECONFIG"))
	session *harness.Session
	run     *harness.Run
)

var _ = BeforeSuite(func(ctx SpecContext) {
	Expect(loadErr).NotTo(HaveOccurred())
	By("e2e-framework's own helpers see the same cluster")
	istiod := &appsv1.Deployment{}
	client, err := cfg.NewClient()
	Expect(err).NotTo(HaveOccurred())
	Expect(client.Resources().Get(ctx, "istiod", "istio-system", istiod)).To(Succeed())
	available := conditions.New(client.Resources()).DeploymentAvailable(istiod.Name, istiod.Namespace)
	Expect(wait.For(available, wait.WithContext(ctx), wait.WithTimeout(2*time.Minute))).To(Succeed())

	session, err = harness.Open(ctx, harness.Options{
		Provider: provider.Existing, Place: provider.Options{Kubeconfig: cfg.KubeconfigFile()},
		Cases: cases, OwnCases: true, Clients: clients, Fixtures: input.Dir(folder), Log: GinkgoWriter,
		Command: []string{"egressctl", "run", "--cases", "samples/e2e/" + folder}, // for the lines that run a case again
	})
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(func(ctx SpecContext) { Expect(session.Close(context.WithoutCancel(ctx))).To(Succeed()) })
	out, err := report.OpenFolder(GinkgoT().TempDir())
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(out.Close)
	run = session.Begin(context.WithoutCancel(ctx), cases, out) // it outlives this node
	DeferCleanup(func(ctx SpecContext) {
		Expect(run.End(ctx).Faults).To(BeEmpty())
	})
}, NodeTimeout(10*time.Minute))

var _ = Describe("our cases", func() {
	for _, c := range cases {
		It(c.Claim, Label(c.Labels...), func(ctx SpecContext) {
			Expect(run.Case(ctx, c, func(e schedule.Event) { By(string(e.Stage)) })).To(Conform())
		})
	}
})

// What is as it is, without a rule of ours: one probe, all witnesses.
var _ = Describe("without a rule", Label("payments"), func() {
	It("nothing leaves the mesh", func(ctx SpecContext) {
		Expect(session.Observe(ctx, egress.GET("client", "https://httpbin.org/headers"))).To(BeBlocked())
	})
})
