package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"al.essio.dev/pkg/shellescape"
	"github.com/spf13/cobra"

	"mesh-egress-conformance/framework/cluster"
)

func envCommand(o *options) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "env",
		Short: "Print what a shell needs to use a running cluster: KUBECONFIG, a PATH with its own kubectl and istioctl, and its name",
		Long: "Env prints lines that a POSIX shell evaluates. kubectl and istioctl are those of the cluster's versions,\n" +
			"and egressctl means this cluster without --name (EGRESS_NAME).\n\n" +
			"Exit status: 0 printed, 2 there is no such cluster, 64 wrong usage.",
		Example: "  eval \"$(egressctl env)\"\n  kubectl get pods -A\n  istioctl proxy-config clusters deploy/sleep -n egress-client",
		Args:    usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := o.cluster(cmd)
			if err != nil {
				return err
			}
			e := environmentOf(c)
			if asJSON {
				return printJSON(cmd.OutOrStdout(), e)
			}
			_, err = fmt.Fprint(cmd.OutOrStdout(), e.shell())
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// shellEnvironment is what a shell needs to use a cluster.
type shellEnvironment struct {
	Kubeconfig string   `json:"kubeconfig"`
	Path       []string `json:"path"`           // folders that come before all others
	Name       string   `json:"name,omitempty"` // of a cluster of ours, which egressctl means without --name then
}

// environmentOf finds where the cluster's programs are. A cluster of somebody else has none of its own.
func environmentOf(c cluster.Cluster) shellEnvironment {
	e := shellEnvironment{Kubeconfig: c.Kubeconfig(), Path: []string{}}
	if c.Facts().Foreign {
		return e
	}
	e.Name = c.Name()
	for _, name := range []string{"kubectl", "istioctl"} {
		if p := c.Program(name); filepath.IsAbs(p) && !slices.Contains(e.Path, filepath.Dir(p)) {
			e.Path = append(e.Path, filepath.Dir(p))
		}
	}
	return e
}

// shell is the environment as lines for a POSIX shell.
func (e shellEnvironment) shell() string {
	out := "export KUBECONFIG=" + shellescape.Quote(e.Kubeconfig) + "\n"
	if len(e.Path) > 0 {
		out += "export PATH=" + shellescape.Quote(strings.Join(e.Path, ":")) + ":\"$PATH\"\n"
	}
	if e.Name != "" {
		out += "export " + nameEnv + "=" + shellescape.Quote(e.Name) + "\n"
	}
	return out
}
