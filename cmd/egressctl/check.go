package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"mesh-egress-conformance/framework/casefile"
	"mesh-egress-conformance/framework/check"
	"mesh-egress-conformance/framework/cluster"
	"mesh-egress-conformance/framework/components"
	"mesh-egress-conformance/framework/input"
	"mesh-egress-conformance/framework/internet"
	"mesh-egress-conformance/framework/mesh"
	"mesh-egress-conformance/framework/printable"
	"mesh-egress-conformance/framework/provider"
	"mesh-egress-conformance/suites"
)

func checkCommand(o *options) *cobra.Command {
	var (
		with   circumstances
		live   string
		asJSON bool
	)
	cmd := &cobra.Command{
		Use:     "check [DIR]",
		Short:   "Find mistakes in case files of your own, without a cluster",
		Example: "  cd egress && egressctl check\n  egressctl check ./egress\n  egressctl check ./egress --istio 1.30 --json",
		Long: "Check reads the case files below a folder, or below the current one, as run --cases does, and names every mistake with file, line and what to write\n" +
			"instead: hosts that the hermetic internet does not have and ports that nothing serves, fields that do not exist in cases,\n" +
			"arrivals, access logs, the mesh configuration and the objects of the chosen Istio version, unknown kinds and placeholders,\n" +
			"fixtures that cannot be read. list and run do the same before anything starts.\n\n" +
			"Exit status: 0 no mistake, 2 mistakes, 64 wrong usage.",
		Args: usageArgs(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			kind, err := cluster.ParseInternet(live)
			if err != nil {
				return usage(err)
			}
			with.istio.Releases = o.releases
			with.live = func() bool { return kind == cluster.Live }
			dir := "."
			if len(args) > 0 {
				dir = args[0]
			}
			f, mistakes, notices, err := with.check(cmd.Context(), dir)
			if err != nil {
				return err
			}
			if len(args) == 0 && len(f.Loaded) == 0 && !slices.ContainsFunc(mistakes, inFile) {
				return usage(errors.New("there is no case below the current folder: name the folder of your cases, as in egressctl check ./egress; egressctl list has the built-in cases"))
			}
			if asJSON {
				err = printJSON(cmd.OutOrStdout(), struct {
					Cases    int            `json:"cases"`
					Mistakes input.Mistakes `json:"mistakes"`
					Notices  input.Mistakes `json:"notices"`
				}{len(f.Loaded), below(dir, mistakes), below(dir, notices)})
			} else {
				w := printable.Writer(cmd.OutOrStdout())
				check.Write(w, dir, mistakes, notices)
				_, err = fmt.Fprintf(w, "%s: %s\n", counted(len(f.Loaded), "case"), counted(len(mistakes), "mistake"))
			}
			if err == nil && len(mistakes) > 0 {
				return &exitError{code: exitFault}
			}
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&with.istio.Istio, "istio", "", "Istio version whose schemas objects are compared with (default: the newest)")
	f.StringVar(&with.hosts, "hosts", "", "file with hosts of your own, beside hosts.yaml in DIR")
	f.StringVar(&live, "internet", "", "hermetic (the default), or live: hosts are not looked at")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// inFile says whether a mistake is in a file, and not in what the folder lacks.
func inFile(m input.Mistake) bool { return m.File != "." }

// circumstances are what the cases of a folder are checked against.
type circumstances struct {
	istio   components.Options // which Istio
	hosts   string             // file with hosts beside those of the folder; "" is none
	live    func() bool        // whether they call the real internet, asked when it matters; nil is no
	others  bool               // the cluster is somebody else's, and may have kinds of its own
	notices io.Writer          // nil drops them
}

// circumstances of a run with these flags.
func (o *options) circumstances(cmd *cobra.Command) circumstances {
	return circumstances{
		istio: components.Options{Istio: o.istio, IstioSource: o.istioSource, Releases: o.releases}, notices: cmd.ErrOrStderr(),
		others: o.provider == provider.Existing || o.provider == provider.Auto && o.place.Kubeconfig != "",
		live: func() bool {
			if o.internet != "" {
				return o.internet == string(cluster.Live)
			}
			running, err := o.anyCluster(cmd) // no cluster: the run brings up one with the hermetic internet
			return err == nil && running.Facts().Internet == cluster.Live
		},
	}
}

// check reads a folder and finds its mistakes.
func (c circumstances) check(ctx context.Context, dir string) (f *casefile.Folder, mistakes, notices input.Mistakes, err error) {
	base, err := internet.DefaultHosts()
	if err != nil {
		return nil, nil, nil, err
	}
	env := suites.Environment()
	env.Hosts, env.OthersKinds = base, c.others
	f = suites.Read(input.Tree(dir))
	if more, err := moreHosts(c.hosts); err != nil {
		f.Mistakes = append(f.Mistakes, input.Lines(c.hosts, err)...)
	} else {
		f.Hosts = append(f.Hosts, more)
	}
	istio, err := components.Find(ctx, c.istio)
	if err != nil {
		return nil, nil, nil, usage(err)
	}
	if !c.others { // whose version only the cluster knows
		env.Istio = istio.Version
	}
	var missing error
	if env.Schemas, missing = schemas(ctx, c.istio); missing != nil {
		f.Notices = append(f.Notices, input.Mistake{
			File: ".", What: "objects are not compared with the schemas of Istio: " + missing.Error(), Remedy: "egressctl components fetch brings them",
		})
	}
	mistakes, notices = check.Folder(f, env)
	if len(mistakes) > 0 && c.live != nil && c.live() {
		env.Hosts = nil
		mistakes, notices = check.Folder(f, env)
	}
	return f, mistakes, notices, nil
}

// moreHosts reads a file with hosts; "" has none. The file's name is absolute in mistakes, for they may stand among those of
// a folder.
func moreHosts(file string) (*internet.Hosts, error) {
	if file == "" {
		return &internet.Hosts{}, nil
	}
	full, err := filepath.Abs(file)
	if err != nil {
		return nil, err
	}
	b, err := input.ReadFile(full, input.MaxFile)
	if err != nil {
		return nil, fmt.Errorf("read the hosts: %w", err)
	}
	return internet.ReadHosts(full, b)
}

// allHosts are the built-in hosts with those of a file, which may be "".
func allHosts(file string) (*internet.Hosts, error) {
	all, err := internet.DefaultHosts()
	if err != nil {
		return nil, err
	}
	more, err := moreHosts(file)
	if err != nil {
		return nil, err
	}
	return all.Add(more)
}

// sound is a folder without mistakes, and the internet with its hosts.
func (c circumstances) sound(ctx context.Context, dir string) (*casefile.Folder, *internet.Hosts, error) {
	f, mistakes, notices, err := c.check(ctx, dir)
	if err != nil {
		return nil, nil, err
	}
	if len(mistakes) > 0 {
		var text strings.Builder
		check.Write(&text, dir, mistakes, notices)
		return nil, nil, &exitError{exitFault, fmt.Errorf("%s in the cases of %s, so nothing was run:\n%s", counted(len(mistakes), "mistake"), dir, strings.TrimSuffix(text.String(), "\n"))}
	}
	if c.notices != nil {
		check.Write(c.notices, dir, nil, notices)
	}
	base, err := internet.DefaultHosts()
	if err != nil {
		return nil, nil, err
	}
	hosts, wrong := f.Internet(base)
	return f, hosts, wrong.Err()
}

// schemas are those of an Istio version that an earlier command has fetched. Nothing is fetched for a check.
func schemas(ctx context.Context, istio components.Options) (*check.Schemas, error) {
	store, err := components.OpenStore()
	if err != nil {
		return nil, err
	}
	_, dir, err := components.CachedCharts(ctx, store, istio)
	if err != nil {
		return nil, err
	}
	crds, err := mesh.CRDs(dir)
	if err != nil {
		return nil, err
	}
	return check.NewSchemas(crds)
}

// below is mistakes with the names of their files as they can be opened.
func below(dir string, in input.Mistakes) input.Mistakes {
	out := make(input.Mistakes, len(in)) // not nil: JSON has a list
	for i, m := range in {
		m.File = check.Path(dir, m.File)
		out[i] = m
	}
	return out
}

func counted(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

// chosen makes an error of a selection one of usage, unless it has an exit status already.
func chosen(err error) error {
	var ee *exitError
	if err == nil || errors.As(err, &ee) {
		return err
	}
	return usage(err)
}
