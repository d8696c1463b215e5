package main

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"mesh-egress-conformance/framework/cluster"
	"mesh-egress-conformance/framework/components"
	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/input"
	"mesh-egress-conformance/framework/pages"
	"mesh-egress-conformance/framework/provider"
	"mesh-egress-conformance/suites"
)

// values are what a shell offers for a flag of a command.
type values func(o *options, cmd *cobra.Command) []string

// flagValues are those of every flag that takes one of several values, whichever command has it.
var flagValues = map[string]values{
	"area": func(_ *options, cmd *cobra.Command) []string {
		var out []string
		for _, c := range casesFor(cmd) {
			if !slices.Contains(out, c.Area) {
				out = append(out, c.Area)
			}
		}
		return out
	},
	"case": func(_ *options, cmd *cobra.Command) []string { return caseNames(cmd) },
	"from": func(*options, *cobra.Command) []string { return clientNames() },
	"internet": func(*options, *cobra.Command) []string {
		return []string{string(cluster.Hermetic), string(cluster.Live)}
	},
	"istio":    func(o *options, _ *cobra.Command) []string { return istioVersions(o) },
	"profile":  func(*options, *cobra.Command) []string { return []string{string(cluster.IstioDocs)} },
	"provider": func(*options, *cobra.Command) []string { return append(provider.Names(), provider.Auto) },
	"sabotage": func(*options, *cobra.Command) []string { return sabotageNames() },
	"source": func(*options, *cobra.Command) []string {
		return []string{string(components.Auto), string(components.Image), string(components.Build)}
	},
}

// addCompletion makes the shell offer values of flags, and the names of cases. A mistake in what it reads offers nothing.
func addCompletion(o *options, cmd *cobra.Command) error {
	for name, of := range flagValues {
		if cmd.LocalFlags().Lookup(name) == nil {
			continue
		}
		err := cmd.RegisterFlagCompletionFunc(name, func(cmd *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
			return listOf(of(o, cmd), typed), cobra.ShellCompDirectiveNoFileComp
		})
		if err != nil {
			return err
		}
	}
	for _, sub := range cmd.Commands() {
		if err := addCompletion(o, sub); err != nil {
			return err
		}
	}
	return nil
}

// groupExamples are those of commands that only group others, and of those that cobra makes.
var groupExamples = map[string]string{
	"egressctl": "  egressctl run                                 # everything, in a cluster of its own\n  egressctl run --cases ./egress                # cases of your own\n" +
		"  egressctl verify ./mesh                       # what do these objects let out?\n  egressctl matrix --istio 1.30,1.31            # what does an upgrade change?\n  egressctl why https://api.example --from client",
	"egressctl components": "  egressctl components list\n  egressctl components fetch --istio 1.30\n  egressctl components prune",
	"egressctl docs":       "  egressctl docs list\n  egressctl docs run tcp-egress",
	"egressctl image":      "  egressctl image load ./nginx.tar",
	"egressctl report":     "  egressctl report html reports/out/report.json\n  egressctl report schema",
	"egressctl completion": "  source <(egressctl completion bash)",

	"egressctl completion bash":       "  egressctl completion bash >/etc/bash_completion.d/egressctl",
	"egressctl completion zsh":        "  egressctl completion zsh >\"${fpath[1]}/_egressctl\"",
	"egressctl completion fish":       "  egressctl completion fish >~/.config/fish/completions/egressctl.fish",
	"egressctl completion powershell": "  egressctl completion powershell | Out-String | Invoke-Expression",
}

// addExamples gives commands that have no example theirs.
func addExamples(cmd *cobra.Command) {
	if e := groupExamples[cmd.CommandPath()]; e != "" {
		cmd.Example = e
	}
	for _, sub := range cmd.Commands() {
		addExamples(sub)
	}
}

// pageNames offers the names of pages.
func pageNames(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	lib, err := openLibrary()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer lib.Close()
	names, _ := pages.Names(lib.fs()) // nothing is offered where there are none
	return names, cobra.ShellCompDirectiveNoFileComp
}

// listOf are the words that a list with commas, of which the last may be incomplete, can become.
func listOf(words []string, typed string) []string {
	before := typed[:strings.LastIndexByte(typed, ',')+1]
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = before + w
	}
	return out
}

// casesFor are the cases that a command line means: the built-in ones, or those of --cases.
func casesFor(cmd *cobra.Command) []egress.Case {
	if dir, err := cmd.Flags().GetString("cases"); err == nil && dir != "" {
		return suites.Read(input.Tree(dir)).Cases()
	}
	return suites.Folder().Cases()
}

func caseNames(cmd *cobra.Command) []string {
	var out []string
	for _, c := range casesFor(cmd) {
		out = append(out, c.Name)
	}
	return out
}

func clientNames() []string {
	var out []string
	for _, c := range suites.Folder().EgressClients() {
		out = append(out, c.Name)
	}
	return out
}

func istioVersions(o *options) []string {
	cat, err := components.LoadCatalogue(o.releases)
	if err != nil {
		return nil
	}
	var out []string
	for _, i := range cat.Istio {
		if !slices.Contains(out, i.Version) {
			out = append(out, i.Version)
		}
	}
	return out
}

func sabotageNames() []string {
	all, err := suites.Sabotages()
	if err != nil {
		return nil
	}
	var out []string
	for _, s := range all {
		out = append(out, s.Name)
	}
	return out
}
