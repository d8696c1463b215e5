package mesh

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/yaml"
)

// configMap holds the mesh configuration of the default revision.
const configMap = "istio"

// Config is a mesh configuration as its ConfigMap has it.
type Config = map[string]any

// ReadConfig reads the mesh configuration.
func ReadConfig(ctx context.Context, cs kubernetes.Interface) (Config, error) {
	return readConfig(ctx, cs, configMap)
}

func readConfig(ctx context.Context, cs kubernetes.Interface, name string) (Config, error) {
	cm, err := cs.CoreV1().ConfigMaps(SystemNamespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("read the mesh configuration: %w", err)
	}
	var mc Config
	if err := yaml.Unmarshal([]byte(cm.Data["mesh"]), &mc); err != nil {
		return nil, fmt.Errorf("read the mesh configuration: %w", err)
	}
	return mc, nil
}

// ErrUnchanged says that the mesh already has the wanted configuration.
var ErrUnchanged = errors.New("the mesh already has this configuration")

// WriteConfig replaces the mesh configuration.
func WriteConfig(ctx context.Context, cs kubernetes.Interface, mc Config) error {
	b, err := yaml.Marshal(mc)
	if err != nil {
		return fmt.Errorf("write the mesh configuration: %w", err)
	}
	cms := cs.CoreV1().ConfigMaps(SystemNamespace)
	cm, err := cms.Get(ctx, configMap, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("read the mesh configuration: %w", err)
	}
	var old Config
	if err := yaml.Unmarshal([]byte(cm.Data["mesh"]), &old); err != nil {
		return fmt.Errorf("read the mesh configuration: %w", err)
	}
	same, err := yaml.Marshal(old)
	if err != nil {
		return err
	}
	if bytes.Equal(same, b) {
		return ErrUnchanged
	}
	cm.Data["mesh"] = string(b)
	if _, err := cms.Update(ctx, cm, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("change the mesh configuration: %w", err)
	}
	return nil
}

// Merge returns a copy of a configuration with a patch laid over it: objects are merged, everything
// else is replaced, null removes.
func Merge(base, patch Config) Config {
	out := Config{}
	for k, v := range base {
		out[k] = v
	}
	for k, v := range patch {
		inner, ok := v.(map[string]any)
		old, had := out[k].(map[string]any)
		switch {
		case v == nil:
			delete(out, k)
		case ok && had:
			out[k] = Merge(old, inner)
		default:
			out[k] = v
		}
	}
	return out
}

// MeshConfig is the mesh configuration that istiod itself works with, as opaque text.
func (i *Istiod) MeshConfig(ctx context.Context) (string, error) {
	return i.mesh.ask(ctx)
}
