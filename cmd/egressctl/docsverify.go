package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"mesh-egress-conformance/framework/cluster"
	"mesh-egress-conformance/framework/pages"
)

// pagesClusterName is the name of the cluster that is brought up for pages.
const pagesClusterName = "docs"

func docsVerifyCommand(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "verify [PAGE...]",
		Short: "Run pages, and fail where their commands print something else than they have",
		Long: "Verify brings a cluster up (named docs, unless --name says otherwise; one that runs is used and left alone), runs all pages\n" +
			"or the named ones in it, and takes it down. A cluster without the Gateway API gets it if a page needs it. Mistakes in pages, such as an included file that has changed, are told\n" +
			"with file and line before anything runs.\n\n" +
			"Exit status: 0 all as the pages say, 1 something differs (the diff says what) or was left in the cluster,\n2 mistakes in pages or a fault, 64 wrong usage.",
		Example:           "  egressctl docs verify\n  egressctl docs verify tcp-egress --istio 1.30",
		ValidArgsFunction: pageNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.withPages(cmd, args, (*library).sound, func(l *library, c cluster.Cluster, list []*pages.Page) error {
				wrong := 0
				for _, p := range list {
					out, err := l.run(cmd.Context(), c, p, func(*pages.Runner) {})
					if err != nil {
						return err
					}
					if !out.OK() {
						wrong++
					}
					tellOutcome(cmd.OutOrStdout(), out)
				}
				if wrong > 0 {
					fmt.Fprintf(cmd.OutOrStdout(), "%d of %s not as written; egressctl docs update writes new outputs into them\n", wrong, counted(len(list), "page"))
					return &exitError{code: 1}
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s as written\n", counted(len(list), "page"))
				return nil
			})
		},
	}
	o.addUpFlags(cmd)
	return cmd
}

// tellOutcome prints a line, and what is wrong with a page.
func tellOutcome(w io.Writer, out pages.Outcome) {
	state := "as written"
	if !out.OK() {
		state = "NOT as written"
	}
	tellPage(w, out, state)
	for _, r := range out.Results {
		if !r.OK() {
			fmt.Fprintf(w, "%s: the commands printed something else%s\n%s", r.Step.Where(), tries(r), out.Page.Diff(r))
		}
	}
	tellLeft(w, out)
}

func tellPage(w io.Writer, out pages.Outcome, state string) {
	fmt.Fprintf(w, "%-40s %3d steps %6.1fs  %s\n", out.Page.File, len(out.Results), out.Took.Seconds(), state)
}

func tellLeft(w io.Writer, out pages.Outcome) {
	for _, l := range out.Left {
		fmt.Fprintf(w, "%s: %s: a page leaves the cluster as it has found it\n", out.Page.File, l)
	}
}

func tries(r pages.Result) string {
	if r.Attempts < 2 {
		return ""
	}
	return fmt.Sprintf(", %d times in %.0fs", r.Attempts, r.Took.Seconds())
}

func docsUpdateCommand(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "update [PAGE...]",
		Short: "Run pages, and write what their commands print, the included files and the versions into them",
		Long: "Update does what verify does, and writes into the pages what has come out: read the change before you commit it. A page\n" +
			"whose commands end with another exit status than it says, or that leaves something in the cluster, is not written.\n\n" +
			"Exit status: 0 written, 1 a page was not written, 2 mistakes in pages or a fault, 64 wrong usage.",
		Example:           "  egressctl docs update tcp-egress && git diff docs/pages",
		ValidArgsFunction: pageNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.withPages(cmd, args, (*library).loaded, func(l *library, c cluster.Cluster, list []*pages.Page) error {
				failed := 0
				for _, p := range list {
					out, err := l.run(cmd.Context(), c, p, func(r *pages.Runner) { r.Learn = true })
					if err != nil {
						return err
					}
					ok, err := l.update(cmd.OutOrStdout(), out, c.Facts())
					if err != nil {
						return err
					}
					if !ok {
						failed++
					}
				}
				if failed > 0 {
					return &exitError{code: 1}
				}
				return nil
			})
		},
	}
	o.addUpFlags(cmd)
	return cmd
}

// loaded are pages without mistakes that only their writer can mend, in a folder that can be written.
func (l *library) loaded(names []string) ([]*pages.Page, error) {
	if l.copy {
		return nil, usage(errors.New("the pages that are built into this program cannot be written: call it in the repository"))
	}
	return l.read(names)
}

// update writes a page that leaves nothing behind and whose commands end as it says, and says where it has changed. What a
// failed command prints is not what a page is to have, unless its writer says that it is meant to fail.
func (l *library) update(w io.Writer, out pages.Outcome, f cluster.Facts) (written bool, err error) {
	failing := slices.DeleteFunc(slices.Clone(out.Results), func(r pages.Result) bool { return r.Exit == r.Step.Exit })
	if len(out.Left)+len(failing) > 0 {
		tellPage(w, out, "NOT written")
		for _, r := range failing {
			fmt.Fprintf(w, "%s: exit status %d, and not %d: %s mend the commands, or write exit=N behind sh\n", r.Step.Where(), r.Exit, r.Step.Exit, r.Output)
		}
		tellLeft(w, out)
		return false, nil
	}
	needs, err := l.needs(out.Page)
	if err != nil {
		return false, err
	}
	stamp := &pages.Stamp{
		Needs: needs,
		Date:  time.Now().UTC().Format(time.DateOnly), On: []string{"Istio " + f.IstioTag, "Envoy " + f.Envoy, "Kubernetes " + strings.TrimPrefix(f.Kubernetes, "v")},
		Place: fmt.Sprintf("%s cluster, %s internet", f.Provider, f.Internet),
	}
	text := out.Page.Rewrite(out.Results, stamp)
	p, mistakes := pages.Parse(out.Page.File, text, l.fs())
	if wrong := append(mistakes, p.Stale...); len(wrong) > 0 {
		return false, fmt.Errorf("%s would be written with mistakes:\n%w", p.File, wrong)
	}
	if err := os.WriteFile(filepath.Join(l.dir, filepath.FromSlash(p.File)), text, 0o644); err != nil { //nolint:gosec // a page is for everybody
		return false, fmt.Errorf("write the page: %w", err)
	}
	tellPage(w, out, "written")
	for _, r := range out.Results {
		if !r.OK() {
			fmt.Fprintf(w, "%s: what its commands print is new\n", r.Step.Where())
		}
	}
	return true, nil
}

// withPages reads pages, and does something with them in a cluster, which is taken down if it was not there before.
func (o *options) withPages(cmd *cobra.Command, names []string, read func(*library, []string) ([]*pages.Page, error), do func(*library, cluster.Cluster, []*pages.Page) error) error {
	lib, err := openLibrary()
	if err != nil {
		return err
	}
	defer lib.Close()
	list, err := read(lib, names)
	if err != nil {
		return err
	}
	if !cmd.Flags().Changed("name") {
		o.name = pagesClusterName
	}
	down, err := o.ensureCluster(cmd)
	if err != nil {
		return err
	}
	c, err := o.pagesCluster(cmd)
	if err == nil {
		err = lib.provide(cmd.Context(), cmd.ErrOrStderr(), c, list)
	}
	if err == nil {
		err = do(lib, c, list)
	}
	return errors.Join(err, down())
}
