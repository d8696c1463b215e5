package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"mesh-egress-conformance/framework/components"
	"mesh-egress-conformance/framework/release"
)

func addIstioCommand(o *options) *cobra.Command {
	var ro release.Options
	var replace []string
	cmd := &cobra.Command{
		Use:     "add-istio MODULE@VERSION",
		Short:   "Add an Istio release: find out which of its modules are served, write its entry, build it",
		Example: "  egressctl components add-istio istio.io/istio@1.31.2",
		Long: "Add-istio adds a version of Istio's Go module (istio.io/istio@VERSION: a pseudo-version, a tag or a commit) to the folder of\n" +
			"--catalogue. It asks for everything that the module requires; for what is refused it takes the nearest version that is\n" +
			"served, writes a small module of ours with these substitutions, builds istiod, the agent and istioctl, and keeps the\n" +
			"entry if they build. docs/versions.md says more.",
		Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			ro.Module, ro.Logf = args[0], func(format string, a ...any) { fmt.Fprintf(o.steps(cmd), format+"\n", a...) }
			var err error
			if ro.Replace, err = replacements(replace); err != nil {
				return usage(err)
			}
			store, err := components.OpenStore()
			if err != nil {
				return err
			}
			return o.addIstio(cmd, store, ro)
		},
	}
	f := cmd.Flags()
	f.StringVar(&ro.Release, "release", "", "name of the release, which is the tag of its official images too (default: the tag if VERSION is one, else made of minor version and commit)")
	f.StringVar(&ro.Envoy, "envoy", "", "Envoy that goes with it (default: that of the catalogue's release of the same minor version, else the newest of the minor version that Istio's is built of)")
	f.StringArrayVar(&replace, "replace", nil, "MODULE=VERSION: use this version of a module that the release requires")
	return cmd
}

// replacements reads --replace flags.
func replacements(flags []string) (map[string]string, error) {
	out := map[string]string{}
	for _, f := range flags {
		module, version, ok := strings.Cut(f, "=")
		if !ok || module == "" || version == "" {
			return nil, fmt.Errorf("--replace %q is not of the form MODULE=VERSION", f)
		}
		out[module] = version
	}
	return out, nil
}

// addIstio plans the release, writes it into a folder of its own, builds it from there, and publishes it if it builds.
func (o *options) addIstio(cmd *cobra.Command, store *components.Store, ro release.Options) error {
	ctx, w := cmd.Context(), cmd.OutOrStdout()
	dir := o.releases
	if dir == "" {
		var err error
		if dir, err = components.UserReleases(); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make the folder of releases: %w", err)
	}
	cat, err := components.LoadCatalogue(dir)
	if err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "add-istio-")
	if err != nil {
		return fmt.Errorf("make a folder to work in: %w", err)
	}
	defer os.RemoveAll(work)
	modules := release.GoCommand{Dir: work}
	plan, err := release.Make(ctx, modules, cat, ro)
	if err != nil {
		return err
	}
	pins, err := envoyOf(ctx, store, cat, plan)
	if err != nil {
		return err
	}
	trial, err := os.MkdirTemp(work, "release-")
	if err == nil {
		err = plan.Write(ctx, modules, trial, pins)
	}
	if err != nil {
		return err
	}
	ro.Logf("building Istio %s, which takes minutes; nothing is kept unless it builds", plan.Release)
	if _, err := components.FetchIstio(ctx, store, components.Options{Istio: plan.Release, Releases: trial, Progress: newProgress(o.steps(cmd))}); err != nil {
		return fmt.Errorf("release %s does not build%s: %w\n(--replace MODULE=VERSION chooses another version of a module)", plan.Release, because(plan), err)
	}
	written, err := plan.Publish(trial, dir)
	if err != nil {
		return err
	}
	for _, f := range written {
		fmt.Fprintln(w, "wrote", f)
	}
	if s := plan.Substitutes(); s != "" {
		fmt.Fprintln(w, "note:", s)
	}
	again := ""
	if o.releases != "" {
		again = " --catalogue " + o.releases
	}
	fmt.Fprintf(w, "Istio %s is built, with Envoy %s; try\n  egressctl run%s --istio %[1]s --source build\n", plan.Release, plan.Envoy, again)
	return nil
}

// because says which modules were replaced.
func because(p *release.Plan) string {
	if len(p.Substitutions) == 0 {
		return ""
	}
	all := make([]string, len(p.Substitutions))
	for n, s := range p.Substitutions {
		all[n] = s.Path + " " + s.Used
	}
	return " with " + strings.Join(all, ", ")
}

// envoyOf settles the Envoy of a planned release, and returns its digests if the catalogue does not have them.
func envoyOf(ctx context.Context, store *components.Store, cat *components.Catalogue, p *release.Plan) (map[string]components.WheelPin, error) {
	fits := p.Envoy
	if fits == "" {
		var err error
		if fits, err = release.EnvoyOf(p.Minor); err != nil {
			return nil, err
		}
	}
	if cat.Envoy[fits] != nil {
		return nil, nil
	}
	version, pins, err := components.NewestEnvoy(ctx, store, fits)
	if err != nil {
		return nil, fmt.Errorf("find an Envoy for Istio %s (--envoy names one): %w", p.Release, err)
	}
	if p.Envoy = version; cat.Envoy[version] != nil {
		return nil, nil
	}
	return pins, nil
}
