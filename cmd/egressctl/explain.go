package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"mesh-egress-conformance/framework/components"
	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/fixture"
	"mesh-egress-conformance/framework/printable"
	"mesh-egress-conformance/framework/report"
	"mesh-egress-conformance/framework/why"
)

func explainCommand(o *options) *cobra.Command {
	var (
		sel           selection
		version, file string
		objects       bool
	)
	cmd := &cobra.Command{
		Use:   "explain CASE",
		Short: "Say what a case claims, what each phase expects and why, and what came of it last",
		Long: "Explain prints the claim of a case with its source, its objects as YAML, what each phase expects in the words of the\n" +
			"reports, and what the witnesses saw when it ran last, if its report is there. Below each expectation is what bears on it:\n" +
			"what the objects that are there in that phase say of the probe's host, address and port, the client's part, and the\n" +
			"outbound policy. Where that alone does not settle the outcome, it does not say which of them wins. No cluster is needed.\n\n" +
			"Exit status: 0 explained, 2 the report cannot be read, 64 there is no such case.",
		Example: `  egressctl explain http-serviceentry
  egressctl explain my-case --cases ./egress
  egressctl explain http-serviceentry --objects | kubectl apply -f -`,
		Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			sel.names = args
			sel.against = circumstances{istio: components.Options{Istio: version, Releases: o.releases}, notices: cmd.ErrOrStderr()}
			what, err := sel.load(cmd.Context())
			if err != nil {
				return chosen(err)
			}
			istio, err := components.Find(cmd.Context(), components.Options{Istio: version, Releases: o.releases})
			if err != nil {
				return usage(err)
			}
			c := what.cases[0].On(istio.Version)
			var b strings.Builder
			if objects {
				c.Change = nil
				if err := writeObjects(&b, c, what.fixtures); err != nil {
					return err
				}
			} else if err := explanation(cmd.Context(), &b, c, what, istio.Version); err != nil {
				return err
			}
			if !objects {
				if err := writeLast(&b, c.Name, file, cmd.Flags().Changed("report")); err != nil {
					return err
				}
			}
			_, err = io.WriteString(cmd.OutOrStdout(), printable.Text(b.String()))
			return err
		},
	}
	cmd.ValidArgsFunction = func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		return caseNames(cmd), cobra.ShellCompDirectiveNoFileComp
	}
	f := cmd.Flags()
	f.StringVar(&sel.dir, "cases", "", "folder with case files of your own, instead of the built-in cases (docs/cases.md)")
	f.StringVar(&version, "istio", "", "Istio version for which the case is explained (default: the newest)")
	f.StringVar(&file, "report", defaultReport, "report.json to take the last result from")
	f.BoolVar(&objects, "objects", false, "print nothing but the objects that are there in phase applied")
	addHostsFlag(cmd, &sel.hosts)
	return cmd
}

// explanation says all of a case that is known before it runs.
func explanation(ctx context.Context, w io.Writer, c egress.Case, what selected, version string) error {
	because, err := reasons(ctx, c, what)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "%s (%s)\n\n", c.Name, c.Area)
	row := func(name, text string) {
		if text != "" {
			fmt.Fprintf(w, "%-10s%s\n", name+":", strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n          "))
		}
	}
	row("claim", c.Claim)
	row("source", c.Source)
	row("observed", c.Observed)
	row("labels", strings.Join(c.Labels, ", "))
	if ok, why := c.AppliesTo(version); !ok {
		row("not here", fmt.Sprintf("on Istio %s the case does not apply: %s", version, why))
	}
	for _, f := range c.Needs {
		row("needs", fmt.Sprintf("%s: %s", f, f.Meaning()))
	}
	for _, ph := range c.Phases() {
		fmt.Fprintf(w, "\nphase %s: %s\n", ph, standing(c, ph))
		for i, p := range c.Probes {
			fmt.Fprintf(w, "  %s\n    %s\n", p, expected(p, ph))
			for _, d := range demands(p, ph) {
				fmt.Fprintf(w, "    %s\n", d)
			}
			fmt.Fprintf(w, "    because: %s\n", strings.Join(because.lines(ph, i), "\n             "))
		}
	}
	fmt.Fprintln(w, "\nA control client without a sidecar makes the same calls; what it cannot reach either proves nothing about the mesh.")
	fmt.Fprintln(w, "\nobjects:")
	var objects strings.Builder
	if err := writeObjects(&objects, c, what.fixtures); err != nil {
		return err
	}
	if objects.Len() == 0 {
		objects.WriteString("none\n")
	}
	fmt.Fprint(w, indented(objects.String()))
	for _, part := range []struct {
		name string
		of   egress.Object
	}{{"mesh configuration from before the first phase until the end", c.BaseMeshConfig}, {"mesh configuration while it is applied", c.MeshConfig}} {
		if len(part.of) > 0 {
			text, err := yaml.Marshal(part.of)
			if err != nil {
				return err
			}
			fmt.Fprintf(w, "\n%s:\n%s", part.name, indented(string(text)))
		}
	}
	return nil
}

// standing says what is there in a phase.
func standing(c egress.Case, ph egress.Phase) string {
	var out []string
	switch ph {
	case egress.Before:
		out = append(out, "nothing of the case is there yet")
		if len(c.Setup) > 0 {
			out = append(out, "but its setup")
		}
	case egress.Applied:
		out = append(out, "its objects are there")
	case egress.Changed:
		if len(c.Change) > 0 {
			out = append(out, fmt.Sprintf("%s applied on top", counted(len(c.Change), "object")))
		}
		if len(c.Delete) > 0 {
			out = append(out, "removed: "+strings.Join(c.Delete, ", "))
		}
	case egress.Removed:
		out = append(out, "its objects are gone again, and everything must be as it was before")
	}
	out = append(out, "outbound policy "+why.OutboundPolicy(c, ph))
	for _, name := range slices.Sorted(maps.Keys(c.DNS[ph])) {
		out = append(out, fmt.Sprintf("%s resolves to %s", name, c.DNS[ph][name]))
	}
	for _, name := range slices.Sorted(maps.Keys(c.Istiod[ph])) {
		out = append(out, fmt.Sprintf("istiod %s has %s", name, counted(c.Istiod[ph][name], "replica")))
	}
	return strings.Join(out, "; ")
}

// expected is a wanted outcome and what it means.
func expected(p egress.Probe, ph egress.Phase) string {
	want := p.Wants[ph]
	var means []string
	for b := egress.OK; b != 0 && b <= want; b <<= 1 {
		if want.Has(b) && b.Meaning() != "" {
			means = append(means, b.Meaning())
		}
	}
	return fmt.Sprintf("%s [%s]: %s", want.Words(), want, strings.Join(means, "; or "))
}

// demands are what must be true besides the outcome.
func demands(p egress.Probe, ph egress.Phase) []string {
	var out []string
	add := func(format string, a ...any) { out = append(out, "and "+fmt.Sprintf(format, a...)) }
	if at := p.ArrivesAt[ph]; at == egress.Anywhere {
		add("it may arrive anywhere")
	} else if at != "" {
		add("it arrives at %s", at)
	}
	if t := p.Through[ph]; t != "" {
		add("the sidecar of client %s carries it", t)
	}
	if v := p.Within[ph]; v != "" {
		add("the address at which it arrives lies in %s", v)
	}
	if v := p.Output[ph]; v != "" {
		add("the output matches %s", v)
	}
	for _, x := range []struct {
		what   string
		fields map[string]string
	}{{"the arrival", p.Arrival[ph]}, {"the sidecar's access log", p.AccessLog[ph]}} {
		for _, f := range slices.Sorted(maps.Keys(x.fields)) {
			add("in %s, %s matches %s", x.what, f, x.fields[f])
		}
	}
	if n, ok := p.Arrivals[ph]; ok {
		add("one attempt causes %s", counted(n, "arrival"))
	}
	for _, n := range slices.Sorted(maps.Keys(p.Counts[ph])) {
		add("the sidecar's counter %s grows by %d", n, p.Counts[ph][n])
	}
	if p.Encrypted[ph] {
		add("the destination receives TLS")
	}
	for _, h := range slices.Sorted(maps.Keys(p.Spread[ph])) {
		add("%s of the attempts arrive at %s", p.Spread[ph][h], h)
	}
	if n := p.Parallel; n > 0 {
		add("%d attempts are made at once, of which the sidecar refuses %s", n, p.Overflow[ph])
	}
	for _, x := range []struct {
		holds bool
		text  string
	}{
		{p.Dead, "nobody reaches the target, the control client neither"},
		{p.SameOutput, "the output is the same in all phases"},
		{p.Hold.Resumes(ph), "over the connection that an earlier phase has opened"},
	} {
		if x.holds {
			add("%s", x.text)
		}
	}
	return out
}

// writeObjects writes the objects of a case, as YAML that can be applied by hand.
func writeObjects(w io.Writer, c egress.Case, files fs.FS) error {
	document := func(about string, text []byte) {
		fmt.Fprintf(w, "---\n# %s\n%s\n", about, strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(string(text)), "---")))
	}
	several := func(about string, objects []egress.Object) error {
		for _, o := range objects {
			text, err := yaml.Marshal(o)
			if err != nil {
				return fmt.Errorf("case %s: %w", c.Name, err)
			}
			document(about, text)
		}
		return nil
	}
	if err := several("setup: there from before the first phase until the end", c.Setup); err != nil {
		return err
	}
	for _, name := range c.Fixtures {
		text, err := fs.ReadFile(files, name)
		if err != nil {
			return fmt.Errorf("case %s: read fixture: %w", c.Name, err)
		}
		document(name, text)
	}
	if err := several("applied", c.Objects); err != nil {
		return err
	}
	return several("changed: applied on top of the others in that phase", c.Change)
}

// grounds are what bears on each probe of a case, by phase.
type grounds map[egress.Phase][][]why.Reason

// reasons finds them.
func reasons(ctx context.Context, c egress.Case, what selected) (grounds, error) {
	var objects []egress.Object
	for _, name := range c.Fixtures {
		read, err := fixture.Load(ctx, what.fixtures, name)
		if err != nil {
			return nil, fmt.Errorf("case %s: %w", c.Name, err)
		}
		for _, o := range read {
			objects = append(objects, o.Object)
		}
	}
	return why.World{Clients: what.clients, Hosts: what.hosts}.Expected(c, objects), nil
}

// lines are what bears on a probe in a phase. What was said before, of the same probe or of the one above, is not said again.
func (g grounds) lines(ph egress.Phase, probe int) []string {
	own := g[ph][probe]
	if len(own) > 1 {
		for _, before := range egress.Phases() {
			if before == ph {
				break
			}
			if said := g[before]; said != nil && slices.Equal(said[probe], own) {
				return []string{"as in phase " + before.String()}
			}
		}
		if probe > 0 && slices.Equal(g[ph][probe-1], own) {
			return []string{"as for the probe above"}
		}
	}
	var out []string
	for _, r := range own {
		out = append(out, r.String())
	}
	return out
}

func indented(text string) string {
	return "  " + strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n  ") + "\n"
}

// writeLast says what came of the case when it ran last. A report that nobody has asked for need not be there.
func writeLast(w io.Writer, name, file string, asked bool) error {
	r, err := report.Read(file)
	if errors.Is(err, os.ErrNotExist) && !asked {
		fmt.Fprintf(w, "\nlast result: none in %s; egressctl run --case %s makes one\n", file, name)
		return nil
	}
	if err != nil {
		return err
	}
	i := slices.IndexFunc(r.Cases, func(c egress.Result) bool { return c.Case.Name == name })
	if i < 0 {
		fmt.Fprintf(w, "\nlast result: the case is not in %s; egressctl run --case %s runs it\n", file, name)
		return nil
	}
	last := r.Cases[i]
	fmt.Fprintf(w, "\nlast result (%s, Istio %s, %s): %s %s\n", last.Started.Format("2006-01-02 15:04"), r.Environment.Istio, file, report.Mark(last.Verdict), last.Verdict)
	if why := report.Reason(last); why != "" {
		fmt.Fprintf(w, "  %s\n", strings.ReplaceAll(why, "\n", "\n  "))
	}
	for _, ph := range last.Phases {
		fmt.Fprintf(w, "phase %s:\n", ph.Phase)
		for _, p := range ph.Probes {
			fmt.Fprintf(w, "  %s %s\n%s", report.Mark(p.Verdict), p.Probe, report.ExplainProbe(p))
		}
	}
	return nil
}
