package main

import (
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"

	"github.com/spf13/cobra"

	"mesh-egress-conformance/framework/cluster"
)

func doctorCommand(o *options) *cobra.Command {
	var install, asJSON bool
	cmd := &cobra.Command{
		Use:     "doctor",
		Short:   "Check what this machine lacks, and name the remedy",
		Example: "  egressctl doctor\n  egressctl doctor --install",
		Args:    usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := o.open(cmd.Context())
			if err != nil {
				return err
			}
			checks := p.Doctor(cmd.Context())
			if pkgs := missingPackages(checks); install && len(pkgs) > 0 {
				if err := installPackages(cmd, pkgs); err != nil {
					return err
				}
				checks = p.Doctor(cmd.Context())
			}
			if asJSON {
				err = printJSON(cmd.OutOrStdout(), append([]cluster.Check{}, checks...)) // not nil: JSON has a list
			} else {
				err = printChecks(cmd.OutOrStdout(), checks)
			}
			if err != nil {
				return err
			}
			if bad := failed(checks); bad > 0 {
				return fmt.Errorf("%d of %d checks failed", bad, len(checks))
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().BoolVar(&install, "install", false, "install missing distribution packages with apt-get, saying which")
	return cmd
}

func printChecks(w io.Writer, checks []cluster.Check) error {
	var b strings.Builder
	for _, c := range checks {
		switch {
		case !c.OK:
			fmt.Fprintf(&b, "FAIL  %s: %s\n      remedy: %s\n", c.Name, c.Detail, c.Remedy)
		case c.Warning:
			fmt.Fprintf(&b, "warn  %s: %s\n      remedy: %s\n", c.Name, c.Detail, c.Remedy)
		case c.Detail != "":
			fmt.Fprintf(&b, "ok    %s: %s\n", c.Name, c.Detail)
		default:
			fmt.Fprintf(&b, "ok    %s\n", c.Name)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func failed(checks []cluster.Check) int {
	n := 0
	for _, c := range checks {
		if !c.OK {
			n++
		}
	}
	return n
}

func missingPackages(checks []cluster.Check) []string {
	var out []string
	for _, c := range checks {
		if !c.OK && c.Package != "" {
			out = append(out, strings.Fields(c.Package)...)
		}
	}
	return out
}

func installPackages(cmd *cobra.Command, pkgs []string) error {
	if _, err := exec.LookPath("apt-get"); err != nil {
		return fmt.Errorf("packages %s are missing and this machine has no apt-get: install them by hand: %w", strings.Join(pkgs, " "), err)
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "installing with apt-get: %s\n", strings.Join(pkgs, " "))
	for _, args := range [][]string{{"-q", "update"}, append([]string{"-q", "-y", "install", "--no-install-recommends"}, pkgs...)} {
		c := exec.CommandContext(cmd.Context(), "apt-get", args...)
		if out, err := c.CombinedOutput(); err != nil {
			return errors.Join(fmt.Errorf("apt-get %s: %w", strings.Join(args, " "), err), errors.New(strings.TrimSpace(string(out))))
		}
	}
	return nil
}
