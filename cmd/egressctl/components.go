package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"mesh-egress-conformance/framework/cluster"
	"mesh-egress-conformance/framework/components"
	"mesh-egress-conformance/framework/provider"
)

func componentsCommand(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use: "components", Short: "The programs and images that clusters run, and their cache",
		Args: subcommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(componentsListCommand(o), componentsFetchCommand(o), componentsVerifyCommand(o), componentsPruneCommand(o), addIstioCommand(o))
	return cmd
}

func (o *options) fetch(cmd *cobra.Command, store *components.Store) (*components.Set, error) {
	src, err := components.ParseSource(o.source)
	if err != nil {
		return nil, usage(err)
	}
	return components.Fetch(cmd.Context(), store, components.Options{Istio: o.istio, IstioSource: o.istioSource, Releases: o.releases, Source: src, Hub: o.hub, Progress: newProgress(o.steps(cmd))})
}

func componentsListCommand(o *options) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the catalogue and what the cache holds",
		Example: "  egressctl components list\n  egressctl components list --json",
		Args:    usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cat, err := components.LoadCatalogue(o.releases)
			if err != nil {
				return err
			}
			store, err := components.OpenStore()
			if err != nil {
				return err
			}
			entries, err := store.Entries()
			if err != nil {
				return err
			}
			w := cmd.OutOrStdout()
			if asJSON {
				return printJSON(w, componentList(cat, entries, store.Root))
			}
			t := table.NewWriter()
			t.SetOutputMirror(w)
			t.AppendHeader(table.Row{"catalogue", "version"})
			for _, p := range cat.Parts {
				t.AppendRow(table.Row{p.Name, p.Version})
			}
			for _, p := range cat.Kind {
				t.AppendRow(table.Row{p.Name + " (kind)", p.Version})
			}
			for _, i := range cat.Istio {
				t.AppendRow(table.Row{"istio " + i.Version, i.Release + ", Envoy " + i.Envoy})
			}
			t.Render()
			c := table.NewWriter()
			c.SetOutputMirror(w)
			c.AppendHeader(table.Row{"cached", "version", "source", "made in", "digest"})
			for _, e := range entries {
				m := e.Manifest
				c.AppendRow(table.Row{m.Name, m.Version, m.Source, fmt.Sprintf("%.0fs", m.Seconds), fmt.Sprintf("%.12s", m.Digest())})
			}
			c.Render()
			fmt.Fprintln(w, "cache:", store.Root)
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// componentsJSON is what components list prints as JSON.
type componentsJSON struct {
	Parts  []partLine   `json:"parts"`
	Kind   []partLine   `json:"kind"` // that only clusters of containers have
	Istio  []istioLine  `json:"istio"`
	Cached []cachedLine `json:"cached"`
	Cache  string       `json:"cache"` // its folder
}

type partLine struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

type istioLine struct {
	Version string `json:"version"`
	Release string `json:"release"`
	Envoy   string `json:"envoy"`
}

type cachedLine struct {
	Name    string  `json:"name"`
	Version string  `json:"version"`
	Source  string  `json:"source"`
	Seconds float64 `json:"seconds"` // that it took to make
	Digest  string  `json:"digest"`
}

func componentList(cat *components.Catalogue, entries []components.Entry, root string) componentsJSON {
	out := componentsJSON{Parts: []partLine{}, Kind: []partLine{}, Istio: []istioLine{}, Cached: []cachedLine{}, Cache: root}
	for _, p := range cat.Parts {
		out.Parts = append(out.Parts, partLine{p.Name, p.Version})
	}
	for _, p := range cat.Kind {
		out.Kind = append(out.Kind, partLine{p.Name, p.Version})
	}
	for _, i := range cat.Istio {
		out.Istio = append(out.Istio, istioLine{i.Version, i.Release, i.Envoy})
	}
	for _, e := range entries {
		m := e.Manifest
		out.Cached = append(out.Cached, cachedLine{m.Name, m.Version, string(m.Source), m.Seconds, m.Digest()})
	}
	return out
}

func componentsFetchCommand(o *options) *cobra.Command {
	var purpose string
	cmd := &cobra.Command{
		Use:     "fetch",
		Short:   "Fill the cache with everything that a cluster needs",
		Example: "  egressctl components fetch\n  egressctl components fetch --istio 1.30 --for kind",
		Args:    usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			store, err := components.OpenStore()
			if err != nil {
				return err
			}
			set, err := o.fetch(cmd, store)
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%d parts and %d images for Istio %s are in the cache (source %s, %.0fs)\n", len(set.Parts), len(set.Images), set.Istio.Version, set.Source, set.TookSec)
			for _, n := range set.Notes {
				fmt.Fprintln(cmd.OutOrStdout(), "note:", n)
			}
			switch purpose {
			case "embedded":
				return nil
			case "kind":
				e, ref, err := components.KindNode(cmd.Context(), store, components.Options{Progress: newProgress(o.steps(cmd))}, set)
				if err == nil {
					fmt.Fprintf(cmd.OutOrStdout(), "the node image %s for kind is in the cache (%s)\n", ref, e.Path(components.ImageArchive))
				}
				return err
			}
			return usage(fmt.Errorf("--for %q is unknown: use embedded or kind", purpose))
		},
	}
	cmd.Flags().StringVar(&purpose, "for", "embedded", "for which kind of cluster: embedded, or kind (builds a node image besides)")
	o.addComponentFlags(cmd)
	return cmd
}

func componentsVerifyCommand(o *options) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "verify",
		Short:   "Compare every file in the cache with its digest, and the digests with what the catalogue pins",
		Example: "  egressctl components verify\n  egressctl components verify --json",
		Args:    usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			store, err := components.OpenStore()
			if err != nil {
				return err
			}
			w := cmd.OutOrStdout()
			var all error
			var open int
			list := []verifiedLine{} // not nil: JSON has a list
			err = components.Verify(store, o.releases, func(c components.Check) {
				all, open = errors.Join(all, c.Err), open+len(c.Unchecked)
				line := verified(c)
				list = append(list, line)
				if !asJSON {
					line.write(w)
				}
			})
			if err != nil {
				return err
			}
			if asJSON {
				err = printJSON(w, list)
			}
			if all != nil {
				return fmt.Errorf("%w\n(egressctl components fetch makes damaged entries again; one with a wrong digest must be removed first)", all)
			}
			if !asJSON {
				fmt.Fprintf(w, "%d entries are what their manifests and the catalogue say; %d things could not be compared (docs/components.md)\n", len(list), open)
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// verifiedLine is what components verify says of an entry.
type verifiedLine struct {
	Name      string   `json:"name"`
	Version   string   `json:"version"`
	Error     string   `json:"error,omitempty"`
	Unchecked []string `json:"notCompared,omitempty"` // and why
}

func verified(c components.Check) verifiedLine {
	out := verifiedLine{Name: c.Entry.Manifest.Name, Version: c.Entry.Manifest.Version}
	if c.Err != nil {
		out.Error = c.Err.Error()
	} else {
		out.Unchecked = c.Unchecked
	}
	return out
}

func (l verifiedLine) write(w io.Writer) {
	state := "ok "
	if l.Error != "" {
		state = "BAD"
	}
	fmt.Fprintf(w, "%s %s %s\n", state, l.Name, l.Version)
	for _, u := range l.Unchecked {
		fmt.Fprintln(w, "      not compared:", u)
	}
}

func componentsPruneCommand(o *options) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "prune",
		Short:   "Remove cache entries that the current catalogue does not use",
		Example: "  egressctl components prune\n  egressctl components prune --json",
		Args:    usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			store, err := components.OpenStore()
			if err != nil {
				return err
			}
			keep, err := components.InUse(store, o.hub, o.releases)
			if err != nil {
				return err
			}
			removed, err := store.Prune(keep)
			for _, n := range provider.Names() {
				p, openErr := provider.Open(n, store, provider.Options{})
				if pr, ok := p.(cluster.Pruner); ok {
					more, pruneErr := pr.Prune()
					removed, err = append(removed, more...), errors.Join(err, pruneErr)
				}
				err = errors.Join(err, openErr)
			}
			if asJSON {
				return errors.Join(err, printJSON(cmd.OutOrStdout(), append([]string{}, removed...))) // not nil: JSON has a list
			}
			for _, r := range removed {
				fmt.Fprintln(cmd.OutOrStdout(), "removed", r)
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON: what was removed")
	cmd.Flags().StringVar(&o.hub, "hub", "", "keep entries that came from this mirror")
	return cmd
}
