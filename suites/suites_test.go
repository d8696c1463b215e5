package suites_test

import (
	"context"
	"encoding/json"
	"errors"
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
	out, err := cluster.ParseOutside(*outside)
	Expect(err).NotTo(HaveOccurred())
	return harness.Options{
		Outside: out, Provider: *place, Place: where, Cases: run, Name: *name, Istio: *istio, Source: src, Sabotage: sab, Lanes: *lanes,
		Clients: clients, Fixtures: fixtures.FS, Log: GinkgoWriter,
	}
}

// resultEntry has a case's result as JSON, for whoever reads Ginkgo's own report.
const resultEntry = "result"

// verdict is a case's result, once done is closed.
type verdict struct {
	done   chan struct{}
	result egress.Result
}

var (
	previewing bool
	selected   []string // names of the cases that the filters leave
	verdicts   = map[string]*verdict{}
	folder     *report.Folder
	outcome    *report.Report // of the run, once its clean-up has begun
	openErr    error          // why there was no run
)

// faultsOf begins the failure that tells Ginkgo about the faults of the run, which the report has already.
const faultsOf = "the run had faults: "

// heard says whether every case has its verdict. The run is then about to return by itself.
func heard() bool {
	for _, v := range verdicts {
		select {
		case <-v.done:
		default:
			return false
		}
	}
	return true
}

// The cases run side by side in lanes of one process, which share the pods; a spec waits for the
// verdict of its case. Every spec is Serial, so under ginkgo -p they all run in the first process, and
// only that one needs the cluster.
var _ = SynchronizedBeforeSuite(func(ctx SpecContext) {
	run := chosen()
	for _, c := range run {
		verdicts[c.Name] = &verdict{done: make(chan struct{})}
	}
	folder, openErr = report.OpenFolder(*outDir)
	Expect(openErr).NotTo(HaveOccurred())
	var session *harness.Session
	session, openErr = harness.Open(ctx, options(ctx, run))
	Expect(openErr).NotTo(HaveOccurred())
	life, end := context.WithCancel(context.Background())
	ran := make(chan *report.Report, 1)
	DeferCleanup(func(ctx SpecContext) {
		if !heard() { // Ginkgo ends before its specs have: on a failure with --fail-fast, a timeout, an interrupt
			end()
		}
		outcome = <-ran
		end()
		if err := session.Close(ctx); err != nil {
			outcome.Faults = append(outcome.Faults, "clean-up: "+err.Error())
		}
		if len(outcome.Faults) > 0 {
			Fail(faultsOf + strings.Join(outcome.Faults, "\n"))
		}
	})
	go func() { // Run hears every case before it returns, so no spec waits for ever
		ran <- session.Run(life, run, folder, func(r egress.Result) {
			v := verdicts[r.Case.Name]
			v.result = r
			close(v.done)
		})
	}()
}, func(SpecContext) {}, NodeTimeout(60*time.Minute))

var _ = Describe("egress", Serial, func() {
	for _, c := range cases {
		labels := append(slices.Clone(c.Labels), c.Area)
		It(c.Name+": "+c.Claim, Label(labels...), func(ctx SpecContext) {
			v := verdicts[c.Name]
			select {
			case <-v.done:
			case <-ctx.Done():
				Fail("Ginkgo gave up before the case had a verdict")
			}
			r := v.result
			for _, p := range r.Phases {
				By(fmt.Sprintf("%s: %d probes in %s, push acknowledged: %t", p.Phase, len(p.Probes), p.Took.Round(time.Millisecond), p.Acknowledged))
			}
			addEntry(resultEntry, r)
			switch r.Verdict {
			case egress.Skipped, egress.NotApplicable:
				Skip(r.Why)
			case egress.Conforms, egress.Violates, egress.Inconclusive:
				Expect(r.Verdict).To(Equal(egress.Conforms), report.Explain(r))
			}
		})
	}
})

// chosen are the cases that the filters leave.
func chosen() []egress.Case {
	return slices.DeleteFunc(slices.Clone(cases), func(c egress.Case) bool { return !slices.Contains(selected, c.Name) })
}

// addEntry attaches a value to the spec as JSON, which is what survives between processes.
func addEntry(name string, v any) {
	b, err := json.Marshal(v)
	Expect(err).NotTo(HaveOccurred())
	AddReportEntry(name, string(b), ReportEntryVisibilityNever)
}

// The report is that of the run, and not put together from specs: a spec that Ginkgo never began is in it too.
var _ = ReportAfterSuite("truth table", func(r Report) {
	if previewing || folder == nil {
		return
	}
	defer folder.Close()
	if outcome == nil {
		outcome = report.None(report.Environment{Provider: *place, Cluster: *name, Istio: *istio, Sabotage: *sabotage}, r.StartTime, chosen(), errors.Join(openErr, errNoRun))
	}
	outcome.Faults = append(outcome.Faults, suiteFaults(r)...)
	err := outcome.WriteAll(folder)
	Expect(errors.Join(outcome.WriteText(os.Stdout, report.Text{}), err)).To(Succeed())
})

var errNoRun = errors.New("the suite's set-up failed")

// suiteFaults are failures of set-up and clean-up that belong to no case.
func suiteFaults(r Report) []string {
	var out []string
	for _, s := range r.SpecReports {
		if s.LeafNodeType != types.NodeTypeIt && s.Failed() && !strings.HasPrefix(s.FailureMessage(), faultsOf) {
			out = append(out, s.LeafNodeType.String()+": "+s.FailureMessage())
		}
	}
	return out
}
