package suites_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"
	. "github.com/onsi/gomega"
	"k8s.io/klog/v2"

	"mesh-egress-conformance/fixtures"
	"mesh-egress-conformance/framework/cluster"
	"mesh-egress-conformance/framework/components"
	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/harness"
	"mesh-egress-conformance/framework/provider"
	"mesh-egress-conformance/framework/report"
	"mesh-egress-conformance/suites"
)

var (
	place    = flag.String("provider", provider.Auto, "where the cluster runs: embedded, kind, existing or auto")
	outside  = flag.String("internet", "", "hermetic, or live")
	kubecfg  = flag.String("kubeconfig", "", "kubeconfig of an existing cluster")
	name     = flag.String("cluster", "suites", "name of the cluster; a running one of that name is used and left")
	istio    = flag.String("istio", "", "Istio version from the component catalogue")
	source   = flag.String("source", string(components.Auto), "where components come from: auto, image or build")
	sabotage = flag.String("sabotage", "", "break the world on purpose: allow-any or internet-down")
	lanes    = flag.Int("lanes", 0, "how many cases may run side by side; 0 means 4")
	outDir   = flag.String("out", "../reports/out", "folder for report.json, junit.xml and debug bundles")
)

func TestMain(m *testing.M) {
	provider.ChildMain()
	klog.SetOutput(io.Discard) // client-go reports every closed stream there
	klog.LogToStderr(false)
	os.Exit(m.Run())
}

var cases, clients = must(suites.Load())

func must(c []egress.Case, k []egress.Client, err error) ([]egress.Case, []egress.Client) {
	if err != nil {
		panic(err) // the list is part of this program, and unit tests check it
	}
	return c, k
}

func TestSuites(t *testing.T) {
	RegisterFailHandler(Fail)
	previewing = true // a preview reports too
	for _, s := range PreviewSpecs("mesh egress conformance").SpecReports {
		if !s.State.Is(types.SpecStateSkipped | types.SpecStatePending) {
			name, _, _ := strings.Cut(s.LeafNodeText, ":")
			selected = append(selected, name)
		}
	}
	previewing = false
	RunSpecs(t, "mesh egress conformance")
}

func options(ctx context.Context) harness.Options {
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
	out, err := cluster.ParseOutside(*outside)
	Expect(err).NotTo(HaveOccurred())
	return harness.Options{
		Outside: out, Provider: *place, Place: where, Cases: cases, Name: *name, Istio: *istio, Source: src, Sabotage: sab, Lanes: *lanes,
		Clients: clients, Fixtures: fixtures.FS, Log: GinkgoWriter,
	}
}

// environmentEntry carries the environment from the process that ran the specs to the report.
const (
	environmentEntry = "environment"
	resultEntry      = "result"
)

var (
	session    *harness.Session
	previewing bool
	selected   []string // names of the cases that the filters leave
	verdicts   = map[string]chan egress.Result{}
)

// The cases run side by side in lanes of one process, which share the pods; a spec waits for the
// verdict of its case. Every spec is Serial, so under ginkgo -p they all run in the first process, and
// only that one needs the cluster.
var _ = SynchronizedBeforeSuite(func(ctx SpecContext) {
	var err error
	session, err = harness.Open(ctx, options(ctx))
	Expect(err).NotTo(HaveOccurred())
	life, end := context.WithCancel(context.Background())
	done := make(chan struct{})
	DeferCleanup(func(ctx SpecContext) {
		end()
		<-done
		Expect(session.Close(ctx)).To(Succeed())
	})
	var run []egress.Case
	for _, c := range cases {
		if slices.Contains(selected, c.Name) {
			run = append(run, c)
			verdicts[c.Name] = make(chan egress.Result, 1)
		}
	}
	go func() {
		defer close(done)
		session.Run(life, run, *outDir, func(r egress.Result) { verdicts[r.Case.Name] <- r })
	}()
}, func(SpecContext) {}, NodeTimeout(60*time.Minute))

var _ = Describe("egress", Serial, func() {
	for _, c := range cases {
		labels := append(slices.Clone(c.Labels), c.Area)
		It(c.Name+": "+c.Claim, Label(labels...), func(ctx SpecContext) {
			var r egress.Result
			Eventually(ctx, verdicts[c.Name]).WithTimeout(10 * time.Minute).Should(Receive(&r))
			for _, p := range r.Phases {
				By(fmt.Sprintf("%s: %d probes in %s, push acknowledged: %t", p.Phase, len(p.Probes), p.Took.Round(time.Millisecond), p.Acknowledged))
			}
			addEntry(resultEntry, r)
			addEntry(environmentEntry, session.Environment())
			switch r.Verdict {
			case egress.Skipped, egress.NotApplicable:
				Skip(r.Why)
			case egress.Conforms, egress.Violates, egress.Inconclusive:
				Expect(r.Verdict).To(Equal(egress.Conforms), report.Explain(r))
			}
		}, SpecTimeout(11*time.Minute))
	}
})

// addEntry attaches a value to the spec as JSON, which is what survives between processes.
func addEntry(name string, v any) {
	b, err := json.Marshal(v)
	Expect(err).NotTo(HaveOccurred())
	AddReportEntry(name, string(b), ReportEntryVisibilityNever)
}

var _ = ReportAfterSuite("truth table", func(r Report) {
	if previewing {
		return
	}
	var results []egress.Result
	var env report.Environment
	for _, s := range r.SpecReports {
		for _, e := range s.ReportEntries {
			raw, ok := e.GetRawValue().(string)
			if !ok {
				raw = e.StringRepresentation()
			}
			switch e.Name {
			case resultEntry:
				var x egress.Result
				Expect(json.Unmarshal([]byte(raw), &x)).To(Succeed())
				results = append(results, x)
			case environmentEntry:
				Expect(json.Unmarshal([]byte(raw), &env)).To(Succeed())
			}
		}
	}
	slices.SortFunc(results, func(a, b egress.Result) int { return strings.Compare(a.Case.Name, b.Case.Name) })
	rep := report.New(env, r.StartTime, results, suiteFaults(r)...)
	Expect(rep.WriteAll(*outDir)).To(Succeed())
	rep.WriteText(os.Stdout, false)
})

// suiteFaults are failures of set-up and clean-up, which belong to no case.
func suiteFaults(r Report) []string {
	var out []string
	for _, s := range r.SpecReports {
		if s.LeafNodeType != types.NodeTypeIt && s.Failed() {
			out = append(out, s.LeafNodeType.String()+": "+s.FailureMessage())
		}
	}
	return out
}
