package verify

import (
	"bytes"
	"cmp"
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/owenrumney/go-sarif/v3/pkg/report/v210/sarif"

	"mesh-egress-conformance/framework/printable"
)

// SARIF is how a report is written for code scanning.
type SARIF struct {
	// Version is that of this program; "" for none.
	Version string
	// Place is a file, as a Source names it, relative to the folder in which the repository is checked out, with slashes; the full path
	// of one elsewhere; "" where it is no file, such as standard input.
	Place func(file string) string
}

// rule is a kind of result.
type rule struct {
	id, level, is, help string
}

// NotTakenOver is the rule for what of the input is left out, objects that the API server refuses among it.
const NotTakenOver = "not-taken-over"

// rules are all kinds of results, but for the surprises, which have a table of their own.
var rules = []rule{
	{string(Leak), sarif.LevelError, "a call gets out that is not expected", "Keep it in, by changing the object that lets it out, or add it to the file with expectations."},
	{string(Outage), sarif.LevelError, "a call is expected to get out, and does not", "Mend the object that keeps it in, or take it out of the file with expectations."},
	{string(Detour), sarif.LevelError, "a call gets out as expected, and goes another way or is encrypted by somebody else", "Mend the object that leads it, or change via or encrypted in the file with expectations."},
	{string(Opens), sarif.LevelError, "the change opens a call", "With --expectations these alone decide: a change that updates the file passes."},
	{string(Closes), sarif.LevelWarning, "the change closes a call", "Is whoever makes it gone? With --expectations an expected call that is closed is an outage."},
	{string(Redirects), sarif.LevelWarning, "the change leads a call another way, or has it encrypted by somebody else", "Say in the file with expectations which gateway it must go through and who must encrypt it (via, encrypted)."},
	{string(Unclear), sarif.LevelNote, "what the change does to a call was not proven", "Verify again; --verbose prints the steps."},
	{OtherVersion, sarif.LevelWarning, "a call comes out otherwise in another version of Istio", "An upgrade changes it, and no file shows it. Each result has both answers."},
	{NotRestarted, sarif.LevelWarning, "pods of a live cluster run without the sidecar that new ones get", "What is blocked for the workload is not blocked for them until they are restarted."},
	{NotTakenOver, sarif.LevelError, "a part of the input is not taken over, and the result is partial", "Mend the file or the object: everything else was verified without it."},
}

// allRules are those of surprises too.
func allRules() []rule {
	out := slices.Clone(rules)
	for _, s := range surprises {
		out = append(out, rule{s.name, sarif.LevelWarning, s.is, "A surprise is something that the objects do and hardly anybody expects. Each result has the reason, the calls that prove it, and a remedy."})
	}
	return out
}

// SARIF is verify.sarif, of version 2.1.0: one result for each surprise, each deviation, each change and each part of the input that
// was not taken over, at the object that makes it so. What is unproven, and faults, are notifications of a run that did not succeed.
func (r *Report) SARIF(o SARIF) ([]byte, error) {
	w := &sarifWriter{r: printable.Copy(r), o: o, run: sarif.NewRun(), levels: map[string]string{}}
	driver := sarif.NewToolComponent().WithName("egressctl")
	if o.Version != "" {
		driver.WithVersion(o.Version)
	}
	for _, x := range allRules() {
		w.levels[x.id] = x.level
		driver.AddRule(sarif.NewRule(x.id).WithDescription(x.is).WithHelp(sarif.NewMultiformatMessageString().WithText(x.help)).
			WithDefaultConfiguration(sarif.NewReportingConfiguration().WithLevel(x.level)))
	}
	w.run.WithTool(sarif.NewTool().WithDriver(driver))
	w.results()
	w.run.AddInvocation(w.invocation())
	var b bytes.Buffer
	if err := sarif.NewReport().AddRun(w.run).PrettyWrite(&b); err != nil {
		return nil, fmt.Errorf("encode the report as SARIF: %w", err)
	}
	return append(b.Bytes(), '\n'), nil
}

// sarifWriter makes a run of a report.
type sarifWriter struct {
	r      *Report
	o      SARIF
	run    *sarif.Run
	levels map[string]string // of rules
}

func (w *sarifWriter) results() {
	for _, d := range w.r.Deviations {
		said := []string{fmt.Sprintf("%s: %s → %s%s: %s", d.Kind, d.From, d.To, asText(d.As), d.What), by(d.By), d.Remedy}
		if d.Rule != "" {
			said = append(said, "expected in "+d.Rule)
		}
		w.result(finding{rule: string(d.Kind), said: said, at: d.By, call: d.From + " " + d.To + asText(d.As)})
	}
	for _, c := range w.r.Changes {
		level := ""
		if c.Kind == Opens && w.r.Expected != "" {
			level = sarif.LevelNote // the expectations decide
		}
		from := strings.Join(c.From, ", ")
		text := fmt.Sprintf("%s since %s: %s → %s%s: was %s, is %s", c.Kind, w.r.Base, from, c.To, asText(c.As), c.Before, c.After)
		w.result(finding{rule: string(c.Kind), level: level, said: []string{text, by(c.By)}, at: c.By, call: from + " " + c.To + asText(c.As)})
	}
	for _, s := range w.r.Surprises {
		w.result(finding{rule: s.Name, said: []string{s.Title + ": " + s.Why, "proof: " + strings.Join(s.Proof, "; "), "remedy: " + s.Remedy}, at: s.Objects})
	}
	for _, m := range w.r.Mistakes {
		w.result(finding{rule: NotTakenOver, said: []string{m.What, m.Remedy}, at: []Source{{File: m.File, Line: m.Line}}, call: m.What})
	}
}

// finding is a result in the making.
type finding struct {
	rule, level string // level is the rule's where it is ""
	said        []string
	at          []Source // objects that it is about, the decisive one first
	call        string   // what tells it from others of its rule at the same place
}

// by names the objects that decide; "" where there are none.
func by(of []Source) string {
	if len(of) == 0 {
		return ""
	}
	return "by " + bySources(of)
}

func (w *sarifWriter) result(of finding) {
	said := slices.DeleteFunc(of.said, func(s string) bool { return s == "" })
	x := w.run.CreateResultForRule(of.rule).WithMessage(sarif.NewTextMessage(strings.Join(said, ". "))).WithLevel(cmp.Or(of.level, w.levels[of.rule]))
	var places []*sarif.Location
	for _, s := range of.at {
		if l := w.location(s); l != nil {
			places = append(places, l)
		}
	}
	if len(places) == 0 { // code scanning shows nothing that has no place
		places = append(places, w.somewhere()...)
	}
	if len(places) > 0 {
		x.AddLocation(places[0])
		x.RelatedLocations = append(x.RelatedLocations, places[1:]...)
	}
	x.WithPartialFingerprints(map[string]string{"call/v1": of.call})
}

// location of an object; nil where it is in no file. Objects that a template has made have no line, and code scanning wants one.
// Neither has what is gone since the base: its line is that of a text that nobody sees any more.
func (w *sarifWriter) location(s Source) *sarif.Location {
	file, gone := strings.CutPrefix(s.File, w.r.Base+":")
	gone = gone && w.r.Base != ""
	if !gone {
		file = w.o.Place(s.File)
	}
	if file == "" {
		return nil
	}
	line := max(s.Line, 1)
	if gone {
		line = 1
	}
	uri := url.URL{Path: file}
	if path.IsAbs(file) {
		uri.Scheme = "file"
	}
	out := sarif.NewLocationWithPhysicalLocation(sarif.NewPhysicalLocation().WithArtifactLocation(sarif.NewSimpleArtifactLocation(uri.String())).WithRegion(sarif.NewRegion().WithStartLine(line)))
	if s.Object != "" {
		out.WithMessage(sarif.NewTextMessage(s.Object))
	}
	return out
}

// somewhere is the first file that the report names: that is where what is assumed and what is nobody's object is told.
func (w *sarifWriter) somewhere() []*sarif.Location {
	for _, a := range w.r.Answers {
		for _, s := range slices.Concat(a.By, a.question.About) {
			if l := w.location(Source{File: s.File}); l != nil {
				return []*sarif.Location{l}
			}
		}
	}
	return nil
}

// invocation says whether the run has proven everything.
func (w *sarifWriter) invocation() *sarif.Invocation {
	out := sarif.NewInvocation().WithExecutionSuccessful(true)
	failed := func(text string) {
		out.WithExecutionSuccessful(false)
		out.AddToolExecutionNotification(sarif.NewNotification().WithLevel(sarif.LevelError).WithMessage(sarif.NewTextMessage(text)))
	}
	for _, l := range w.r.InPlace.lines() {
		out.AddToolExecutionNotification(sarif.NewNotification().WithLevel(sarif.LevelNote).WithMessage(sarif.NewTextMessage(l)))
	}
	for _, f := range w.r.Faults {
		failed(f)
	}
	for _, a := range w.r.Answers {
		if a.State == Unproven {
			failed(fmt.Sprintf("unproven: %s → %s%s: %s", a.From, a.To, asText(a.As), a.Unproven))
		}
	}
	return out
}
