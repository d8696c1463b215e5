package existing

import (
	"context"
	"fmt"
	"io/fs"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/fixture"
)

// Scopes says whether objects of a kind lie in namespaces, as the cluster tells it (fixture.Client).
type Scopes interface {
	Namespaced(schema.GroupVersionKind) (bool, error)
}

// ownNamespace stands in a case for the namespace of its client.
const ownNamespace = "${NAMESPACE}"

// Outside names the objects of a case that would not lie in the run's own namespaces: those of kinds without
// namespace, and those that name another one. Setup, fixtures, objects, changes and what the API server must refuse
// are all looked at. An error means that it is not known.
func Outside(ctx context.Context, c egress.Case, files fs.FS, scopes Scopes) ([]string, error) {
	var out []string
	look := func(where string, o *fixture.Object) error {
		namespaced, err := scopes.Namespaced(o.GroupVersionKind())
		if fixture.Unknown(err) { // a kind of an Istio that is not installed yet, or of none
			namespaced, err = true, nil
		}
		switch {
		case err != nil:
			return fmt.Errorf("case %s: %w", c.Name, err)
		case !namespaced:
			out = append(out, fmt.Sprintf("%s has the %s, which belongs to the whole cluster", where, fixture.Describe(o)))
		case o.GetNamespace() != "" && o.GetNamespace() != ownNamespace:
			out = append(out, fmt.Sprintf("%s has the %s, in a namespace that is not the run's", where, fixture.Describe(o)))
		}
		return nil
	}
	for _, x := range []struct {
		field string
		objs  []egress.Object
	}{{"setup", c.Setup}, {"objects", c.Objects}, {"change", c.Change}, {"refused", c.Refused}} {
		for _, o := range x.objs {
			if err := look(x.field, &fixture.Object{Object: o}); err != nil {
				return nil, err
			}
		}
	}
	for _, f := range c.Fixtures {
		objs, err := fixture.Load(ctx, files, f)
		if err != nil {
			return nil, fmt.Errorf("case %s: %w", c.Name, err)
		}
		for _, o := range objs {
			if err := look("fixture "+f, o); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

// Refusal is the error for cases of the user's own that would make objects outside the run's namespaces; nil when there
// is none.
func Refusal(cases []egress.Case, beyond map[string][]string) error {
	var lines []string
	for _, c := range cases {
		for _, what := range beyond[c.Name] {
			lines = append(lines, fmt.Sprintf("case %s (%s): %s", c.Name, c.File, what))
		}
	}
	if len(lines) == 0 {
		return nil
	}
	return fmt.Errorf("the cluster is somebody else's, and nothing was made in it: a run keeps to namespaces of its own\n  %s\n(leave the namespace out, or write namespace: %s, for that of the case's client; write exportTo: [\".\"] where others would see an object; leave such cases out with --case or --label-filter; or run them in a cluster of the harness's own, without --kubeconfig)",
		strings.Join(lines, "\n  "), ownNamespace)
}
