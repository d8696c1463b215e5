package mesh

import (
	"fmt"
	"slices"
	"strings"

	"helm.sh/helm/v3/pkg/action"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"mesh-egress-conformance/framework/fixture"
)

// Installed is what the harness has put into a cluster of its own, as Helm has noted it there.
type Installed struct {
	// Mesh is the mesh configuration; nil where there is none.
	Mesh Config
	// objects by Describe.
	objects []string
}

// Has says whether an object belongs to the installation.
func (i Installed) Has(o *fixture.Object) bool {
	return slices.Contains(i.objects, fixture.Describe(o))
}

// ReadInstalled reads what Helm has noted of the installation.
func ReadInstalled(cfg *rest.Config) (Installed, error) {
	var out Installed
	helm := new(action.Configuration)
	if err := helm.Init(&restGetter{cfg: cfg, ns: SystemNamespace}, SystemNamespace, "secret", func(string, ...any) {}); err != nil {
		return out, fmt.Errorf("prepare Helm: %w", err)
	}
	releases, err := action.NewList(helm).Run()
	if err != nil {
		return out, fmt.Errorf("list the Helm releases of namespace %s: %w", SystemNamespace, err)
	}
	for _, r := range releases {
		for _, doc := range strings.Split("\n"+r.Manifest, "\n---\n") {
			if err := out.add(doc); err != nil {
				return out, fmt.Errorf("read the Helm release %s: %w", r.Name, err)
			}
		}
	}
	return out, nil
}

// add notes one document of a manifest.
func (i *Installed) add(doc string) error {
	if strings.Contains(doc, "\nkind: CustomResourceDefinition\n") { // large, and of no interest
		return nil
	}
	o := &fixture.Object{}
	if err := yaml.Unmarshal([]byte(doc), &o.Object); err != nil || len(o.Object) == 0 {
		return err
	}
	i.objects = append(i.objects, fixture.Describe(o))
	if o.GetKind() != "ConfigMap" || o.GetName() != configMap {
		return nil
	}
	data, _ := o.Object["data"].(map[string]any)
	text, _ := data["mesh"].(string)
	var err error
	i.Mesh, err = parseMesh(text)
	return err
}
