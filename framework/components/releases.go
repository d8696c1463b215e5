package components

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"

	"sigs.k8s.io/yaml"
)

// Release is one file NAME.yaml of a folder of releases, with the same sections as the catalogue. The wrapper module of
// its Istio, if it needs one, is NAME.mod and NAME.sum beside it.
type Release struct {
	Istio []Istio `json:"istio"`
	// Envoy has the pins of Envoy's wheels that the catalogue does not have.
	Envoy map[string]map[string]WheelPin `json:"envoy,omitempty"`
	// Modules has the checksum of the Istio's Go module.
	Modules map[string]string `json:"modules"`
}

// UserReleases is the folder of the user's own releases.
func UserReleases() (string, error) {
	base, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("find the folder of your own Istio releases (set XDG_CONFIG_HOME or HOME, or name one with --catalogue): %w", err)
	}
	return filepath.Join(base, "mesh-egress-conformance", "releases"), nil
}

// addFolder adds the releases of a folder; "" is UserReleases, which need not exist.
func (c *Catalogue) addFolder(dir string) error {
	given := dir != ""
	if !given {
		var err error
		if dir, err = UserReleases(); err != nil {
			return nil //nolint:nilerr // nobody who has no such folder needs one
		}
	}
	if _, err := os.Stat(dir); err != nil {
		if !given && errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return fmt.Errorf("read the folder of Istio releases (--catalogue): %w", err)
	}
	known := c.recipes
	c.recipes = append(slices.Clone(known), os.DirFS(dir))
	return c.addReleases(os.DirFS(dir), dir, known)
}

// addReleases adds the releases of a folder, whose name is for errors. Files that are the same as one of the known folders'
// are there already: the folder may be that which this program was built with.
func (c *Catalogue) addReleases(dir fs.FS, name string, known recipes) error {
	files, err := fs.Glob(dir, "*.yaml")
	if err != nil {
		return err
	}
	for _, f := range files {
		b, err := fs.ReadFile(dir, f)
		if err == nil && known.file(f) == string(b) {
			continue
		}
		var r Release
		if err == nil {
			err = yaml.UnmarshalStrict(b, &r)
		}
		if err == nil {
			err = c.add(r)
		}
		if err != nil {
			return fmt.Errorf("istio release %s in %s: %w", f, name, err)
		}
	}
	return nil
}

// releaseNames are valid versions and tags, which become parts of file names.
var (
	minorVersion = regexp.MustCompile(`^\d+\.\d+$`)
	releaseName  = regexp.MustCompile(`^\d+\.\d+[.-][A-Za-z0-9_.-]+$`)
	wrapperName  = regexp.MustCompile(`^[A-Za-z0-9_.-]+$`)
)

// add adds what a file says, if it contradicts nothing.
func (c *Catalogue) add(r Release) error {
	for _, i := range r.Istio {
		if err := c.checkRelease(i, r); err != nil {
			return err
		}
		c.Istio = append(c.Istio, i)
	}
	for v, pins := range r.Envoy {
		if c.Envoy[v] == nil {
			c.Envoy[v] = map[string]WheelPin{}
		}
		for arch, pin := range pins {
			if have, ok := c.Envoy[v][arch]; ok && have != pin {
				return fmt.Errorf("the wheel of Envoy %s for %s has other digests in the catalogue", v, arch)
			}
			c.Envoy[v][arch] = pin
		}
	}
	for m, sum := range r.Modules {
		if have, ok := c.Modules[m]; ok && have != sum {
			return fmt.Errorf("go module %s has another checksum in the catalogue", m)
		}
		c.Modules[m] = sum
	}
	return nil
}

func (c *Catalogue) checkRelease(i Istio, r Release) error {
	switch {
	case !minorVersion.MatchString(i.Version):
		return fmt.Errorf("version %q is not of the form 1.31", i.Version)
	case !releaseName.MatchString(i.Release):
		return fmt.Errorf("release %q is not of the form 1.31.0 or 1.31-name", i.Release)
	case i.Default:
		return errors.New("only the catalogue itself has a default release")
	case slices.ContainsFunc(c.Istio, func(x Istio) bool { return x.Release == i.Release }):
		return fmt.Errorf("release %s is in the catalogue already", i.Release)
	case r.Modules[i.Module] == "" && c.Modules[i.Module] == "":
		return fmt.Errorf("modules has no checksum of %s", i.Module)
	case len(r.Envoy[i.Envoy])+len(c.Envoy[i.Envoy]) == 0:
		return fmt.Errorf("envoy has no digests of version %q", i.Envoy)
	case i.Wrapper == "":
		return nil
	case !wrapperName.MatchString(i.Wrapper) || c.recipes.file(i.Wrapper+".mod") == "" || c.recipes.file(i.Wrapper+".sum") == "":
		return fmt.Errorf("the wrapper module %q is not there: %[1]s.mod and %[1]s.sum belong beside this file", path.Base(i.Wrapper))
	case i.Substitutes == "":
		return errors.New("a release with a wrapper module must say what that substitutes (substitutes)")
	}
	return nil
}
