package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/harness"
	"mesh-egress-conformance/framework/printable"
)

func probeCommand(o *options) *cobra.Command {
	var (
		from, server, want string
		asJSON             bool
		sel                selection
	)
	cmd := &cobra.Command{
		Use:     "probe URL [-- CURL-ARGS]",
		Short:   "Make one probe on a running cluster and show all witnesses",
		Example: "  egressctl probe http://httpbin.org/get\n  egressctl probe https://httpbin.org/get --want blocked    # exit status 1 where it is not\n  egressctl probe http://httpbin.org/get -- -H \"Host: en.wikipedia.org\"",
		Long: "Probe calls a URL from a client pod, and the control client beside it, and says what came out, with all witnesses.\n\n" +
			"Exit status: 0 the outcome is proven, and is that of --want where it is given; 1 it is proven and another one, or the\n" +
			"call arrived at another host than --server; 2 nothing is proven, or a fault of the harness; 64 wrong usage.",
		Args: usageArgs(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			p := egress.GET(from, args[0], args[1:]...)
			p.Server = server
			if want != "" {
				w, err := egress.ParseOutcome(want)
				if err != nil {
					return usage(fmt.Errorf("--want: %w", err))
				}
				p.Wants = egress.Wants{w, w, w, w}
			}
			s, err := o.watch(cmd, &sel)
			if err != nil {
				return err
			}
			r, err := s.Observe(cmd.Context(), p)
			if err := errors.Join(err, s.Close(context.WithoutCancel(cmd.Context()))); err != nil {
				return err
			}
			if asJSON {
				err = printJSON(cmd.OutOrStdout(), r)
			} else {
				err = printProbe(printable.Writer(cmd.OutOrStdout()), r) // a server may answer with anything
			}
			if code := egress.ExitCode([]egress.Verdict{r.Verdict}); err == nil && code != exitOK {
				return &exitError{code: code}
			}
			return err
		},
	}
	cmd.Flags().StringVar(&from, "from", "client", "client from which to probe")
	cmd.Flags().StringVar(&server, "server", "", "host that must be reached, and that the control client calls (default: the host of the URL)")
	cmd.Flags().StringVar(&want, "want", "", "outcome that is wanted, as in a case: OK, blocked, 503UH ... (default: any)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	addHostsFlag(cmd, &sel.hosts)
	return cmd
}

// watch opens a session that makes calls in a running cluster and changes nothing there.
func (o *options) watch(cmd *cobra.Command, sel *selection) (*harness.Session, error) {
	if _, err := o.cluster(cmd); err != nil {
		return nil, err
	}
	what, err := sel.load(cmd.Context())
	if err != nil {
		return nil, err
	}
	ho, err := o.session(cmd, what)
	if err != nil {
		return nil, err
	}
	ho.Log, ho.Watch = nil, true
	return harness.Open(cmd.Context(), ho)
}

// printProbe prints what a probe came to in words, with the code that a case file has for it, and then the witnesses.
func printProbe(w io.Writer, r egress.ProbeResult) error {
	var b strings.Builder
	switch r.Got {
	case 0:
		fmt.Fprintf(&b, "inconclusive: %s\n", r.Why)
	default:
		fmt.Fprintf(&b, "%s [%s]: %s\n", r.Got.Words(), r.Got, r.Got.Meaning())
		switch {
		case r.Verdict == egress.Inconclusive:
			fmt.Fprintf(&b, "  but nothing is proven: %s\n", r.Why)
		case r.Verdict == egress.Violates && !r.Want.Has(r.Got):
			fmt.Fprintf(&b, "  wanted: %s [%s]\n", r.Want.Words(), r.Want)
		case r.Verdict == egress.Violates:
			fmt.Fprintf(&b, "  but %s\n", r.Why)
		}
	}
	for _, o := range r.Observations {
		fmt.Fprintf(&b, "  client       %s → %s: exit %d, status %03d, %.0f ms\n", o.Client.Local, o.Client.Remote, o.Client.ExitCode, o.Client.HTTPCode, float64(o.Client.Took.Microseconds())/1000)
		for _, l := range o.Mesh {
			fmt.Fprintf(&b, "  sidecar      %d %s cluster %q route %q upstream %s\n", l.ResponseCode, l.ResponseFlags, l.UpstreamCluster, l.RouteName, l.UpstreamHost)
		}
		for _, a := range o.Arrivals {
			fmt.Fprintf(&b, "  destination  %s (%s) from %s: %s %s%s\n", a.Server, a.Local, a.Peer, a.Kind, a.Method, a.Path)
		}
		if len(o.Arrivals) == 0 && !o.Blind {
			fmt.Fprintln(&b, "  destination  nothing arrived")
		}
	}
	if r.Control != nil {
		fmt.Fprintf(&b, "  control      reached: %t, %s\n", r.Control.Reached, r.Control.Detail)
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("print the probe: %w", err)
	}
	return nil
}
