package main

import (
	"context"
	"errors"
	"io"

	"github.com/spf13/cobra"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/printable"
	"mesh-egress-conformance/framework/why"
)

func whyCommand(o *options) *cobra.Command {
	var (
		from    string
		asJSON  bool
		verbose bool
		sel     selection
	)
	cmd := &cobra.Command{
		Use:   "why URL",
		Short: "Make one call in a running cluster and say which object let it out, or which one is missing",
		Long: "Why calls a URL from a client pod, as probe does, and explains what came of it in plain words: the objects that let it out,\n" +
			"in the order in which the sidecar used them, or the object that would have to be there, those that nearly do, and a\n" +
			"ServiceEntry that would. It goes by the line of the sidecar's access log, the sidecar's own configuration, and the objects in\n" +
			"the cluster.\n\n" +
			"Exit status: 0 explained, 2 nothing is proven, or a fault of the harness, 64 wrong usage.",
		Example: `  egressctl why https://httpbin.org/get
  egressctl why http://httpbin.org/get --from client-dns
  egressctl why tcp://db.example:5432 -v              # and what each witness saw`,
		Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			p := egress.GET(from, args[0])
			if p.Protocol().Scheme == "" {
				return usage(errors.New("URL " + args[0] + ": its scheme is none of " + egress.Schemes()))
			}
			s, err := o.watch(cmd, &sel)
			if err != nil {
				return err
			}
			a, r, err := s.Why(cmd.Context(), p)
			if err := errors.Join(err, s.Close(context.WithoutCancel(cmd.Context()))); err != nil {
				return err
			}
			return printWhy(cmd, a, r, asJSON, verbose)
		},
	}
	f := cmd.Flags()
	f.StringVar(&from, "from", "client", "client from which to call")
	f.BoolVarP(&verbose, "verbose", "v", false, "print what each witness saw too")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	addHostsFlag(cmd, &sel.hosts)
	return cmd
}

func printWhy(cmd *cobra.Command, a why.Answer, r egress.ProbeResult, asJSON, verbose bool) error {
	var err error
	if asJSON {
		err = printJSON(cmd.OutOrStdout(), a)
	} else {
		_, err = io.WriteString(cmd.OutOrStdout(), a.Text())
	}
	if verbose && !asJSON && err == nil {
		err = printProbe(printable.Writer(cmd.OutOrStdout()), r)
	}
	if err == nil && a.Outcome == 0 {
		return &exitError{code: exitFault}
	}
	return err
}
