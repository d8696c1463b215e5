package verify

import (
	"strings"

	"sigs.k8s.io/yaml"

	"mesh-egress-conformance/framework/manifest"
)

// proxyConfigKind are objects by which sidecars are injected: a pod that is there already does not take them up.
const proxyConfigKind = "ProxyConfig"

// ownImage has a ProxyConfig keep the image of the dry mesh, which has no other.
func (b *builder) ownImage(x manifest.Object) {
	spec, _ := x.Fields["spec"].(map[string]any)
	if spec["image"] == nil {
		return
	}
	b.notice(x, x.LineAt("spec", "image"), "%s: the image is left out: sidecars of the dry mesh have the one that it has", x)
	delete(spec, "image")
}

// proxyConfigs are the ProxyConfigs by which a workload's sidecar is injected, as text: those of its namespace and of the whole
// mesh that select it, or everything.
func (m *Model) proxyConfigs(w Workload) string {
	var out []string
	for _, x := range m.Objects {
		mine := x.Namespace() == w.Namespace || x.Namespace() == RootNamespace
		if x.Kind() != proxyConfigKind || !mine || x.At("spec", "selector") != nil && !selects(x, w.Labels) {
			continue
		}
		text, err := yaml.Marshal(x.Fields["spec"])
		if err != nil { // it came from YAML
			text = []byte(err.Error())
		}
		out = append(out, x.String()+"\n"+string(text))
	}
	return strings.Join(out, "\n")
}
