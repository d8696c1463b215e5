package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"mesh-egress-conformance/framework/compare"
	"mesh-egress-conformance/framework/components"
	"mesh-egress-conformance/framework/harness"
	"mesh-egress-conformance/framework/provider"
	"mesh-egress-conformance/framework/report"
	"mesh-egress-conformance/framework/report/html"
)

// matrix is one run for each of several Istio versions.
type matrix struct {
	o         *options
	how       comparing
	sel       selection
	out       string
	baselines string // folder for baselines; "" writes none
	atOnce    int    // clusters side by side at most
	lanes     int
	spoil     map[string]string // sabotage by version
}

func matrixCommand(o *options) *cobra.Command {
	m := &matrix{o: o}
	cmd := &cobra.Command{
		Use:     "matrix",
		Short:   "Run the cases on several Istio versions and say what has changed from one to the next",
		Example: "  egressctl matrix --istio 1.30,1.31\n  egressctl matrix --cases ./egress --baselines baselines",
		Long: "Matrix runs the cases once for each version, in a cluster of its own, and compares the runs as egressctl compare does.\n" +
			"Clusters run side by side where memory allows. A version that cannot be installed has a column that says so; after\n" +
			"Ctrl-C the columns that were finished are compared. A cluster that is up already, under the name of --name with the\n" +
			"version behind it (default-1-31), is used and left.\n\n" + comparedExits,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return m.run(cmd) },
	}
	o.addUpFlags(cmd)
	f := cmd.Flags()
	o.addAlsoFlag(cmd)
	f.Lookup("also-istio").Usage += "; each version has the others of them"
	f.Lookup("istio").Usage = "Istio versions, oldest first, such as 1.29,1.30,1.31 (default: all of the component catalogue)"
	m.how.addFlags(cmd)
	f.StringVar(&m.out, "out", "reports/out/matrix", "folder for comparison.html, comparison.json, comparison.md and junit.xml, and for each version's reports")
	f.StringVar(&m.baselines, "baselines", "", "also write each version's baseline below this folder, as VERSION/PROVIDER.json")
	f.IntVar(&m.atOnce, "side-by-side", defaultAtOnce, "how many clusters may run at once, where memory allows")
	f.IntVar(&m.lanes, "lanes", 0, fmt.Sprintf("how many cases may run side by side in each cluster (0 means %d)", harness.DefaultLanes))
	f.StringToStringVar(&m.spoil, "sabotage", nil, "break the world of one version on purpose, as VERSION=NAME; its column is the last one then")
	m.sel.addFlags(cmd)
	addHostsFlag(cmd, &m.sel.hosts)
	return cmd
}

func (m *matrix) run(cmd *cobra.Command) error {
	versions, err := m.versions(cmd.Context())
	if err != nil {
		return usage(err)
	}
	known, err := m.how.load()
	if err != nil {
		return err
	}
	columns, err := m.columns(cmd, versions)
	if err != nil {
		return err
	}
	to, err := openComparison(m.out)
	if err != nil {
		return err
	}
	defer to.Close()
	n := room(m.atOnce, cmd.ErrOrStderr())
	done := sideBySide(cmd.Context(), n, len(columns), func(i int) *report.Report { return columns[i].run(cmd.Context()) })
	var all []*compare.Column
	for i, rep := range done {
		switch c := columns[i]; {
		case rep == nil && c.err == nil:
			all = append(all, compare.NoRun(c.version, fmt.Errorf("%w before it began", errInterrupted)))
		case rep == nil:
			all = append(all, compare.NoRun(c.version, c.err))
		default:
			col, err := compare.Of(c.version, rep)
			if err != nil {
				return err
			}
			col.Page = pageBeside(filepath.Join(c.out, report.JSONFile), m.out)
			all = append(all, col)
		}
	}
	err = m.how.finish(cmd, all, known, to)
	if m.baselines != "" {
		err = errors.Join(err, m.writeBaselines(done))
	}
	return err
}

var errInterrupted = errors.New("interrupted")

// versions are the chosen ones; sabotaged ones come last: they are what is tested, and the others what they are tested
// against.
func (m *matrix) versions(ctx context.Context) ([]string, error) {
	if m.o.provider == provider.Existing || m.o.place.Kubeconfig != "" {
		return nil, errors.New("matrix makes a cluster for each version; on an existing cluster run the cases before and after its upgrade, and compare the two reports (egressctl compare)")
	}
	if m.o.istioSource != "" {
		return nil, errors.New("--istio-source is one version: run it, and compare its report with another (egressctl compare)")
	}
	given := strings.Split(m.o.istio, ",")
	if m.o.istio == "" {
		cat, err := components.LoadCatalogue(m.o.releases)
		if err != nil {
			return nil, err
		}
		given = nil
		for _, i := range slices.Backward(cat.Istio) { // which begins with the newest
			if !slices.Contains(given, i.Version) {
				given = append(given, i.Version)
			}
		}
	}
	out, err := m.o.istioVersions(ctx, given)
	if err != nil {
		return nil, err
	}
	for v, s := range m.spoil {
		if !slices.Contains(out, v) {
			return nil, fmt.Errorf("--sabotage: version %q is none of %s", v, strings.Join(out, ", "))
		}
		if _, err := harness.ParseSabotage(s); err != nil {
			return nil, err
		}
	}
	sound := slices.DeleteFunc(slices.Clone(out), func(v string) bool { return m.spoil[v] != "" })
	spoiled := slices.DeleteFunc(out, func(v string) bool { return m.spoil[v] == "" })
	return append(sound, spoiled...), nil
}

// istioVersions checks versions of Istio that are to be compared, and names those that are left empty.
func (o *options) istioVersions(ctx context.Context, given []string) ([]string, error) {
	var out []string
	for _, v := range given {
		name := strings.TrimSpace(v)
		i, err := components.Find(ctx, components.Options{Istio: name, Releases: o.releases})
		if err != nil {
			return nil, err
		}
		if name = cmp.Or(name, i.Version); slices.Contains(out, name) {
			return nil, fmt.Errorf("--istio: version %s is in it twice", name)
		}
		out = append(out, name)
	}
	if len(out) < 2 {
		return nil, errors.New("--istio: there is nothing to compare: give two versions or more")
	}
	return out, nil
}

// on are the options for one of several versions, in a cluster of its own.
func (o *options) on(version string) *options {
	out := *o
	out.also = others(o.also, version)
	out.istio, out.name = version, o.name+"-"+strings.ToLower(strings.NewReplacer(".", "-", "_", "-").Replace(version))
	return &out
}

// column is the run of one version.
type column struct {
	version string
	ho      harness.Options
	out     string
	log     io.Writer
	conduct conductor
	shown   io.Writer // where the view of its run is, if there is one
	err     error     // why there is no report
}

// columns prepares a run for each version. The cases of a folder are checked against all of them before anything runs.
func (m *matrix) columns(cmd *cobra.Command, versions []string) ([]*column, error) {
	var out []*column
	progress := newProgress(m.o.steps(cmd))
	log := &prefixes{w: m.o.steps(cmd)}
	for _, v := range versions {
		o := m.o.on(v)
		sel := m.sel
		sel.against = o.circumstances(cmd)
		what, err := sel.load(cmd.Context())
		if err != nil {
			return nil, about(v, chosen(err))
		}
		ho, err := o.session(cmd, what)
		if err != nil {
			return nil, err
		}
		c := &column{version: v, ho: ho, out: filepath.Join(m.out, v), log: log.of(v), shown: m.o.steps(cmd), conduct: o.conduct}
		if c.ho.Sabotage, err = harness.ParseSabotage(m.spoil[v]); err != nil {
			return nil, usage(err)
		}
		c.ho.Lanes, c.ho.Log, c.ho.Components.Progress = m.lanes, c.log, progress
		out = append(out, c)
	}
	return out, nil
}

// others are those of some versions that are not v, which may be written with a patch or without.
func others(versions []string, v string) []string {
	return slices.DeleteFunc(slices.Clone(versions), func(x string) bool {
		return x == v || strings.HasPrefix(x, v+".") || strings.HasPrefix(v, x+".")
	})
}

// about says of which version an error is, which keeps its exit status.
func about(version string, err error) error {
	var ee *exitError
	if errors.As(err, &ee) && ee.err != nil {
		return &exitError{ee.code, fmt.Errorf("for Istio %s: %w", version, ee.err)}
	}
	return err
}

// run runs the cases on the column's version; nil, and err, where the run could not begin.
func (c *column) run(ctx context.Context) *report.Report {
	to, err := report.OpenFolder(c.out)
	if err != nil {
		c.err = err
		return nil
	}
	defer to.Close()
	how := conducted{to: to, tell: tell(&c.ho, c.shown, plain{w: c.log}, c.version, false)}
	rep, err := c.conduct(ctx, c.ho, how)
	if err != nil {
		c.err = err
		fmt.Fprintf(c.log, "NO RUN: %v\n", err)
		return nil
	}
	if _, err := rep.WriteAll(to, html.Page); err != nil { // the comparison needs the results alone
		rep.Faults = append(rep.Faults, err.Error())
	}
	fmt.Fprintln(c.log, rep.Summary())
	return rep
}

// sideBySide runs so many of n at once, in their order, and begins none once ctx has ended. What was not begun is nil.
func sideBySide(ctx context.Context, atOnce, n int, run func(int) *report.Report) []*report.Report {
	out := make([]*report.Report, n)
	slots := make(chan struct{}, atOnce)
	var all sync.WaitGroup
	for i := range n {
		slots <- struct{}{}
		if ctx.Err() != nil {
			break
		}
		all.Go(func() {
			defer func() { <-slots }()
			out[i] = run(i)
		})
	}
	all.Wait()
	return out
}

// writeBaselines writes what every version came to, for later comparisons. A run that proves nothing is none.
func (m *matrix) writeBaselines(done []*report.Report) error {
	var errs error
	for _, rep := range done {
		if rep == nil {
			errs = errors.Join(errs, errors.New("no baseline of a version that has no run"))
			continue
		}
		e := rep.Environment
		if e.Sabotage != "" || len(rep.Faults) > 0 || rep.Counts.Inconclusive > 0 {
			errs = errors.Join(errs, fmt.Errorf("no baseline of Istio %s: the run has faults, a sabotage, or cases that are inconclusive; run it again", e.Istio))
			continue
		}
		b, err := json.MarshalIndent(rep.Brief(), "", " ")
		var f *report.File
		if err == nil {
			f, err = report.OpenFile(filepath.Join(m.baselines, e.Istio, e.Provider+".json"))
		}
		if err == nil {
			err = f.Write(append(b, '\n'))
		}
		errs = errors.Join(errs, err)
	}
	if errs != nil {
		return fmt.Errorf("baselines: %w", errs)
	}
	return nil
}

// prefixes writes what several runs say at once, each line whole and with its version before it.
type prefixes struct {
	mu sync.Mutex
	w  io.Writer
}

func (p *prefixes) of(name string) io.Writer {
	return &prefixed{p: p, prefix: fmt.Sprintf("%-6s ", name)}
}

type prefixed struct {
	p      *prefixes
	prefix string
	rest   []byte // of a line that is not complete
}

func (w *prefixed) Write(b []byte) (int, error) {
	w.p.mu.Lock()
	defer w.p.mu.Unlock()
	w.rest = append(w.rest, b...)
	end := bytes.LastIndexByte(w.rest, '\n') + 1
	var out []byte
	for line := range bytes.Lines(w.rest[:end]) {
		out = append(append(out, w.prefix...), line...)
	}
	w.rest = slices.Clone(w.rest[end:])
	_, err := w.p.w.Write(out)
	return len(b), err
}
