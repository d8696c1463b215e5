package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

func TestAgain(t *testing.T) {
	for args, want := range map[string]string{
		"run": "egressctl run",
		"run --case a --label-filter b --shuffle 3 --out x --name n --provider kind --istio 1.29": "egressctl run",
		"run --cases dir --lanes 2 --keep --strict-cluster=false -v":                              "egressctl run --cases dir --keep --lanes 2 --strict-cluster=false --verbose",
		"run --kubeconfig f --context c --client-image i --allow-install":                         "egressctl run --allow-install --client-image i",
		"selftest --sabotage s --source build --nodes 2":                                          "egressctl run --nodes 2 --source build",
		"parity --providers embedded,kind --cases dir --write w":                                  "egressctl run --cases dir",
	} {
		root := rootCommand()
		var got []string
		for _, c := range root.Commands() {
			c.RunE = func(cmd *cobra.Command, _ []string) error { got = again("egressctl", cmd); return nil }
		}
		root.SetArgs(strings.Fields(args))
		if err := root.Execute(); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, strings.Fields(want)) {
			t.Errorf("%s: %v, wanted %s", args, got, want)
		}
	}
}

// Each flag that the line does without must be one that run has: a renamed flag would be said twice.
func TestNotAgainAreFlags(t *testing.T) {
	run, _, err := rootCommand().Find([]string{"run"})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range notAgain {
		if run.Flags().Lookup(name) == nil && run.InheritedFlags().Lookup(name) == nil {
			t.Errorf("run has no flag --%s", name)
		}
	}
}
