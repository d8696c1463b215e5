package check

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"sync"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structural "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"
)

// Schemas are the custom resources of an Istio version. Each is parsed when the first object of its kind is checked:
// all of them would take a second.
type Schemas struct {
	mu     sync.Mutex
	raw    map[schema.GroupKind][]byte
	parsed map[schema.GroupKind]*definition
}

// definition is one custom resource: its schemas by version.
type definition struct {
	versions map[string]*structural.Structural
	err      error
}

// NewSchemas takes CustomResourceDefinitions as YAML documents.
func NewSchemas(documents [][]byte) (*Schemas, error) {
	s := &Schemas{raw: map[schema.GroupKind][]byte{}, parsed: map[schema.GroupKind]*definition{}}
	for _, doc := range documents {
		gk := schema.GroupKind{Group: fieldOf(doc, "group"), Kind: fieldOf(doc, "  kind")}
		if gk.Group == "" || gk.Kind == "" {
			continue // a comment
		}
		s.raw[gk] = doc
	}
	if len(s.raw) == 0 {
		return nil, fmt.Errorf("there is no CustomResourceDefinition in %d documents", len(documents))
	}
	return s, nil
}

// fieldOf finds a field of spec, or with more indentation of its names, without parsing the document.
func fieldOf(doc []byte, field string) string {
	_, rest, found := bytes.Cut(doc, []byte("\n  "+field+": "))
	if !found {
		return ""
	}
	value, _, _ := bytes.Cut(rest, []byte("\n"))
	return strings.Trim(string(bytes.TrimSpace(value)), `"'`)
}

// kinds are those of a group, sorted.
func (s *Schemas) kinds(group string) []string {
	var out []string
	for gk := range s.raw {
		if gk.Group == group {
			out = append(out, gk.Kind)
		}
	}
	slices.Sort(out)
	return out
}

// groups are the API groups of a kind.
func (s *Schemas) groups(kind string) []string {
	var out []string
	for gk := range s.raw {
		if gk.Kind == kind {
			out = append(out, gk.Group)
		}
	}
	slices.Sort(out)
	return out
}

// of is the definition of a kind; nil where there is none.
func (s *Schemas) of(gk schema.GroupKind) *definition {
	s.mu.Lock()
	defer s.mu.Unlock()
	doc, known := s.raw[gk]
	if !known {
		return nil
	}
	if s.parsed[gk] == nil {
		s.parsed[gk] = define(doc)
	}
	return s.parsed[gk]
}

func define(doc []byte) *definition {
	var crd apiextensionsv1.CustomResourceDefinition
	if err := yaml.Unmarshal(doc, &crd); err != nil {
		return &definition{err: fmt.Errorf("read a CustomResourceDefinition: %w", err)}
	}
	d := &definition{versions: map[string]*structural.Structural{}}
	for _, v := range crd.Spec.Versions {
		if !v.Served || v.Schema == nil {
			continue
		}
		var in apiextensions.JSONSchemaProps
		if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(v.Schema.OpenAPIV3Schema, &in, nil); err != nil {
			return &definition{err: fmt.Errorf("schema of %s: %w", crd.Name, err)}
		}
		s, err := structural.NewStructural(&in)
		if err != nil {
			return &definition{err: fmt.Errorf("schema of %s: %w", crd.Name, err)}
		}
		d.versions[v.Name] = s
	}
	return d
}
