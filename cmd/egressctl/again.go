package main

import (
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// notAgain are flags of run that the line which runs one case again does without: they select cases, or the harness
// says itself what they mean by then (which provider "auto" came to, the context of a cluster).
var notAgain = []string{"case", "area", "label-filter", "focus", "skip", "shard", "rerun-failed", "shuffle", "out", "dry-run", "json", "quiet", "timeout", "until-it-fails", "pause-on-fail", "provider", "name", "istio", "kubeconfig", "context", "internet", "sabotage"}

// again is the command that runs the same cases in the same way, as words: the program, run, and the flags that were
// given to cmd, as far as run has them.
func again(program string, cmd *cobra.Command) []string {
	out := []string{program, "run"}
	run, _, err := cmd.Root().Find(out[1:])
	if err != nil {
		return out
	}
	known := func(name string) bool {
		return run.Flags().Lookup(name) != nil || run.InheritedFlags().Lookup(name) != nil
	}
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if slices.Contains(notAgain, f.Name) || !known(f.Name) {
			return
		}
		values := []string{f.Value.String()}
		if s, several := f.Value.(pflag.SliceValue); several {
			values = s.GetSlice()
		}
		for _, v := range values {
			switch {
			case f.Value.Type() != "bool":
				out = append(out, "--"+f.Name, v)
			case v == "true":
				out = append(out, "--"+f.Name)
			default:
				out = append(out, "--"+f.Name+"="+v)
			}
		}
	})
	return out
}
