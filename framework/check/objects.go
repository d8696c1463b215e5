package check

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	structural "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"
	validation "k8s.io/kube-openapi/pkg/validation/errors"
	"k8s.io/kube-openapi/pkg/validation/strfmt"
	"k8s.io/kube-openapi/pkg/validation/validate"
	strict "sigs.k8s.io/json"

	"mesh-egress-conformance/framework/casefile"
	"mesh-egress-conformance/framework/input"
)

// crdGroup is the API group of CustomResourceDefinitions.
const crdGroup = "apiextensions.k8s.io"

// definedGroups are the API groups that objects of a case define themselves.
func definedGroups(l *casefile.Loaded) []string {
	var out []string
	for _, d := range l.Objects {
		if text(d.Node, "kind") == "CustomResourceDefinition" {
			out = append(out, text(d.Node, "spec", "group"))
		}
	}
	return out
}

// objects looks at everything that the case applies. What the API server must refuse anyway is not looked at.
func (c *checker) objects(l *casefile.Loaded) {
	if !c.applies(l) {
		return
	}
	for _, d := range l.Objects {
		if d.Field != "refused" {
			c.object(d)
		}
	}
}

func (c *checker) object(d casefile.Document) {
	at := func(n *input.Node, format string, a ...any) input.Mistake {
		return input.Mistake{File: d.File, Line: n.Line, What: fmt.Sprintf(format, a...)}
	}
	gvk := schema.FromAPIVersionAndKind(text(d.Node, "apiVersion"), text(d.Node, "kind"))
	var o map[string]any
	if err := input.Decode(d.Node, &o); err != nil {
		c.mistake(at(d.Node, "%s", err), "")
		return
	}
	if text(d.Node, "metadata", "name") == "" {
		c.mistake(at(input.At(d.Node, "metadata"), "this %s has no name", gvk.Kind), "write it: metadata: {name: bank}")
	}
	o, _ = filled(o).(map[string]any)
	switch {
	case gvk.Group == crdGroup || slices.Contains(c.own, gvk.Group):
	case scheme.Scheme.Recognizes(gvk):
		c.builtIn(d, gvk, o)
	case c.env.Schemas == nil && !ofKubernetes(gvk.Group):
	default:
		c.custom(d, gvk, o)
	}
}

// filled replaces placeholders by values that fit where they usually stand.
func filled(v any) any {
	switch v := v.(type) {
	case string:
		return placeholderRE.ReplaceAllStringFunc(v, func(p string) string {
			if p == "${INGRESS_IP}" {
				return "10.96.0.1"
			}
			return "placeholder"
		})
	case map[string]any:
		for k, x := range v {
			v[k] = filled(x)
		}
	case []any:
		for i, x := range v {
			v[i] = filled(x)
		}
	}
	return v
}

var unknownFieldRE = regexp.MustCompile(`^unknown field "(.*)"$`)

// builtIn checks an object of Kubernetes' own kinds against their types.
func (c *checker) builtIn(d casefile.Document, gvk schema.GroupVersionKind, o map[string]any) {
	typed, err := scheme.Scheme.New(gvk)
	if err != nil {
		return // it was recognized
	}
	b, err := json.Marshal(o)
	if err != nil {
		return // it came from YAML
	}
	unknown, err := strict.UnmarshalStrict(b, typed)
	for _, u := range unknown {
		if m := unknownFieldRE.FindStringSubmatch(u.Error()); m != nil {
			c.unknownField(d, gvk, m[1], nil)
			continue
		}
		c.mistake(input.Mistake{File: d.File, Line: d.Node.Line, What: gvk.Kind + ": " + u.Error()}, "")
	}
	var wrong *json.UnmarshalTypeError
	switch {
	case errors.As(err, &wrong):
		n, _ := locate(d.Node, wrong.Field)
		c.mistake(input.Mistake{File: d.File, Line: n.Line, What: fmt.Sprintf("%s: %s has the wrong type (%s)", gvk.Kind, wrong.Field, wrong.Value)}, "")
	case err != nil:
		c.mistake(input.Mistake{File: d.File, Line: d.Node.Line, What: gvk.Kind + ": " + err.Error()}, "")
	}
}

// ofKubernetes says whether a group is one of Kubernetes itself, all of whose kinds are known here.
func ofKubernetes(group string) bool {
	return group == "" || scheme.Scheme.IsGroupRegistered(group)
}

// custom checks an object of a custom resource against the schema of its version.
func (c *checker) custom(d casefile.Document, gvk schema.GroupVersionKind, o map[string]any) {
	kind := input.At(d.Node, "kind")
	var def *definition
	if c.env.Schemas != nil {
		def = c.env.Schemas.of(gvk.GroupKind())
	}
	if def == nil {
		c.unknownKind(d, gvk, kind)
		return
	}
	if def.err != nil {
		c.mistake(input.Mistake{File: d.File, Line: kind.Line, What: def.err.Error()}, "")
		return
	}
	s := def.versions[gvk.Version]
	if s == nil {
		c.mistake(input.Mistake{File: d.File, Line: input.At(d.Node, "apiVersion").Line, What: fmt.Sprintf("%s has no version %s of %s", gvk.Group, gvk.Version, gvk.Kind)},
			"it has: %s", list(slices.Sorted(maps.Keys(def.versions))))
		return
	}
	delete(o, "status")
	var known []error
	if r := validate.NewSchemaValidator(s.ToKubeOpenAPI(), nil, "", strfmt.Default).Validate(o); r != nil {
		known = r.Errors
	}
	for _, err := range flat(known) {
		c.invalid(d, gvk, err)
	}
	for _, p := range pruning.PruneWithOptions(o, s, true, structural.UnknownFieldPathOptions{TrackUnknownFieldPaths: true}) {
		c.unknownField(d, gvk, p, s)
	}
}

func (c *checker) unknownKind(d casefile.Document, gvk schema.GroupVersionKind, at *input.Node) {
	m := input.Mistake{File: d.File, Line: at.Line, What: fmt.Sprintf("%s has no kind %s", gvk.GroupVersion(), gvk.Kind)}
	var kinds []string
	for gk := range scheme.Scheme.AllKnownTypes() {
		if gk.GroupVersion() == gvk.GroupVersion() {
			kinds = append(kinds, gk.Kind)
		}
	}
	var elsewhere []string
	if c.env.Schemas != nil {
		kinds = append(kinds, c.env.Schemas.kinds(gvk.Group)...)
		elsewhere = c.env.Schemas.groups(gvk.Kind)
	}
	slices.Sort(kinds)
	switch near := input.Near(gvk.Kind, kinds); {
	case len(elsewhere) > 0:
		c.mistake(m, "%s is of the API group %s", gvk.Kind, list(elsewhere))
	case near != "":
		c.mistake(m, "did you mean %s?", near)
	case len(kinds) > 0 && !ofKubernetes(gvk.Group):
		c.mistake(m, "it has: %s", list(kinds))
	case len(kinds) > 0:
		c.mistake(m, "write apiVersion and kind as kubectl api-resources shows them")
	case c.env.OthersKinds: // the cluster may have it
	default:
		m.What = fmt.Sprintf("nothing in the cluster serves the API group %s of this %s", gvk.Group, gvk.Kind)
		c.mistake(m, "add its CustomResourceDefinition to setup, or leave the object out")
	}
}

// invalid reports what a schema says against a value.
func (c *checker) invalid(d casefile.Document, gvk schema.GroupVersionKind, err error) {
	n, what := d.Node, err.Error()
	var v *validation.Validation
	if errors.As(err, &v) && v.Name != "" {
		n, _ = locate(d.Node, v.Name)
		what = strings.Replace(what, v.Name+" in body", v.Name, 1)
	}
	c.mistake(input.Mistake{File: d.File, Line: n.Line, What: gvk.Kind + ": " + what}, "")
}

// flat opens errors that hold others.
func flat(errs []error) []error {
	var out []error
	for _, err := range errs {
		var many *validation.CompositeError
		if errors.As(err, &many) {
			out = append(out, flat(many.Errors)...)
			continue
		}
		out = append(out, err)
	}
	return out
}

// unknownField reports a field that a kind does not have; s is the schema of a custom resource.
func (c *checker) unknownField(d casefile.Document, gvk schema.GroupVersionKind, path string, s *structural.Structural) {
	n, steps := locate(d.Node, path)
	remedy := ""
	if s != nil && len(steps) > 0 {
		last, _ := steps[len(steps)-1].(string)
		remedy = choice(last, fieldsAt(s, steps[:len(steps)-1]))
	}
	c.mistake(input.Mistake{File: d.File, Line: n.Line, What: fmt.Sprintf("%s has no field %s", gvk.Kind, path)}, "%s", remedy)
}

// fieldsAt are the fields that a schema knows below a path.
func fieldsAt(s *structural.Structural, path []any) []string {
	for _, step := range path {
		switch key := step.(type) {
		case int:
			if s.Items == nil {
				return nil
			}
			s = s.Items
		case string:
			next, ok := s.Properties[key]
			switch {
			case ok:
				s = &next
			case s.AdditionalProperties != nil && s.AdditionalProperties.Structural != nil:
				s = s.AdditionalProperties.Structural
			default:
				return nil
			}
		}
	}
	return slices.Sorted(maps.Keys(s.Properties))
}

var indexRE = regexp.MustCompile(`^\[(\d+)\]`)

// locate finds a field by a path such as spec.ports[0].name. Keys may have dots in them, so the longest that is there
// is taken. It returns the node as far as the path exists, and the path's steps.
func locate(n *input.Node, path string) (*input.Node, []any) {
	var steps []any
	now := n
	for rest := path; rest != ""; rest = strings.TrimPrefix(rest, ".") {
		if m := indexRE.FindStringSubmatch(rest); m != nil {
			i, err := strconv.Atoi(m[1])
			if err != nil {
				break
			}
			steps = append(steps, i)
			rest = rest[len(m[0]):]
			if now != nil {
				now = input.Value(now, i)
			}
			continue
		}
		key := keyOf(now, rest)
		steps = append(steps, key)
		rest = rest[len(key):]
		if now != nil {
			now = input.Value(now, key)
		}
	}
	return input.At(n, steps...), steps
}

// keyOf is the longest key of a mapping with which a path begins, or what stands before the next separator.
func keyOf(n *input.Node, path string) string {
	best := ""
	if n != nil {
		for i := 0; i+1 < len(n.Content); i += 2 {
			key := n.Content[i].Value
			if rest, ok := strings.CutPrefix(path, key); ok && len(key) > len(best) && (rest == "" || rest[0] == '.' || rest[0] == '[') {
				best = key
			}
		}
	}
	if best != "" {
		return best
	}
	if i := strings.IndexAny(path[1:], ".["); i >= 0 {
		return path[:i+1]
	}
	return path
}
