package egress

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
)

// Revision is an istiod beside the default one: data, like a client. A client that names it is injected and served by
// it; all istiods of a cluster see the same objects, unless an object's label istio.io/rev says for which one it is.
type Revision struct {
	// Name is the value of the label istio.io/rev.
	Name string `json:"name"`
	// Environment are further variables of the istiod's container, such as feature flags.
	Environment map[string]string `json:"environment,omitempty"`
	// CompatibilityVersion is the chart's value of that name: an older minor version, such as "1.28", whose behaviour the
	// istiod has where its own is another.
	CompatibilityVersion string `json:"compatibilityVersion,omitempty"`
	// Version is the Istio version of the istiod, of whose chart it is installed, as in "1.29", or counted from the
	// cluster's own: N-1 is the minor version before that. "" and "own" are the cluster's own.
	Version string `json:"version,omitempty"`
	// Proxy is the Istio version of the proxies that it injects, in the same form. "" is that of the istiod.
	Proxy string `json:"proxy,omitempty"`
}

// RevisionLabel names the istiod that a namespace, a pod or an object of Istio's is for (istio.io, "Canary Upgrades").
const RevisionLabel = "istio.io/rev"

// DefaultRevision is the istiod that every cluster has.
const DefaultRevision = "default"

// maxRevisionName is so long that the names of all objects of the chart fit into 63 characters.
const maxRevisionName = 30

// environmentRE is what the chart can write into a container's environment.
var environmentRE = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// Check finds mistakes in a revision.
func (r Revision) Check() error {
	bad := func(format string, a ...any) error {
		return fmt.Errorf("revision %q: "+format, append([]any{r.Name}, a...)...)
	}
	switch {
	case !nameRE.MatchString(r.Name) || len(r.Name) > maxRevisionName:
		return bad("name must be lower-case words joined by dashes, %d characters at most", maxRevisionName)
	case r.Name == DefaultRevision:
		return bad("this is the istiod that every cluster has: give a further one another name")
	}
	if v := r.CompatibilityVersion; v != "" {
		if _, err := parseMinor(v); err != nil {
			return bad("compatibilityVersion: %v", err)
		}
	}
	for _, v := range []struct{ field, version string }{{"version", r.Version}, {"proxy", r.Proxy}} {
		if v.version != "" && !versionRE.MatchString(v.version) {
			return bad("%s: %q is no Istio version: give a minor version such as 1.29, or one counted from the cluster's own: N-1, N+1, own", v.field, v.version)
		}
	}
	for _, n := range slices.Sorted(maps.Keys(r.Environment)) {
		if !environmentRE.MatchString(n) {
			return bad("environment: %q is no name of a variable", n)
		}
	}
	return nil
}

// own is the version of the cluster's own Istio: N would be a truth value to YAML.
const own = "own"

// versionRE is an Istio version as a revision names it: a minor version, or one counted from the cluster's own.
var versionRE = regexp.MustCompile(`^(\d+\.\d+|own|N[+-]\d)$`)

// Versions are the minor versions of the istiod and of the proxies that it injects, in a cluster whose own Istio has a
// version such as "1.31". An error says that a version of the cluster cannot be counted from.
func (r Revision) Versions(cluster string) (istiod, proxy string, err error) {
	if istiod, err = counted(r.Version, cluster); err != nil || r.Proxy == "" {
		return istiod, istiod, err
	}
	proxy, err = counted(r.Proxy, cluster)
	return istiod, proxy, err
}

// counted is the minor version that another one means.
func counted(version, from string) (string, error) {
	if version == "" || version == own {
		version = "N+0"
	}
	if version[0] != 'N' {
		return version, nil
	}
	n, err := parseMinor(from)
	if err != nil {
		return "", fmt.Errorf("count from the cluster's own Istio: %w", err)
	}
	by, err := strconv.Atoi(version[1:])
	if err != nil {
		return "", fmt.Errorf("version %q: %w", version, err)
	}
	if n%minors+by < 0 {
		return "", fmt.Errorf("no Istio is %s of %s", version, from)
	}
	n += by
	return fmt.Sprintf("%d.%d", n/minors, n%minors), nil
}

// Same says whether two descriptions are of the same istiod.
func (r Revision) Same(as Revision) bool {
	return r.Name == as.Name && r.Version == as.Version && r.Proxy == as.Proxy && r.CompatibilityVersion == as.CompatibilityVersion && len(r.Environment) == len(as.Environment) &&
		(len(r.Environment) == 0 || reflect.DeepEqual(r.Environment, as.Environment))
}

// RevisionsOf are the istiods beside the default one to which clients are bound, by name. A namespace has one istiod, since
// its label says which one injects its pods.
func RevisionsOf(clients []Client) (map[string]Revision, error) {
	out := map[string]Revision{}
	injects := map[string]Client{} // by namespace
	for _, c := range clients {
		if first, ok := injects[c.Namespace]; ok && c.Injection == AutoInjection && first.Revision != c.Revision {
			return nil, fmt.Errorf("clients %q and %q share namespace %s, whose pods one istiod injects: give them the same revision, or namespaces of their own", first.Name, c.Name, c.Namespace)
		}
		if c.Injection == AutoInjection {
			injects[c.Namespace] = c
		}
		if c.Revision == "" {
			continue
		}
		if c.Istiod == nil {
			return nil, fmt.Errorf("client %q: nobody describes revision %q", c.Name, c.Revision)
		}
		if other, ok := out[c.Revision]; ok && !other.Same(*c.Istiod) {
			return nil, fmt.Errorf("client %q: revision %q is described in two ways: give one of them another name", c.Name, c.Revision)
		}
		out[c.Revision] = *c.Istiod
	}
	return out, nil
}

// maxReplicas of an istiod are enough to see that each proxy is known to one of them.
const maxReplicas = 3

// checkIstiod finds mistakes in what the case does with istiods.
func (c Case) checkIstiod() error {
	if len(c.Istiod[Before])+len(c.Istiod[Removed]) > 0 {
		return errors.New("it is sent away in phase applied or changed, and is back when the case ends")
	}
	for _, ph := range Phases() {
		for _, name := range slices.Sorted(maps.Keys(c.Istiod[ph])) {
			n := c.Istiod[ph][name]
			switch {
			case name == DefaultRevision || name == "":
				return errors.New("the default istiod serves other cases too: give this one's client a revision of its own")
			case n < 0 || n > maxReplicas:
				return fmt.Errorf("revision %q: %d replicas; 0 to %d are possible", name, n, maxReplicas)
			}
		}
	}
	return nil
}

// Away says whether a case has sent the istiod of a revision away, and not back, when a phase has begun.
func (c Case) Away(revision string, in Phase) bool {
	away := false
	for _, ph := range c.Phases() {
		if n, ok := c.Istiod[ph][revision]; ok {
			away = n == 0
		}
		if ph == in {
			break
		}
	}
	return away && in != Removed
}
