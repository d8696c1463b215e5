package mesh

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/yaml"

	"mesh-egress-conformance/framework/egress"
)

// configMap holds the mesh configuration of the default revision.
const configMap = "istio"

// ErrUnchanged says that the mesh already has the wanted policy.
var ErrUnchanged = errors.New("the mesh already has this outbound policy")

// SetPolicy changes meshConfig.outboundTrafficPolicy.mode of the whole mesh.
func SetPolicy(ctx context.Context, cs kubernetes.Interface, p egress.Policy) error {
	cms := cs.CoreV1().ConfigMaps(SystemNamespace)
	cm, err := cms.Get(ctx, configMap, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("read the mesh configuration: %w", err)
	}
	var mc map[string]any
	if err := yaml.Unmarshal([]byte(cm.Data["mesh"]), &mc); err != nil {
		return fmt.Errorf("read the mesh configuration: %w", err)
	}
	if old, ok := mc["outboundTrafficPolicy"].(map[string]any); ok && old["mode"] == string(p) {
		return ErrUnchanged
	}
	mc["outboundTrafficPolicy"] = map[string]any{"mode": string(p)}
	b, err := yaml.Marshal(mc)
	if err != nil {
		return fmt.Errorf("write the mesh configuration: %w", err)
	}
	cm.Data["mesh"] = string(b)
	if _, err := cms.Update(ctx, cm, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("set the outbound policy %s: %w", p, err)
	}
	return nil
}

// HasPolicy says whether istiod itself already works with the policy.
func (i *Istiod) HasPolicy(ctx context.Context, p egress.Policy) (bool, error) {
	b, err := i.Debug(ctx, "/debug/mesh")
	if err != nil {
		return false, err
	}
	var mc struct {
		OutboundTrafficPolicy struct {
			Mode json.RawMessage `json:"mode"`
		} `json:"outboundTrafficPolicy"`
	}
	if err := json.Unmarshal(b, &mc); err != nil {
		return false, fmt.Errorf("read istiod's mesh configuration: %w", err)
	}
	mode := strings.Trim(string(mc.OutboundTrafficPolicy.Mode), `"`)
	if mode == "" || mode == "0" { // protobuf leaves the zero value out
		mode = string(egress.RegistryOnly)
	}
	return mode == string(p), nil
}
