package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"mesh-egress-conformance/framework/input"
	"mesh-egress-conformance/framework/manifest"
	"mesh-egress-conformance/framework/printable"
	"mesh-egress-conformance/framework/provider"
	"mesh-egress-conformance/framework/report"
	"mesh-egress-conformance/framework/verify"
)

// verifyFlags are those of verify.
type verifyFlags struct {
	o            *options
	read         manifest.Options
	meshConfig   string
	expectations string
	writeTo      string
	base         string
	out          string
	every        bool
	asJSON       bool
	table        string
	verbose      bool
	keep         bool
	watch        bool
	namespaces   []string
	printRole    bool
	inPlace      inPlaceFlags
	live         *liveCluster // nil without --kubeconfig
}

func verifyCommand(o *options) *cobra.Command {
	v := &verifyFlags{o: o}
	cmd := &cobra.Command{
		Use:   "verify [PATHS]",
		Short: "Say of your own objects who can get out of the mesh, where and how, and prove it in a mesh of real Istio",
		Long: "Verify takes Istio's and Kubernetes' objects as a team keeps them: files, folders, standard input (-), kustomize folders, Helm\n" +
			"charts. It lets them stand in a mesh of its own that has no way out: a stand-in for each workload, with its labels, service\n" +
			"account and injection settings, a stand-in outside for each host and address that the objects name, and beside each a\n" +
			"neighbour that nobody names. It calls all of them from all workloads, and says what gets out, by which object (file and\n" +
			"line), through which gateway, encrypted by whom, and where it lands. docs/verify.md explains the rest.\n\n" +
			"With --kubeconfig (or --context) it takes the objects of a live cluster, which it reads and leaves as it is: --print-role prints\n" +
			"all that it needs to read there. PATHS beside it are laid over what the cluster has, and the report says what that changes.\n\n" +
			"With --in-place no dry mesh is made: the live cluster is asked itself, from short-lived pods in the namespaces and with the service\n" +
			"accounts of its workloads, and only what is safe for whoever is called: hosts that objects or --expectations name, by GET of /,\n" +
			"or by a connection that sends nothing.\n\n" +
			"The mesh is that of the running cluster named by --name; if there is none it brings one up and takes it down again.\n\n" +
			"Exit status: 0 everything is proven and as expected; 1 a leak, an outage or a detour from --expectations, or without them a\n" +
			"change since --base that opens something; 2 the result is partial or something is unproven, or a fault of the harness; 64\n" +
			"wrong usage. With --watch it is that of the last proof.",
		Example: `  egressctl verify ./mesh
  helm template ./chart | egressctl verify - --mesh-config mesh.yaml
  egressctl verify ./mesh --write-expectations egress.yaml    # once
  egressctl verify ./mesh --expectations egress.yaml          # from then on: exit status 1 on a leak or an outage
  egressctl verify ./mesh --watch                             # while you edit
  egressctl verify ./mesh --istio 1.29,1.31                   # what does an upgrade change?
  egressctl verify ./mesh --base origin/main --out reports/verify   # what does this branch open, close, redirect?
  egressctl verify --print-role | kubectl apply -f -          # what the next ones need
  egressctl verify --kubeconfig prod.yaml                     # a live cluster as it is
  egressctl verify --kubeconfig prod.yaml ./change            # what would these files change there?
  egressctl verify --kubeconfig prod.yaml --in-place --expectations egress.yaml   # and is it so there?`,
		RunE: func(cmd *cobra.Command, args []string) error { return v.run(cmd, args) },
	}
	o.addUpFlags(cmd)
	f := cmd.Flags()
	f.Lookup("istio").Usage += "; several, such as 1.29,1.31, are all asked the same: the report is that of the last one, and what comes out otherwise in another is a surprise"
	_ = f.MarkHidden("allow-install") // it is there
	f.Lookup("internet").Usage = "with --in-place: live (the default), the real outside as the cluster reaches it, or hermetic: pods that play it, which only the asking pods know"
	f.Lookup("client-image").Usage = "with --in-place: image of the pods that ask, with a shell and curl (default: curlimages/curl)"
	f.BoolVar(&v.inPlace.set, "in-place", false, "with --kubeconfig: ask the safe questions in that cluster itself, from short-lived pods beside the workloads; nothing else is changed")
	f.StringVar(&v.inPlace.stranger, "stranger", "", "with --in-place: a host that no object names, which should be closed and may be called (GET of https://HOST/)")
	f.StringVar(&v.meshConfig, "mesh-config", "", "file with the mesh settings, in place of those among the objects: a mesh configuration, a ConfigMap istio, values of Istio's charts, an IstioOperator, or Sail's Istio")
	f.StringSliceVar(&v.namespaces, "namespace", nil, "namespace of objects that name none (default: default); with --kubeconfig also the only one that is read beside istio-system, and may be given several times")
	f.StringArrayVar(&v.read.Values, "values", nil, "file with values for Helm charts; may be given several times")
	f.StringArrayVar(&v.read.Set, "set", nil, "one value for Helm charts, as name=value; may be given several times")
	f.StringVar(&v.read.Release, "release", "", "name of the release for which Helm charts are rendered (default: the chart's)")
	f.StringVar(&v.expectations, "expectations", "", "file that says what may get out: everything else must not (docs/verify.md)")
	f.StringVar(&v.writeTo, "write-expectations", "", "write what gets out at present into this file, as expectations")
	f.StringVar(&v.base, "base", "", "a commit of the Git repository that PATHS are in: say what has changed since then")
	f.BoolVar(&v.printRole, "print-role", false, "print the ClusterRole that --kubeconfig needs (with --in-place: and what that makes and removes), and do nothing else")
	f.StringVar(&v.out, "out", "", "folder for verify.json, verify.md, verify.xml (JUnit) and verify.sarif (for code scanning; its paths are relative to the working directory)")
	f.BoolVar(&v.watch, "watch", false, "stay, and prove again on every save of a file that was read: print what has changed since; Ctrl-C ends it")
	f.BoolVar(&v.every, "every-workload", false, "ask every workload, not one of all that no object tells apart")
	f.BoolVar(&v.asJSON, "json", false, "print JSON")
	f.StringVar(&v.table, "table", "open", "which answers the table has: open (what gets out, fails or is unproven), or all")
	f.BoolVarP(&v.verbose, "verbose", "v", false, "print the steps")
	f.BoolVar(&v.keep, "keep", false, "leave a cluster that this brought up")
	return cmd
}

// check finds flags that contradict each other.
func (v *verifyFlags) check(args []string) error {
	switch {
	case v.printRole:
		return nil
	case len(args) == 0 && !v.isLive():
		return errors.New("name files or folders, or a cluster (--kubeconfig FILE)")
	case v.isLive() && v.base != "":
		return errors.New("--base is about files, and a cluster has no former commits: leave it out, and name files to see what they would change in the cluster")
	case len(v.namespaces) > 1 && !v.isLive():
		return errors.New("--namespace is given several times: without --kubeconfig there is one for all objects that name none")
	case v.watch && len(args) == 0:
		return errors.New("--watch proves again when a file is saved: name files or folders to be laid over what the cluster has")
	case v.table != "open" && v.table != "all":
		return fmt.Errorf("--table %s: use open or all", v.table)
	case v.o.internet != "" && !v.inPlace.set:
		return errors.New("--internet is for --in-place: the outside of a dry mesh is made of the objects")
	case v.expectations != "" && v.expectations == v.writeTo:
		return fmt.Errorf("--expectations and --write-expectations are both %s: compare first, and write when you mean it", v.writeTo)
	case v.base != "" && strings.HasPrefix(v.base, "-"):
		return fmt.Errorf("--base %s: give a commit, a branch or a tag", v.base)
	case v.watch && (v.base != "" || v.asJSON || v.writeTo != ""):
		return errors.New("--watch says what each save changes, as text: leave out --base, --json and --write-expectations (--out has verify.json anew after each)")
	case strings.Contains(v.o.istio, ",") && (v.watch || v.o.istioSource != "" || v.o.provider == provider.Existing):
		return errors.New("--istio with several versions makes a cluster for each: leave out --watch, --istio-source and --provider existing")
	case v.watch && slices.Contains(args, "-"):
		return errors.New("standard input is not saved again: name files or folders for --watch")
	}
	if err := v.checkInPlace(args); err != nil {
		return err
	}
	for i, a := range args {
		if a == "-" && (v.base != "" || i != len(args)-1 && strings.Join(args[i+1:], " ") == "-") {
			return errors.New("standard input can be read once, and has no history for --base")
		}
	}
	return nil
}

func (v *verifyFlags) run(cmd *cobra.Command, args []string) error {
	start := time.Now()
	if err := v.check(args); err != nil {
		return usage(err)
	}
	if v.printRole {
		return printRole(cmd.OutOrStdout(), v.inPlace.set)
	}
	if v.inPlace.set {
		return v.runInPlace(cmd, start)
	}
	v.read.Namespace = cmp.Or(append(slices.Clone(v.namespaces), "default")...)
	if err := v.take(cmd); err != nil {
		return err
	}
	x, err := v.prepare(cmd, args)
	if err != nil {
		return err
	}
	return v.reported(cmd, start, func(to *report.Folder, tell tellReport) (*verify.Report, error) {
		x.out = to
		return x.run(cmd, tell)
	})
}

// tellReport writes a report to wherever it was asked for.
type tellReport func(*verify.Report) error

// reported runs a verification that tells its report to the terminal and the folder of --out, and makes the exit status of it.
func (v *verifyFlags) reported(cmd *cobra.Command, start time.Time, run func(*report.Folder, tellReport) (*verify.Report, error)) error {
	var to *report.Folder
	if v.out != "" {
		var err error
		if to, err = openReports(v.out); err != nil {
			return err
		}
		defer to.Close()
	}
	rep, err := run(to, func(rep *verify.Report) error {
		rep.Took = time.Since(start).Seconds()
		return v.tell(cmd, rep, to)
	})
	if err != nil {
		return err
	}
	if code := rep.ExitCode(); code != exitOK {
		return &exitError{code: code}
	}
	return nil
}

// tell writes all that was asked for.
func (v *verifyFlags) tell(cmd *cobra.Command, rep *verify.Report, to *report.Folder) error {
	if v.writeTo != "" {
		b, err := verify.Present(rep.Answers).YAML()
		if err == nil {
			err = os.WriteFile(v.writeTo, b, 0o644) //nolint:gosec // for everybody who reads the repository
		}
		if err != nil {
			return fmt.Errorf("write the expectations: %w", err)
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "expectations: %s\n", v.writeTo)
	}
	if to != nil {
		if err := writeVerify(rep, to); err != nil {
			return err
		}
	}
	if v.asJSON {
		return printJSON(cmd.OutOrStdout(), rep)
	}
	return rep.WriteText(printable.Raw(cmd.OutOrStdout()), verify.Text{All: v.table == "all"})
}

// The files of a verification.
const (
	verifyJSON     = "verify.json"
	verifyMarkdown = "verify.md"
	verifyJUnit    = "verify.xml"
	verifySARIF    = "verify.sarif"
)

func writeVerify(rep *verify.Report, to *report.Folder) error {
	dir, err := os.Getwd()
	if err != nil {
		return fmt.Errorf("find the working directory, to which the paths of %s are relative: %w", verifySARIF, err)
	}
	b, err := rep.JSON()
	junit, err2 := rep.JUnit()
	info, _ := debug.ReadBuildInfo() // nil says nothing, as a build without modules does
	sarif, err3 := rep.SARIF(verify.SARIF{Version: buildInfoOf(info, nil).Version, Place: placeBelow(dir)})
	if err := errors.Join(err, err2, err3); err != nil {
		return err
	}
	return errors.Join(to.Write(verifyJSON, b), to.Write(verifyMarkdown, rep.Markdown()), to.Write(verifyJUnit, junit), to.Write(verifySARIF, sarif), appendSummary(rep.Markdown()))
}

// placeBelow is where files are, seen from a folder: relative to it where they are in it, in full elsewhere; "" for what is no file.
func placeBelow(dir string) func(string) string {
	return func(file string) string {
		if !filepath.IsAbs(file) {
			file = filepath.Join(dir, file)
		}
		if st, err := os.Stat(file); err != nil || st.IsDir() {
			return ""
		}
		if below, err := filepath.Rel(dir, file); err == nil && filepath.IsLocal(below) {
			file = below
		}
		return filepath.ToSlash(file)
	}
}

// settingsFile reads a file with mesh settings, and its text; nil where there is none.
func settingsFile(file string) (*manifest.Object, string, error) {
	if file == "" {
		return nil, "", nil
	}
	b, err := input.ReadFile(file, input.MaxFile)
	if err != nil {
		return nil, "", fmt.Errorf("read the mesh settings: %w", err)
	}
	o, err := parseSettings(file, b)
	return o, string(b), err
}

// parseSettings reads mesh settings out of a file's text.
func parseSettings(file string, b []byte) (*manifest.Object, error) {
	docs, err := input.Documents(file, b)
	if err != nil {
		return nil, err
	}
	if len(docs) != 1 {
		return nil, fmt.Errorf("%s: one document with mesh settings is expected, there are %d", file, len(docs))
	}
	o := manifest.Object{File: file, Line: docs[0].Line, Node: docs[0]}
	if err := input.Decode(docs[0], &o.Fields); err != nil {
		return nil, fmt.Errorf("%s:%d: %w", file, docs[0].Line, err)
	}
	return &o, nil
}

// expectations reads a file with expectations, and its text; nil where there is none.
func expectations(file string) (*verify.Expectations, string, error) {
	if file == "" {
		return nil, "", nil
	}
	b, err := input.ReadFile(file, input.MaxFile)
	if err != nil {
		return nil, "", fmt.Errorf("read the expectations: %w", err)
	}
	e, err := verify.ParseExpectations(file, b)
	return e, string(b), err
}

// standardInput is where objects come from that are handed in.
func standardInput(cmd *cobra.Command) io.Reader { return cmd.InOrStdin() }
