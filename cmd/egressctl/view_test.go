package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/jedib0t/go-pretty/v6/text"

	"mesh-egress-conformance/framework/components"
	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/harness"
	"mesh-egress-conformance/framework/report"
	"mesh-egress-conformance/framework/schedule"
	"mesh-egress-conformance/framework/terminal"
	"mesh-egress-conformance/framework/terminal/terminaltest"
)

func TestViewLines(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 1, 0, 0, time.UTC)
	ago := func(s int) time.Time { return now.Add(-time.Duration(s) * time.Second) }
	running := func() *runView {
		return &runView{
			since: ago(40), step: "client pods ready", stepped: ago(31), total: 50, began: ago(30),
			counts: map[egress.Verdict]int{egress.Conforms: 9, egress.Violates: 1, egress.Skipped: 5},
			lanes:  []laneView{{"http-a", schedule.StageApplied, ago(2)}, {"", "", ago(1)}, {"tcp-b\x1b[2J", schedule.StageBefore, now}},
			last:   []string{"✗ x 1.0s", "✓ y 0.5s"},
		}
	}
	with := func(change func(*runView)) *runView { r := running(); change(r); return r }
	full := []string{
		"██████░░░░░░░░░░░░░░ 15 of 50 cases, 40s, about 1m45s left: 9 conform, 1 violate, 5 skipped",
		"  lane 1     2s  applied http-a",
		"  lane 2     1s  waits",
		`  lane 3     0s  before  tcp-b\x1b[2J`,
		"  last: ✗ x 1.0s, ✓ y 0.5s",
	}
	for name, x := range map[string]struct {
		s             shown
		columns, rows int
		want          []string
	}{
		"nothing":           {shown{}, 100, 24, nil},
		"components":        {shown{making: []making{{"istiod", "istiod 1.31 from source build", ago(75)}}}, 100, 24, []string{"making istiod 1.31 from source build, 1m15s"}},
		"the very start":    {shown{runs: []*runView{{since: ago(1)}}}, 100, 24, []string{"looking for the cluster and its components, 1s (1s in all)"}},
		"bring-up":          {shown{runs: []*runView{{since: ago(9), step: "API server ready", stepped: ago(4)}}}, 100, 24, []string{"applying Istio's charts, 4s (9s in all)"}},
		"a step of its own": {shown{runs: []*runView{{since: ago(9), step: "something ready", stepped: ago(4)}}}, 100, 24, []string{"something ready, 4s (9s in all)"}},
		"running":           {shown{runs: []*runView{running()}}, 120, 24, full},
		"no room for the bar": {shown{runs: []*runView{running()}}, 60, 24, []string{
			"15 of 50 cases, 40s, about 1m45s left: 9 conform, 1 violate", full[1], full[2], full[3], full[4],
		}},
		"one verdict less": {shown{runs: []*runView{running()}}, 26, 24, []string{
			"15 of 50 cases, 40s, abou", "  lane 1     2s  applied ", full[2], "  lane 3     0s  before  ", "  last: ✗ x 1.0s",
		}},
		"narrow": {shown{runs: []*runView{running()}}, 16, 24, []string{"15 of 50 cases,", "  lane 1     2s", "  lane 2     1s", "  lane 3     0s", "  last: ✗ x 1.0"}},
		"low":    {shown{runs: []*runView{running()}}, 120, 4, []string{full[0], full[1], full[2]}},
		"lowest": {shown{runs: []*runView{running()}}, 120, 1, full[:1]},
		"too early to tell how long": {shown{runs: []*runView{with(func(r *runView) {
			r.counts, r.lanes, r.last = map[egress.Verdict]int{egress.Conforms: 3, egress.Skipped: 40}, nil, nil
		})}}, 120, 24, []string{"█████████████████░░░ 43 of 50 cases, 40s: 3 conform, 40 skipped"}},
		"an upgrade": {shown{runs: []*runView{with(func(r *runView) { r.total, r.upgrade = 0, &upgradeView{"move\x1b[2J", 3, 6, ago(12), 1234, 0} })}}, 120, 24, []string{
			`phase move\x1b[2J (3 of 6), 12s (40s in all): attempts 1234`,
		}},
		"an upgrade that hurts": {shown{runs: []*runView{with(func(r *runView) { r.upgrade = &upgradeView{"move", 3, 6, ago(12), 1234, 5} })}}, 120, 24, []string{
			"phase move (3 of 6), 12s (40s in all): attempts 1234, not as they must be: 5",
		}},
		"an upgrade's clean-up": {shown{runs: []*runView{with(func(r *runView) { r.upgrade, r.removing = &upgradeView{}, ago(3) })}}, 120, 24, []string{"removing what the run has made, 3s"}},
		"clean-up":              {shown{runs: []*runView{with(func(r *runView) { r.removing = ago(3) })}}, 120, 24, []string{"removing what the run has made, 3s"}},
		"over":                  {shown{runs: []*runView{with(func(r *runView) { r.ended = true })}}, 120, 24, nil},
		"several versions in a low terminal": {shown{runs: []*runView{
			with(func(r *runView) { r.title = "1.30" }), {title: "1.31", since: ago(1)},
		}}, 120, 4, []string{strings.Replace(full[0], "█", "1.30: █", 1), full[1], "1.31: looking for the cluster and its components, 1s (1s in all)"}},
	} {
		if got := uncoloured(x.s.lines(now, x.columns, x.rows)); got != strings.Join(x.want, "\n") {
			t.Errorf("%s:\n%s\nwanted\n%s", name, got, strings.Join(x.want, "\n"))
		}
	}
}

func uncoloured(lines []string) string { return text.StripEscape(strings.Join(lines, "\n")) }

func TestWhereAViewIsShown(t *testing.T) {
	master, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	defer tty.Close()
	file, err := os.Create(t.TempDir() + "/file")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for name, x := range map[string]struct {
		f    *os.File
		env  string
		want bool
	}{
		"a terminal":                   {tty, "TERM=xterm", true},
		"CI says no":                   {tty, "TERM=xterm CI=false", true},
		"a file":                       {file, "TERM=xterm", false},
		"no colours":                   {tty, "TERM=xterm NO_COLOR=1", false},
		"CI":                           {tty, "TERM=xterm CI=true", false},
		"a terminal that cannot":       {tty, "TERM=dumb", false},
		"a terminal that nobody knows": {tty, "", false},
	} {
		env := map[string]string{}
		for _, kv := range strings.Fields(x.env) {
			k, v, _ := strings.Cut(kv, "=")
			env[k] = v
		}
		if got := screenOn(x.f, func(k string) string { return env[k] }) != nil; got != x.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

// actor stands in for a session: it tells what a session tells, and prints what one prints, hostile text included.
type actor struct {
	rising func()                // while the cluster comes up
	during func(context.Context) // while a case runs
	err    error
	viewed bool // there is a terminal
}

func (c actor) conduct(ctx context.Context, o harness.Options, how conducted) (*report.Report, error) {
	defer how.tell.over()
	log := o.Log
	if log == nil {
		log = io.Discard
	}
	if (o.OnStage != nil) != c.viewed || (o.OnStep != nil) != c.viewed {
		return nil, errors.New("the view hears nothing of the run, or there should be none")
	}
	step := func(s string) {
		fmt.Fprintf(log, "%6.2fs  %s\n", 1.5, s)
		if o.OnStep != nil {
			o.OnStep(s)
		}
	}
	o.Components.Progress.Start("istiod", "1.31", components.Build)
	step("components in the cache")
	o.Components.Progress.Done("istiod", time.Second, nil)
	if c.rising != nil {
		c.rising()
	}
	if c.err != nil {
		return nil, c.err
	}
	how.tell.round(len(o.Cases))
	var results []egress.Result
	for i, x := range o.Cases {
		o.OnStage.Hear(x, schedule.StageStarted)
		o.OnStage.Hear(x, schedule.StageApplied)
		res := egress.Result{Case: x, Verdict: egress.Conforms, Took: 500 * time.Millisecond}
		if i == 1 {
			res.Verdict, res.Why = egress.Violates, "it is \x1b[2Jnot so"
			fmt.Fprintln(log, "a warning with \x1b]0;a title\x07 and a\rreturn")
		}
		if c.during != nil {
			c.during(ctx)
		}
		if ctx.Err() != nil {
			res = schedule.Unfinished(ctx, egress.Result{Case: x, Took: res.Took})
		}
		o.OnStage.Hear(x, schedule.StageVerdict)
		how.tell.result(res)
		results = append(results, res)
	}
	how.tell.closing()
	if ctx.Err() != nil {
		fmt.Fprintln(log, "the run was interrupted")
	}
	return report.New(report.Environment{Provider: o.Provider}, time.Now(), results), nil
}

// threeCases are the flags that select the cases of a run.
func threeCases(t *testing.T) []string {
	t.Helper()
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	return []string{"run", "--provider", "existing", "--kubeconfig", os.DevNull, "--case", "http-serviceentry,tcp-cidr-v1,dns-auto-stable", "--out", t.TempDir()}
}

// watched is a terminal, of which somebody may wait until something stands there.
type watched struct {
	*terminaltest.Terminal
	written chan struct{} // something was; holds one
}

func (w watched) Write(b []byte) (int, error) {
	n, err := w.Terminal.Write(b)
	select {
	case w.written <- struct{}{}:
	default: // whoever waits has not looked yet
	}
	return n, err
}

// patience is after which time a test gives up to wait for what never comes.
const patience = time.Minute

// await waits until all of the texts stand there at once.
func (w watched) await(t *testing.T, texts ...string) {
	t.Helper()
	over := time.After(patience)
	for {
		got := w.String()
		missing := slices.DeleteFunc(slices.Clone(texts), func(s string) bool { return strings.Contains(got, s) })
		if len(missing) == 0 {
			return
		}
		select {
		case <-w.written:
		case <-over:
			t.Errorf("%q is not shown:\n%s", missing, got)
			return
		}
	}
}

// onTTY runs a command on a terminal of so many columns, and returns what stands there at the end.
func onTTY(t *testing.T, columns uint16, c actor, args ...string) (code int, term *terminaltest.Terminal) {
	t.Helper()
	seen := watched{terminaltest.New(int(columns), ttyRows), make(chan struct{}, 1)}
	return seen.run(t, columns, c, args...), seen.Terminal
}

// ttyRows is how many the terminals of tests have.
const ttyRows = 24

// run runs a command on the terminal.
func (w watched) run(t *testing.T, columns uint16, c actor, args ...string) (code int) {
	t.Helper()
	for k, v := range map[string]string{"TERM": "xterm", "CI": "", "NO_COLOR": ""} {
		t.Setenv(k, v)
	}
	master, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	if err := pty.Setsize(tty, &pty.Winsize{Rows: ttyRows, Cols: columns}); err != nil {
		t.Fatal(err)
	}
	var reading sync.WaitGroup
	reading.Go(func() { io.Copy(crlf{w}, master) })
	c.viewed = true
	code = runWith(args, tty, tty, c.conduct)
	tty.Close()
	reading.Wait()
	return code
}

// crlf undoes what the kernel does to line feeds.
type crlf struct{ w io.Writer }

func (c crlf) Write(b []byte) (int, error) {
	_, err := c.w.Write(bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n")))
	return len(b), err
}

func TestRunOnATerminal(t *testing.T) {
	for _, columns := range []uint16{120, 30} {
		term, ran := watched{terminaltest.New(int(columns), ttyRows), make(chan struct{}, 1)}, 0
		code := term.run(t, columns, actor{
			rising: func() { term.await(t, "starting the cluster's ") },
			during: func(context.Context) { // the view is what stands there while it runs
				term.await(t, fmt.Sprintf("%d of 3 cases, ", ran), "  lane 1 ", "  applied ")
				ran++
			},
		}, threeCases(t)...)
		got := term.String()
		if ran != 3 {
			t.Errorf("%d columns: %d cases ran", columns, ran)
		}
		for _, want := range []string{
			"components: istiod done after 1s", "components in the cache", `a warning with \x1b]0;a title\x07 and a\x0dreturn`,
			"violates       http-serviceentry", "VIOLATES http-serviceentry", `violates http-serviceentry: it is \x1b[2Jnot so`, "3 cases in", "2 conform, 1 violate", "report: ",
		} {
			if strings.Count(got, want) != 1 {
				t.Errorf("%d columns: %q stands there %d times", columns, want, strings.Count(got, want))
			}
		}
		for _, not := range []string{"lane 1", "of 3 cases", "last:", "making", "starting", "conforms       dns-auto-stable"} {
			if strings.Contains(got, not) {
				t.Errorf("%d columns: %q is left on the terminal", columns, not)
			}
		}
		if u := term.Unknown(); code != 1 || len(u) > 0 || t.Failed() {
			t.Errorf("%d columns: exit %d, control characters %v, and\n%s", columns, code, u, got)
		}
	}
}

// Each version of a matrix has a line of its own while it runs, and what is printed stands above with the version before it.
func TestMatrixOnATerminal(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	var ran atomic.Int32
	_, term := onTTY(t, 120, actor{during: func(context.Context) { ran.Add(1) }}, "matrix", "--provider", "embedded", "--istio", "1.30,1.31", "--side-by-side", "2",
		"--case", "http-serviceentry,tcp-cidr-v1,dns-auto-stable", "--out", t.TempDir())
	got := term.String()
	for _, want := range []string{"1.30     1.50s  components in the cache", "1.31   violates       http-serviceentry", "1.31   3 cases in"} {
		if strings.Count(got, want) != 1 {
			t.Errorf("%q stands there %d times", want, strings.Count(got, want))
		}
	}
	if ran.Load() != 6 || strings.Contains(got, "lane 1") || strings.Contains(got, "of 3 cases") || len(term.Unknown()) > 0 || t.Failed() {
		t.Errorf("%d cases ran, control characters %v, and\n%s", ran.Load(), term.Unknown(), got)
	}
}

// Ctrl-C is told above the view, and ends the run.
func TestInterruptOnATerminal(t *testing.T) {
	interrupt := sync.OnceFunc(func() {
		if err := syscall.Kill(os.Getpid(), syscall.SIGINT); err != nil {
			t.Error(err)
		}
	})
	_, term := onTTY(t, 100, actor{during: func(ctx context.Context) { interrupt(); <-ctx.Done() }}, threeCases(t)...)
	got := term.String()
	for _, want := range []string{"egressctl: interrupted, cleaning up", "the run was interrupted", "3 cases in"} {
		if strings.Count(got, want) != 1 || strings.Contains(got, "lane 1") {
			t.Errorf("%q stands there %d times in\n%s", want, strings.Count(got, want), got)
		}
	}
}

// A run that takes too long ends: what had no verdict is inconclusive and unfinished, its report says why, and the run exits 2. The
// time is over before the first case, however fast the machine is.
func TestRunOutOfTime(t *testing.T) {
	var out, errOut bytes.Buffer
	args := threeCases(t)
	folder := args[len(args)-1]
	code := runWith(append(args, "--timeout", "1ns"), &out, &errOut, actor{during: func(ctx context.Context) { <-ctx.Done() }}.conduct)
	if code != exitFault || !strings.Contains(out.String(), "3 inconclusive") || strings.Contains(errOut.String(), "cleaning up") {
		t.Errorf("exit %d, %s%s", code, out.String(), errOut.String())
	}
	r, err := report.Read(filepath.Join(folder, "report.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range r.Cases {
		if c.Verdict != egress.Inconclusive || !c.Unfinished || c.Why != "it has taken longer than --timeout 1ns" {
			t.Errorf("%s is %s: %q", c.Case.Name, c.Verdict, c.Why)
		}
	}
	if len(r.Cases) != 3 {
		t.Errorf("%d cases", len(r.Cases))
	}
}

// What brings a cluster up and no more shows how far it is, on a terminal alone, and nothing of it stays.
func TestRaiseOnATerminal(t *testing.T) {
	failed := errors.New("no room")
	term := terminaltest.New(100, 5)
	v := newView(terminal.New(term, term.Size))
	defer v.close()
	_, err := raise(t.Context(), harness.Options{}, v, func(_ context.Context, o harness.Options) (*harness.Session, error) {
		if got := term.String(); !strings.Contains(got, "looking for the cluster and its components, ") {
			t.Errorf("at first: %q", got)
		}
		fmt.Fprintln(v, "  1.50s  components in the cache")
		o.OnStep("components in the cache")
		if got := term.String(); !strings.Contains(got, "1.50s  components in the cache\nstarting the cluster's processes, ") || strings.Contains(got, "looking") {
			t.Errorf("after a step: %q", got)
		}
		return nil, failed
	})
	if got := term.String(); !errors.Is(err, failed) || got != "  1.50s  components in the cache" {
		t.Errorf("%v, and %q is left", err, got)
	}
	var piped bytes.Buffer
	if _, err := raise(t.Context(), harness.Options{}, &piped, func(_ context.Context, o harness.Options) (*harness.Session, error) {
		if o.OnStep != nil || o.OnStage != nil {
			t.Error("somebody hears of steps that nobody sees")
		}
		return nil, failed
	}); !errors.Is(err, failed) || piped.Len() > 0 {
		t.Errorf("%v, %q", err, piped.String())
	}
}

// What goes wrong before a case runs stands below what was printed, and nothing of the view with it.
func TestRunOnATerminalThatFails(t *testing.T) {
	code, term := onTTY(t, 100, actor{err: errors.New("no such\x07 registry")}, threeCases(t)...)
	if got := term.String(); code != exitFault || !strings.HasSuffix(got, `egressctl: no such\x07 registry`) || strings.Contains(got, "looking for") || len(term.Unknown()) > 0 {
		t.Errorf("exit %d, %v\n%s", code, term.Unknown(), got)
	}
}

// A run into pipes or files has no control characters.
func TestRunIntoAPipe(t *testing.T) {
	t.Setenv("TERM", "xterm")
	for _, flags := range [][]string{nil, {"--quiet"}, {"-v"}} {
		outR, outW, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		errR, errW, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		var out, errOut bytes.Buffer
		var reading sync.WaitGroup
		reading.Go(func() { io.Copy(&out, outR) })
		reading.Go(func() { io.Copy(&errOut, errR) })
		code := runWith(append(threeCases(t), flags...), outW, errW, actor{}.conduct)
		outW.Close()
		errW.Close()
		reading.Wait()
		if code != 1 || !strings.Contains(out.String(), "3 cases in") {
			t.Errorf("%v: exit %d, %s", flags, code, out.String())
		}
		if quiet := strings.Contains(strings.Join(flags, " "), "quiet"); quiet != (errOut.Len() == 0) || !quiet && !strings.Contains(errOut.String(), "conforms       dns-auto-stable") {
			t.Errorf("%v: %q", flags, errOut.String())
		}
		for _, b := range append(out.Bytes(), errOut.Bytes()...) {
			if b < ' ' && b != '\n' && b != '\t' || b == 0x7f {
				t.Errorf("%v: byte %#x is in\n%q%q", flags, b, out.String(), errOut.String())
				break
			}
		}
	}
}
