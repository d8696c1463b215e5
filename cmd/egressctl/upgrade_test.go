package main

import (
	"strings"
	"testing"
)

func TestUpgradeUsage(t *testing.T) {
	for want, args := range map[string][]string{
		"name both versions":             {"--from", "1.29"},
		"0.8":                            {"--from", "0.8", "--to", "1.31"},
		"are one minor version":          {"--from", "1.31", "--to", "1.31.0"},
		"has no --istio":                 {"--from", "1.29", "--to", "1.31", "--istio", "1.30"},
		`strategy "big-bang" is unknown`: {"--from", "1.29", "--to", "1.31", "--strategy", "big-bang"},
		`sabotage "allow-any"`:           {"--from", "1.29", "--to", "1.31", "--sabotage", "allow-any"},
		"0 replicas":                     {"--from", "1.29", "--to", "1.31", "--replicas", "0"},
		"a cluster of its own":           {"--from", "1.29", "--to", "1.31", "--provider", "existing"},
	} {
		if args[len(args)-1] != "existing" {
			args = append(args, "--provider", "embedded")
		}
		code, _, stderr := egressctl(t, append([]string{"upgrade"}, args...)...)
		if code != exitUsage || !strings.Contains(stderr, want) {
			t.Errorf("%v: exit %d, %q; want exit %d and %q", args, code, stderr, exitUsage, want)
		}
	}
}
