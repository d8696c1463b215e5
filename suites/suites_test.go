package suites_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"
	. "github.com/onsi/gomega"
	"k8s.io/klog/v2"

	"mesh-egress-conformance/fixtures"
	"mesh-egress-conformance/framework/components"
	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/harness"
	. "mesh-egress-conformance/framework/matchers"
	"mesh-egress-conformance/framework/provider"
	"mesh-egress-conformance/framework/remote"
	"mesh-egress-conformance/framework/report"
	"mesh-egress-conformance/framework/report/html"
	"mesh-egress-conformance/framework/report/reporttest"
	"mesh-egress-conformance/framework/schedule"
	"mesh-egress-conformance/suites"
)

var (
	place    = flag.String("provider", provider.Auto, "where the cluster runs: embedded, kind, existing or auto")
	outside  = flag.String("internet", "", "hermetic, or live")
	kubecfg  = flag.String("kubeconfig", "", "kubeconfig of an existing cluster")
	name     = flag.String("cluster", "suites", "name of the cluster; a running one of that name is used and left")
	istio    = flag.String("istio", "", "Istio version from the component catalogue")
	source   = flag.String("source", string(components.Auto), "where components come from: auto, image or build")
	sabotage = flag.String("sabotage", "", "break the mesh on purpose, in one of the ways of sabotages.yaml, such as allow-any or internet-down")
	lanes    = flag.Int("lanes", 0, "how many cases may run side by side, with ginkgo -p; 0 means the harness's own number")
	outDir   = flag.String("out", "../reports/out", "folder for report.json, junit.xml and debug bundles")
)

func TestMain(m *testing.M) {
	provider.ChildMain()
	klog.SetOutput(io.Discard) // client-go reports every closed stream there
	klog.LogToStderr(false)
	flag.Parse()
	register()
	os.Exit(m.Run())
}

var cases, clients = must(suites.Load())

func must(c []egress.Case, k []egress.Client, err error) ([]egress.Case, []egress.Client) {
	if err != nil {
		panic(err) // the list is part of this program, and unit tests check it
	}
	return c, k
}

// Ginkgo begins the specs in the order that takes least time unless a random one is asked for, each under the file of its case.
func TestOrder(t *testing.T) {
	ordered, err := harness.InOrder(t.Context(), cases, clients, fixtures.FS)
	if err != nil {
		t.Fatal(err)
	}
	previewing = true
	defer func() { previewing = false }()
	var got []string
	for _, s := range PreviewSpecs("the order").SpecReports {
		if s.LeafNodeType == types.NodeTypeIt {
			got = append(got, s.LeafNodeText+" in "+s.LeafNodeLocation.FileName)
		}
	}
	var want []string
	for _, c := range ordered {
		want = append(want, text(c)+" in suites/"+c.File)
	}
	if slices.Equal(got, want) == random() {
		t.Errorf("%q, and by their turns %q", got, want)
	}
}

// text is a case's spec as Ginkgo prints it.
func text(c egress.Case) string { return c.Name + ": " + c.Claim }

// TestSuites runs the cases in a cluster. go test -short leaves it out.
func TestSuites(t *testing.T) {
	if testing.Short() {
		t.Skip("the cases need a cluster, and this is -short")
	}
	RegisterFailHandler(Fail)
	previewing = true // a preview reports too
	leaves := map[string]bool{}
	for _, s := range PreviewSpecs("mesh egress conformance").SpecReports {
		leaves[s.LeafNodeText] = leaves[s.LeafNodeText] || !s.State.Is(types.SpecStateSkipped|types.SpecStatePending)
	}
	selected = slices.DeleteFunc(slices.Clone(cases), func(c egress.Case) bool { return !leaves[text(c)] })
	previewing = false
	RunSpecs(t, "mesh egress conformance")
}

var (
	previewing bool
	selected   []egress.Case // that the filters leave
	// runCase runs one case, in whichever process the session is, and returns its result.
	runCase func(ctx context.Context, c egress.Case, hear schedule.Listener) (egress.Result, error)
	session *suiteRun // in the first process alone
)

// One process has the session. The others of ginkgo -p ask it to run their cases, side by side in its lanes: they share
// the cluster and its client pods, whose start is the dearest thing in a run.
var _ = SynchronizedBeforeSuite(func(ctx SpecContext) []byte {
	session = begin(ctx, selected)
	return []byte(session.server.Address())
}, func(address []byte) {
	if session != nil {
		runCase = session.runCase
		return
	}
	there := remote.Dial(string(address))
	runCase = func(ctx context.Context, c egress.Case, hear schedule.Listener) (egress.Result, error) {
		return there.Case(ctx, c.Name, hear)
	}
}, NodeTimeout(60*time.Minute))

// resultEntry has a case's result as JSON, for whoever reads Ginkgo's own report.
const resultEntry = "result"

// register makes a container for each case, since Ginkgo keeps a priority among outermost ones alone: they begin in the order in which the
// harness's own runs have them, unless somebody asks for a random one. Specs of one container that are alike in their place would begin by
// their texts. A spec's place is the case's file. It is called once the flags are parsed.
func register() {
	ordered, err := harness.InOrder(context.Background(), cases, clients, fixtures.FS)
	if err != nil {
		panic(err) // the list is part of this program, and unit tests check it
	}
	for i, c := range ordered {
		turn := SpecPriority(-i)
		if random() {
			turn = 0
		}
		Describe("egress", turn, func() {
			It(text(c), Label(append(slices.Clone(c.Labels), c.Area)...), types.CodeLocation{FileName: path.Join("suites", c.File), LineNumber: 1}, func(ctx SpecContext) {
				r, err := runCase(ctx, c, func(e schedule.Event) { By(string(e.Stage)) })
				Expect(err).NotTo(HaveOccurred())
				b, err := json.Marshal(r) // which survives between processes
				Expect(err).NotTo(HaveOccurred())
				AddReportEntry(resultEntry, string(b), ReportEntryVisibilityNever)
				if r.Verdict == egress.Skipped || r.Verdict == egress.NotApplicable {
					Skip(r.Why)
				}
				Expect(r).To(Conform())
			})
		})
	}
}

// random says whether Ginkgo is to run the specs in a random order.
func random() bool {
	suite, _ := GinkgoConfiguration()
	return suite.RandomizeAllSpecs
}

// faultsOf begins the failure that tells Ginkgo about the faults of the run, which the report has already.
const faultsOf = "the run had faults: "

var _ = SynchronizedAfterSuite(func() {}, func(ctx SpecContext) {
	if session == nil {
		return // it could not begin, which is a failure already
	}
	if faults := session.finish(ctx); len(faults) > 0 {
		Fail(faultsOf + strings.Join(faults, "\n"))
	}
}, NodeTimeout(10*time.Minute))

// The report is that of the run, and not put together from specs: a spec that Ginkgo never began is in it too.
var _ = ReportAfterSuite("truth table", func(r Report) {
	if previewing || folder == nil {
		return
	}
	defer folder.Close()
	if outcome == nil {
		env := report.Environment{Provider: *place, Cluster: *name, Istio: *istio, Sabotage: *sabotage}
		outcome = report.None(env, r.StartTime, selected, errors.Join(openErr, errNoRun))
	}
	outcome.Faults = append(outcome.Faults, suiteFaults(r)...)
	_, err := outcome.WriteAll(folder, html.Page)
	if b, failed := outcome.JSON(); failed == nil {
		err = errors.Join(err, reporttest.Validate(b))
	}
	_, reporter := GinkgoConfiguration()
	Expect(errors.Join(outcome.WriteText(os.Stdout, report.Text{Table: reporter.Verbosity().GTE(types.VerbosityLevelVerbose)}), err)).To(Succeed())
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
