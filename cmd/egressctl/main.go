// Command egressctl brings up a Kubernetes cluster with Istio and a hermetic internet, and runs
// conformance cases for the way traffic leaves the mesh.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"k8s.io/klog/v2"

	"mesh-egress-conformance/framework/cluster"
	"mesh-egress-conformance/framework/components"
	"mesh-egress-conformance/framework/harness"
	"mesh-egress-conformance/framework/printable"
	"mesh-egress-conformance/framework/provider"
)

// Exit codes.
const (
	exitOK    = 0
	exitFault = 2
	exitUsage = 64
)

// exitError ends the program with a status; its message was printed already if err is nil.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit status %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

func usage(err error) error { return &exitError{exitUsage, err} }

// gcPercent takes a seventh of this program's memory away, which stands beside a cluster, often on a small machine (152 and 177 MB in 219 cases), and
// costs too little of the processor to be measured.
const gcPercent = 50

func main() {
	provider.ChildMain()
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

func run(args []string, stdout, stderr io.Writer) int { return runWith(args, stdout, stderr, conduct) }

// runWith is run where something else conducts the cases.
func runWith(args []string, stdout, stderr io.Writer, how conductor) int {
	defer surviveClosedPipes()()
	if f, ok := stderr.(*os.File); ok {
		if screen := screenOn(f, os.Getenv); screen != nil {
			v := newView(screen)
			defer v.close()
			stderr = v
		}
	}
	ctx, end := context.WithCancel(context.Background())
	defer end()
	var gone atomic.Bool
	closed := func() { gone.Store(true); end() }
	stderr = &stream{w: printable.Writer(stderr), closed: closed}
	ctx, stop := interruptible(ctx, stderr)
	defer stop()
	root := rootCommandWith(how)
	root.SetArgs(args)
	root.SetOut(&stream{w: stdout, closed: closed})
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	switch {
	case gone.Load(): // nobody is there to be told
		return exitPipe
	case err == nil:
		return exitOK
	}
	var ee *exitError
	if !errors.As(err, &ee) {
		ee = &exitError{exitFault, err}
	}
	if ee.err != nil {
		fmt.Fprintln(stderr, "egressctl:", ee.err)
	}
	return ee.code
}

// interruptible returns a context below ctx that the first Ctrl-C ends; a later one ends the program at once, and the
// reaper takes an owned cluster down. What follows within a second is the same one: timeout(1) signals its
// child and then its whole process group.
func interruptible(ctx context.Context, stderr io.Writer) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	sig := make(chan os.Signal, 2)
	signal.Notify(sig, os.Interrupt, syscall.SIGTERM)
	if !signal.Ignored(syscall.SIGHUP) { // nohup(1) lets a run outlive its terminal
		signal.Notify(sig, syscall.SIGHUP)
	}
	go func() {
		<-sig
		fmt.Fprintln(stderr, "egressctl: interrupted, cleaning up (once more stops at once)")
		cancel()
		for first := time.Now(); ; {
			<-sig
			if time.Since(first) > time.Second {
				os.Exit(130)
			}
		}
	}()
	return ctx, func() { signal.Stop(sig); cancel() }
}

// nameEnv is a variable with the cluster that commands mean without --name: egressctl env sets it.
const nameEnv = "EGRESS_NAME"

// options are the flags that most commands share.
type options struct {
	provider, name, istio, source, hub string
	istioSource, releases              string
	port                               int
	debug, quiet                       bool
	place                              provider.Options
	internet                           string
	allowInstall                       bool
	clientImage                        string
	also                               []string
	conduct                            conductor
}

func rootCommand() *cobra.Command { return rootCommandWith(conduct) }

func rootCommandWith(how conductor) *cobra.Command {
	o := &options{conduct: how}
	root := &cobra.Command{
		Use:           "egressctl",
		Short:         "Conformance of mesh egress, proven by three witnesses",
		SilenceUsage:  true,
		SilenceErrors: true,
		PersistentPreRun: func(cmd *cobra.Command, _ []string) {
			if !o.debug {
				klog.SetLogger(logr.Discard()) // client-go reports every closed stream there
			} else if v := viewBelow(cmd.ErrOrStderr()); v != nil { // which klog would write into
				v.close()
			}
		},
		Args: subcommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage(err) })
	f := root.PersistentFlags()
	f.StringVar(&o.provider, "provider", provider.Auto, "where the cluster runs: embedded (Linux, root), kind (Docker), existing (--kubeconfig), or auto")
	f.StringVar(&o.place.Kubeconfig, "kubeconfig", "", "kubeconfig of an existing cluster")
	f.StringVar(&o.place.Context, "context", "", "context in the kubeconfig of an existing cluster")
	f.StringVar(&o.name, "name", cmp.Or(os.Getenv(nameEnv), "default"), "name of the cluster; EGRESS_NAME is the default")
	f.StringVar(&o.releases, "catalogue", "", "folder with Istio releases beside the built-in ones, as components add-istio writes them (default: mesh-egress-conformance/releases in $XDG_CONFIG_HOME)")
	f.BoolVar(&o.debug, "debug", false, "print what client libraries log")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "print no steps and no progress: results, warnings and errors alone")
	root.AddCommand(upCommand(o), downCommand(o), statusCommand(o), runCommand(o), selftestCommand(o), parityCommand(o), compareCommand(), matrixCommand(o), upgradeCommand(o), reportCommand(), mergeCommand(), cleanCommand(o), listCommand(o), explainCommand(o), openCommand(), checkCommand(o), verifyCommand(o), probeCommand(o), whyCommand(o),
		kubectlCommand(o), istioctlCommand(o), kubeconfigCommand(o), envCommand(o), imageCommand(o), certificatesCommand(o), logsCommand(o), shellCommand(o), doctorCommand(o), componentsCommand(o), migrateCommand(), versionCommand(o), docsCommand(o))
	addExamples(root)
	help := root.HelpFunc()
	root.SetHelpFunc(func(cmd *cobra.Command, args []string) { // completion's commands are made when the program runs
		addExamples(root)
		help(cmd, args)
	})
	if err := addCompletion(o, root); err != nil {
		panic(err) // a flag has two lists of values: a mistake in this program
	}
	return root
}

// steps is where a command tells how far it is.
func (o *options) steps(cmd *cobra.Command) io.Writer {
	if o.quiet {
		return io.Discard
	}
	return cmd.ErrOrStderr()
}

// near is how many letters may be wrong in the name of a command that is suggested.
const near = 2

// subcommand refuses whatever is no subcommand of a command that only groups some.
func subcommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	hint := "see " + cmd.CommandPath() + " --help"
	cmd.SuggestionsMinimumDistance = near // which cobra sets for the root alone
	if names := cmd.SuggestionsFor(args[0]); len(names) > 0 {
		hint = "did you mean " + strings.Join(names, " or ") + "?"
	}
	return usage(fmt.Errorf("unknown command %q for %q: %s", args[0], cmd.CommandPath(), hint))
}

// addUpFlags adds the flags of commands that may bring a cluster up.
func (o *options) addUpFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	o.addComponentFlags(cmd)
	f.IntVar(&o.port, "port", 0, "loopback port for the API server (0 picks a free one)")
	f.StringVar(&o.internet, "internet", "", "hermetic (the default), or live: the real httpbin.org, wikipedia.org and so on, as this machine reaches them")
	f.StringVar(&o.clientImage, "client-image", "", "existing: image of the client pods, with a shell and curl (default: curlimages/curl)")
	f.BoolVar(&o.allowInstall, "allow-install", false, "existing: install Istio (of --istio) where the cluster has none, and remove it at the end")
	f.IntVar(&o.place.Nodes, "nodes", 1, "kind: how many nodes")
	f.StringVar(&o.place.NodeImage, "node-image", "", "kind: node image (default: kind's own, or one that is built here)")
}

func (o *options) addComponentFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.istio, "istio", "", "Istio version from the component catalogue, or with --source image any tag of its minor versions (default: the newest)")
	f.StringVar(&o.istioSource, "istio-source", "", "folder with Istio's source, such as your clone with an edit: istiod, agent, istioctl and charts are built of it")
	f.StringVar(&o.source, "source", string(components.Auto), "where components come from: auto, image or build")
	f.StringVar(&o.hub, "hub", "", "registry that mirrors the official ones, for --source image")
}

// addAlsoFlag adds the flag of commands whose cluster may carry further versions of Istio.
func (o *options) addAlsoFlag(cmd *cobra.Command) {
	cmd.Flags().StringSliceVar(&o.also, "also-istio", nil, "further Istio versions whose istiod and proxy can run in the cluster: cases of version skew are skipped without (docs/versions.md)")
}

// session turns flags into options for the harness.
func (o *options) session(cmd *cobra.Command, what selected) (harness.Options, error) {
	src, err := components.ParseSource(o.source)
	if o.source == "" {
		src, err = components.Auto, nil
	}
	if err != nil {
		return harness.Options{}, usage(err)
	}
	kind, err := cluster.ParseInternet(o.internet)
	if err != nil {
		return harness.Options{}, usage(err)
	}
	name, err := o.choose(cmd.Context())
	if err != nil {
		return harness.Options{}, err
	}
	return harness.Options{
		Internet: kind, AllowInstall: o.allowInstall, Command: again(os.Args[0], cmd),
		Provider: name, Place: o.place, Name: o.name, Port: o.port,
		Components: components.Options{Istio: o.istio, IstioSource: o.istioSource, Releases: o.releases, Also: o.also, Source: src, Hub: o.hub, Progress: newProgress(o.steps(cmd))},
		Clients:    what.clients, Fixtures: what.fixtures, Cases: what.cases, OwnCases: what.own, Hosts: what.hosts, ClientImage: o.clientImage, Log: o.steps(cmd),
	}, nil
}
