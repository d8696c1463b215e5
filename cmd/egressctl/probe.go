package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/harness"
	"mesh-egress-conformance/framework/printable"
)

func probeCommand(o *options) *cobra.Command {
	var (
		from   string
		asJSON bool
		sel    selection
	)
	cmd := &cobra.Command{
		Use:   "probe URL [-- CURL-ARGS]",
		Short: "Make one probe on a running cluster and show all witnesses",
		Args:  usageArgs(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := o.cluster(cmd); err != nil {
				return err
			}
			what, err := sel.load(cmd.Context())
			if err != nil {
				return err
			}
			ho, err := o.session(cmd, what)
			if err != nil {
				return err
			}
			ho.Log, ho.Watch = nil, true
			s, err := harness.Open(cmd.Context(), ho)
			if err != nil {
				return err
			}
			r, err := s.Observe(cmd.Context(), egress.GET(from, args[0], args[1:]...))
			if err := errors.Join(err, s.Close(context.WithoutCancel(cmd.Context()))); err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), r)
			}
			return printProbe(cmd, r)
		},
	}
	cmd.Flags().StringVar(&from, "from", "client", "client from which to probe")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	addHostsFlag(cmd, &sel.hosts)
	return cmd
}

func printProbe(cmd *cobra.Command, r egress.ProbeResult) error {
	w := printable.Writer(cmd.OutOrStdout()) // a server may answer with anything
	if r.Got == 0 {
		fmt.Fprintf(w, "inconclusive: %s\n", r.Why)
	} else {
		fmt.Fprintf(w, "%s: %s\n", r.Got, r.Got.Meaning())
		if r.Verdict == egress.Inconclusive {
			fmt.Fprintf(w, "  but nothing is proven: %s\n", r.Why)
		}
	}
	for _, o := range r.Observations {
		fmt.Fprintf(w, "  client       %s → %s: exit %d, status %03d, %.0f ms\n", o.Client.Local, o.Client.Remote, o.Client.ExitCode, o.Client.HTTPCode, float64(o.Client.Took.Microseconds())/1000)
		for _, l := range o.Mesh {
			fmt.Fprintf(w, "  sidecar      %d %s cluster %q route %q upstream %s\n", l.ResponseCode, l.ResponseFlags, l.UpstreamCluster, l.RouteName, l.UpstreamHost)
		}
		for _, a := range o.Arrivals {
			fmt.Fprintf(w, "  destination  %s (%s) from %s: %s %s%s\n", a.Server, a.Local, a.Peer, a.Kind, a.Method, a.Path)
		}
		if len(o.Arrivals) == 0 {
			fmt.Fprintln(w, "  destination  nothing arrived")
		}
	}
	if r.Control != nil {
		fmt.Fprintf(w, "  control      reached: %t, %s\n", r.Control.Reached, r.Control.Detail)
	}
	if r.Verdict == egress.Inconclusive {
		return &exitError{code: exitFault}
	}
	return nil
}
