package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"mesh-egress-conformance/framework/cluster"
	"mesh-egress-conformance/framework/fixture"
	"mesh-egress-conformance/framework/harness"
	"mesh-egress-conformance/framework/input"
	"mesh-egress-conformance/framework/limits"
	"mesh-egress-conformance/framework/pages"
)

func docsCommand(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use: "docs", Short: "Pages whose commands can be run: follow one, compare what they print, write it anew",
		Args: subcommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(docsListCommand(), docsRunCommand(o), docsVerifyCommand(o), docsUpdateCommand(o))
	return cmd
}

func docsListCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the pages, and what each was verified on",
		Example: "  egressctl docs list\n  egressctl docs list --json",
		Args:    usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			lib, err := openLibrary()
			if err != nil {
				return err
			}
			defer lib.Close()
			list, err := pages.Load(lib.fs())
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), pageEntries(list))
			}
			t := table.NewWriter()
			t.SetOutputMirror(cmd.OutOrStdout())
			t.AppendHeader(table.Row{"page", "title", "steps", "verified"})
			for _, p := range pageEntries(list) {
				t.AppendRow(table.Row{p.Name, p.Title, p.Steps, p.Verified})
			}
			t.SetColumnConfigs([]table.ColumnConfig{{Number: 4, WidthMax: 60}})
			t.Render()
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// pageEntry is a page as docs list has it.
type pageEntry struct {
	Name     string `json:"name"`
	File     string `json:"file"`
	Title    string `json:"title"`
	Steps    int    `json:"steps"`
	Verified string `json:"verified"` // "" for never
}

func pageEntries(list []*pages.Page) []pageEntry {
	out := make([]pageEntry, len(list)) // not nil: JSON has a list
	for i, p := range list {
		out[i] = pageEntry{p.Name, p.File, p.Title, len(p.Steps), p.VerifiedOn()}
	}
	return out
}

func docsRunCommand(o *options) *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "run PAGE",
		Short: "Follow a page step by step in the running cluster",
		Long: "Run shows a page up to its next commands, asks, runs them, and says where they print something else than the page has.\n" +
			"egressctl up brings the cluster up; the page cleans up in its last steps.\n\n" +
			"A page with objects of the Gateway API says below its title: " + needsGatewayAPI + "\n" +
			"Run adds them to a running cluster that lacks them, which stays so.\n\n" +
			"Exit status: 0 all as the page says, 1 something differs or was left behind, 2 a fault, 64 wrong usage.",
		Example:           "  egressctl up\n  egressctl docs run tcp-egress\n  egressctl docs run tcp-egress --yes",
		ValidArgsFunction: pageNames,
		Args:              usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			lib, err := openLibrary()
			if err != nil {
				return err
			}
			defer lib.Close()
			list, err := lib.sound(args)
			if err != nil {
				return err
			}
			f, ok := cmd.InOrStdin().(*os.File)
			if !yes && (!ok || !term.IsTerminal(int(f.Fd()))) {
				return usage(errors.New("nobody is there to be asked before each step: use a terminal, or --yes"))
			}
			c, err := o.pagesCluster(cmd)
			if err != nil {
				return err
			}
			if err := lib.provide(cmd.Context(), cmd.ErrOrStderr(), c, list); err != nil {
				return err
			}
			guide := &guide{page: list[0], w: cmd.OutOrStdout()}
			if !yes {
				guide.in = bufio.NewReader(cmd.InOrStdin())
			}
			out, err := lib.run(cmd.Context(), c, list[0], func(r *pages.Runner) { r.Ask, r.Each = guide.ask, guide.tell })
			if err != nil {
				return err
			}
			return guide.end(out)
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask before each step")
	return cmd
}

// pagesCluster is the running cluster, which has to be one of ours: pages make objects wherever they need them.
func (o *options) pagesCluster(cmd *cobra.Command) (cluster.Cluster, error) {
	c, err := o.cluster(cmd)
	if err != nil {
		return nil, err
	}
	if c.Facts().Foreign {
		return nil, usage(fmt.Errorf("cluster %s belongs to somebody else, and pages make objects wherever they need them: run them in a cluster of egressctl up", c.Name()))
	}
	return c, harness.CasesFit(c)
}

// guide leads a reader through a page.
type guide struct {
	page *pages.Page
	w    io.Writer
	in   *bufio.Reader // nil asks nothing
}

func (g *guide) ask(s pages.Step) (pages.Decision, error) {
	if s.Before != "" {
		fmt.Fprintf(g.w, "%s\n\n", s.Before)
	}
	for line := range strings.Lines(s.Script) {
		fmt.Fprintf(g.w, "$ %s", line)
	}
	if g.in == nil {
		return pages.RunIt, nil
	}
	for {
		fmt.Fprint(g.w, "[Enter runs it, s skips it, q ends here] ")
		answer, err := g.in.ReadString('\n')
		if errors.Is(err, io.EOF) {
			return pages.Quit, nil
		}
		if err != nil {
			return pages.Quit, fmt.Errorf("read the answer: %w", err)
		}
		switch strings.TrimSpace(answer) {
		case "":
			return pages.RunIt, nil
		case "s":
			return pages.SkipIt, nil
		case "q":
			return pages.Quit, nil
		}
	}
}

func (g *guide) tell(r pages.Result) {
	fmt.Fprint(g.w, r.Output)
	if !r.OK() {
		fmt.Fprintf(g.w, "\nThe page has something else:\n%s", g.page.Diff(r))
	}
	fmt.Fprintln(g.w)
}

func (g *guide) end(out pages.Outcome) error {
	for _, l := range out.Left {
		fmt.Fprintln(g.w, l)
	}
	differ := 0
	for _, r := range out.Results {
		if !r.OK() {
			differ++
		}
	}
	fmt.Fprintf(g.w, "%s: %s of %d run, %d printed something else\n", out.Page.Name, counted(len(out.Results), "step"), len(out.Page.Steps), differ)
	if out.Partly {
		fmt.Fprintln(g.w, "steps were left out; the last ones of the page remove what the others have made")
	}
	if !out.OK() {
		return &exitError{code: 1}
	}
	return nil
}

// sound are pages without mistakes, whose included files are as they are now.
func (l *library) sound(names []string) ([]*pages.Page, error) {
	list, err := l.read(names)
	if err != nil {
		return nil, err
	}
	var wrong input.Mistakes
	for _, p := range list {
		untold, err := l.untold(p)
		if err != nil {
			return nil, err
		}
		wrong = append(append(wrong, p.Stale...), untold...)
	}
	if len(wrong) > 0 {
		return nil, mistakesIn(wrong)
	}
	return list, nil
}

// read reads pages without mistakes that only their writer can mend.
func (l *library) read(names []string) ([]*pages.Page, error) {
	list, err := pages.Load(l.fs(), names...)
	var wrong input.Mistakes
	if errors.As(err, &wrong) {
		return nil, mistakesIn(wrong)
	}
	if err != nil {
		return nil, usage(err)
	}
	return list, nil
}

func mistakesIn(wrong input.Mistakes) error {
	return &exitError{exitFault, fmt.Errorf("%s in the pages, so nothing was run:\n%w", counted(len(wrong), "mistake"), wrong)}
}

// run runs one page in a cluster, from the folder with the pages. with may change how.
func (l *library) run(ctx context.Context, c cluster.Cluster, p *pages.Page, with func(*pages.Runner)) (out pages.Outcome, err error) {
	env, err := l.environment(c)
	if err != nil {
		return out, err
	}
	ctx, stop := whileAlive(ctx, c)
	defer stop()
	shell, err := pages.NewBash(ctx, l.dir, env)
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, shell.Close()) }()
	r := &pages.Runner{
		Shell: shell, Limits: limits.Process().Page,
		Inventory: func(ctx context.Context) (map[string]string, error) { return fixture.Inventory(ctx, c.RESTConfig()) },
	}
	with(r)
	return r.Run(ctx, p)
}

// whileAlive is a context that ends with the cluster, too: without it, every command of a page would print something else.
func whileAlive(ctx context.Context, c cluster.Cluster) (context.Context, context.CancelFunc) {
	return cluster.While(ctx, c, func() error {
		why := c.Failure()
		if why == nil {
			why = errors.New("it was taken down")
		}
		return fmt.Errorf("cluster %s has ended: %w", c.Name(), why)
	})
}
