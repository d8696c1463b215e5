package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"mesh-egress-conformance/framework/cluster"
	"mesh-egress-conformance/framework/components"
	"mesh-egress-conformance/framework/harness"
	"mesh-egress-conformance/framework/printable"
	"mesh-egress-conformance/framework/provider"
)

// choose names the provider that --provider means.
func (o *options) choose(ctx context.Context) (string, error) {
	if o.provider != provider.Auto {
		return o.provider, nil
	}
	store, err := components.OpenStore()
	if err != nil {
		return "", err
	}
	return provider.Choose(ctx, store, o.place)
}

func (o *options) open(ctx context.Context) (cluster.Provider, error) {
	name, err := o.choose(ctx)
	if err != nil {
		return nil, err
	}
	store, err := components.OpenStore()
	if err != nil {
		return nil, err
	}
	p, err := provider.Open(name, store, o.place)
	if err != nil {
		return nil, usage(err)
	}
	return p, nil
}

// cluster finds the running cluster that --name means. One that is being brought up may have logs already, and
// nothing else that can be used.
func (o *options) cluster(cmd *cobra.Command) (cluster.Cluster, error) {
	if err := o.complete(cmd.Context()); err != nil {
		return nil, err
	}
	return o.anyCluster(cmd)
}

func (o *options) anyCluster(cmd *cobra.Command) (cluster.Cluster, error) {
	p, err := o.open(cmd.Context())
	if err != nil {
		return nil, err
	}
	return p.Open(cmd.Context(), o.name)
}

// complete fails while another command brings the cluster up.
func (o *options) complete(ctx context.Context) error {
	name, err := o.choose(ctx)
	if err != nil {
		return err
	}
	return harness.Starting(name, o.name)
}

func upCommand(o *options) *cobra.Command {
	var reuse, gatewayAPI bool
	var profile string
	var sel selection
	cmd := &cobra.Command{
		Use:     "up",
		Short:   "Bring a cluster up with Istio, both gateways and the client pods, and leave it running",
		Example: "  egressctl up\n  egressctl up --name old --istio 1.29\n  egressctl up --provider kind --nodes 3\n  egressctl up --name docs --profile istio-docs",
		Args:    usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			what, err := sel.load(cmd.Context())
			if err != nil {
				return err
			}
			ho, err := o.session(cmd, what)
			if err != nil {
				return err
			}
			if ho.Profile, err = cluster.ParseProfile(profile); err != nil {
				return usage(err)
			}
			if c, err := o.cluster(cmd); err == nil && reuse {
				if have := c.Facts().Profile; have != ho.Profile {
					return fmt.Errorf("cluster %s is up with profile %q, not %q: take it down, or choose another --name", o.name, have, ho.Profile)
				}
				if err := errors.Join(harness.CarriesIstios(c, o.also), harness.AddHosts(cmd.Context(), c, what.hosts)); err != nil {
					return err
				}
				if gatewayAPI {
					if err := harness.AddGatewayAPI(cmd.Context(), c); err != nil {
						return err
					}
				}
				fmt.Fprintf(cmd.OutOrStdout(), "cluster %s is up already\n", o.name)
				return nil
			} else if errors.Is(err, harness.ErrStarting) {
				return err
			} else if err == nil {
				return fmt.Errorf("cluster %q: %w; use it, take it down with egressctl down --name %s, or choose another --name", o.name, cluster.ErrExists, o.name)
			}
			s, err := raise(cmd.Context(), ho, o.steps(cmd), harness.Up)
			if err != nil {
				return err
			}
			if gatewayAPI {
				if err := harness.AddGatewayAPI(cmd.Context(), s.Cluster()); err != nil {
					return err
				}
			}
			fmt.Fprintf(cmd.OutOrStdout(), "cluster %s is up; try\n", s.Cluster().Name())
			fmt.Fprintf(cmd.OutOrStdout(), hints[ho.Profile], s.Cluster().Name())
			return nil
		},
	}
	o.addUpFlags(cmd)
	cmd.Flags().StringVar(&profile, "profile", "", "what the cluster is made for: istio-docs for the egress pages of istio.io as they are written (docs/istio-docs.md); without it for cases")
	cmd.Flags().BoolVar(&gatewayAPI, "gateway-api", false, "make the cluster know the Gateway API, whose kinds do not come with Istio")
	o.addAlsoFlag(cmd)
	cmd.Flags().BoolVar(&reuse, "reuse", false, "be content with a running cluster of that name")
	addHostsFlag(cmd, &sel.hosts)
	return cmd
}

// hints are what a user may try next in a cluster of a profile, whose name they have as %[1]s.
var hints = map[cluster.Profile]string{
	cluster.Standard: `  egressctl run --name %[1]s
  egressctl kubectl --name %[1]s -- get pods -A
  egressctl shell --name %[1]s
  eval "$(egressctl env --name %[1]s)"  # then kubectl and istioctl are the cluster's
  egressctl down --name %[1]s
`,
	cluster.IstioDocs: `  eval "$(egressctl env --name %[1]s)"         # KUBECONFIG, and kubectl and istioctl of this cluster on the PATH
  kubectl apply -f samples/sleep/sleep.yaml  # or samples/curl/curl.yaml, in this repository or in Istio's
  egressctl image load --name %[1]s FILE       # an image that a page deploys, such as nginx: no registry answers here
  egressctl down --name %[1]s
docs/istio-docs.md says how a page's "istioctl install" is done here, and what differs from the pages
`,
}

func downCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use:     "down",
		Short:   "Take a cluster down and remove everything of it",
		Example: "  egressctl down\n  egressctl down --name old",
		Args:    usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := o.open(cmd.Context())
			if err != nil {
				return err
			}
			start := time.Now()
			if err := p.Down(cmd.Context(), o.name); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "cluster %s is gone (%.1fs)\n", o.name, time.Since(start).Seconds())
			return nil
		},
	}
}

func statusCommand(o *options) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "status",
		Short:   "List the clusters on this machine",
		Example: "  egressctl status\n  egressctl status --json",
		Args:    usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := o.open(cmd.Context())
			if err != nil {
				return err
			}
			list, err := p.List(cmd.Context())
			if err != nil {
				return err
			}
			for i, s := range list {
				if errors.Is(harness.Starting(s.Provider, s.Name), harness.ErrStarting) {
					list[i].State = "starting"
				}
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), append([]cluster.Status{}, list...)) // not nil: JSON has a list
			}
			if len(list) == 0 {
				fmt.Fprintln(cmd.OutOrStdout(), "no cluster; egressctl up makes one")
				return nil
			}
			t := table.NewWriter()
			t.SetOutputMirror(cmd.OutOrStdout())
			t.AppendHeader(table.Row{"name", "provider", "state", "age", "memory", "kubeconfig", "note"})
			for _, s := range list {
				age := ""
				if !s.Since.IsZero() {
					age = time.Since(s.Since).Round(time.Second).String()
				}
				t.AppendRow(table.Row{s.Name, s.Provider, s.State, age, fmt.Sprintf("%d MiB", s.Memory>>20), s.Kubeconfig, s.Note})
			}
			t.Render()
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func kubeconfigCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use:     "kubeconfig",
		Short:   "Print the path of a cluster's kubeconfig",
		Example: "  export KUBECONFIG=$(egressctl kubeconfig)",
		Args:    usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := o.cluster(cmd)
			if err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), c.Kubeconfig())
			return nil
		},
	}
}

func kubectlCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use:     "kubectl -- ARGS",
		Short:   "Run the cluster's own kubectl",
		Example: "  egressctl kubectl -- get pods -A\n  egressctl kubectl --name old -- apply -f rule.yaml",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := o.cluster(cmd)
			if err != nil {
				return err
			}
			return kubectl(cmd, c, args...)
		},
	}
}

// kubectlLine begins a command line that runs the kubectl of the cluster that the flags mean, as words.
func (o *options) kubectlLine() []string {
	out := []string{os.Args[0], "kubectl"}
	for _, f := range [][2]string{{"--provider", o.provider}, {"--kubeconfig", o.place.Kubeconfig}, {"--context", o.place.Context}, {"--name", o.name}} {
		if f[1] != "" && f != [2]string{"--provider", provider.Auto} && (f[0] != "--name" || o.place.Kubeconfig == "") {
			out = append(out, f[0], f[1])
		}
	}
	return append(out, "--")
}

// istioctlCommand runs the istioctl that belongs to the cluster's Istio.
func istioctlCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use:     "istioctl -- ARGS",
		Short:   "Run the cluster's own istioctl",
		Example: "  egressctl istioctl -- proxy-status\n  egressctl istioctl -- proxy-config clusters deploy/sleep -n egress-client",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := o.cluster(cmd)
			if err != nil {
				return err
			}
			return program(cmd, c, "istioctl", args...)
		},
	}
}

// kubectl runs the kubectl of the cluster's Kubernetes version and passes its exit status on.
func kubectl(cmd *cobra.Command, c cluster.Cluster, args ...string) error {
	return program(cmd, c, "kubectl", args...)
}

// program runs a program of the cluster's own version and passes its exit status on.
func program(cmd *cobra.Command, c cluster.Cluster, name string, args ...string) error {
	path := c.Program(name)
	if path == "" {
		return fmt.Errorf("there is no %s for cluster %s: one of somebody else is used with what PATH has", name, c.Name())
	}
	k := exec.CommandContext(cmd.Context(), path, args...)
	k.Env = append(os.Environ(), "KUBECONFIG="+c.Kubeconfig())
	if !c.Facts().Foreign { // what it has found out about a cluster of ours is of no use after that
		k.Env = append(k.Env, "KUBECACHEDIR="+filepath.Join(filepath.Dir(c.Kubeconfig()), "kubectl-cache"))
	}
	k.Stdin, k.Stdout, k.Stderr = os.Stdin, direct(cmd.OutOrStdout()), direct(cmd.ErrOrStderr())
	err := k.Run()
	var ee *exec.ExitError
	if errors.As(err, &ee) {
		if how, ok := ee.Sys().(syscall.WaitStatus); ok && how.Signaled() {
			return &exitError{code: 128 + int(how.Signal())} // as a shell shows it
		}
		return &exitError{code: ee.ExitCode()}
	}
	return err
}

func shellCommand(o *options) *cobra.Command {
	var from, hosts string
	cmd := &cobra.Command{
		Use:     "shell",
		Short:   "Open a prompt inside a client pod, to try curl by hand",
		Example: "  egressctl shell\n  egressctl shell --from control",
		Args:    usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := o.cluster(cmd)
			if err != nil {
				return err
			}
			if hosts != "" {
				more, err := allHosts(hosts)
				if err != nil {
					return usage(err)
				}
				if err := harness.AddHosts(cmd.Context(), c, more); err != nil {
					return err
				}
			}
			return kubectl(cmd, c, "exec", promptFlags(term.IsTerminal(int(os.Stdin.Fd()))), "-n", "egress-"+from, "deploy/sleep", "-c", "sleep", "--", "/bin/sh")
		},
	}
	cmd.Flags().StringVar(&from, "from", "client", "client pod: client or control")
	addHostsFlag(cmd, &hosts)
	return cmd
}

// promptFlags are kubectl's for a shell that reads what this program reads. Where that is no terminal, such as a pipe, kubectl
// would complain of it.
func promptFlags(terminal bool) string {
	if terminal {
		return "-it"
	}
	return "-i"
}

func logsCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use:     "logs PART",
		Short:   "Print the log of a part of the cluster, such as kubelet, kube-apiserver or internet",
		Example: "  egressctl logs kubelet\n  egressctl logs internet --name old",
		Args:    usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := o.anyCluster(cmd)
			if err != nil {
				return err
			}
			logs, ok := c.(cluster.Logger)
			if !ok {
				return usage(fmt.Errorf("the logs of cluster %s's parts are not ours to read: it belongs to somebody else", c.Name()))
			}
			r, err := logs.Log(args[0])
			if err != nil {
				return usage(err)
			}
			defer r.Close()
			_, err = io.Copy(printable.Writer(cmd.OutOrStdout()), r)
			return err
		},
	}
}
