package main

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/mod/module"
	"golang.org/x/mod/semver"

	"mesh-egress-conformance/framework/components"
)

// Set by the linker in releases (scripts/release); otherwise the build information of the go command tells.
var version, commit string

// devel is what the go command calls a version that nobody has said.
const devel = "(devel)"

// buildInfo is what `egressctl version --json` prints.
type buildInfo struct {
	Version  string `json:"version"`            // of this program; "(devel)" where nobody has said it
	Commit   string `json:"commit,omitempty"`   // of the source, abbreviated where a pseudo-version has told it; "" where nothing has
	Modified bool   `json:"modified,omitempty"` // there were changes beside that commit
	Go       string `json:"go"`                 // the toolchain that has built it
	Platform string `json:"platform"`           // GOOS/GOARCH
	// Istio are the releases of the component catalogue, the newest first.
	Istio []istioRelease `json:"istio"`
}

type istioRelease struct {
	Version string `json:"version"` // minor, as --istio takes it
	Release string `json:"release"`
	Envoy   string `json:"envoy"`
	Default bool   `json:"default,omitempty"`
}

func versionCommand(o *options) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Print the version of this program, what built it, and the Istio releases that it knows",
		Example: "  egressctl version\n  egressctl version --json",
		Args:    usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cat, err := components.LoadCatalogue(o.releases)
			if err != nil {
				return err
			}
			info, _ := debug.ReadBuildInfo() // nil says nothing, as a build without modules does
			a := buildInfoOf(info, cat.Istio)
			if asJSON {
				return printJSON(cmd.OutOrStdout(), a)
			}
			return a.write(cmd.OutOrStdout())
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// buildInfoOf is what the linker, and where it says nothing the build information, knows of a program.
func buildInfoOf(info *debug.BuildInfo, releases []components.Istio) buildInfo {
	a := buildInfo{Version: version, Commit: commit, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if info != nil {
		if a.Version == "" {
			a.Version = info.Main.Version
		}
		for _, s := range info.Settings {
			switch {
			case s.Key == "vcs.revision" && a.Commit == "":
				a.Commit = s.Value
			case s.Key == "vcs.modified" && commit == "":
				a.Modified = s.Value == "true"
			}
		}
	}
	if a.Commit == "" && module.IsPseudoVersion(a.Version) {
		// go install PATH@VERSION notes nothing of the checkout, which it has not seen.
		a.Commit, _ = module.PseudoVersionRev(a.Version) // "" where it is malformed
	}
	if a.Version == "" {
		a.Version = devel
	}
	for _, i := range releases {
		a.Istio = append(a.Istio, istioRelease{i.Version, i.Release, i.Envoy, i.Default})
	}
	return a
}

func (a buildInfo) write(w io.Writer) error {
	from := "commit unknown: the build has noted neither a version nor a commit; build in a checkout with git, or go install a version"
	switch {
	case a.Commit != "":
		from = "commit " + a.Commit
	case semver.IsValid(a.Version):
		from = "the commit with that tag"
	}
	if a.Modified {
		from += " with changes"
	}
	var text strings.Builder
	fmt.Fprintf(&text, "egressctl %s, %s\n%s %s\nIstio:\n", a.Version, from, a.Go, a.Platform)
	for _, i := range a.Istio {
		note := ""
		if i.Default {
			note = ", the default"
		}
		fmt.Fprintf(&text, "  %-5s %s with Envoy %s%s\n", i.Version, i.Release, i.Envoy, note)
	}
	_, err := io.WriteString(w, text.String())
	return err
}
