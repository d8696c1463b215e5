package mesh

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/yaml"
)

// configMap holds the mesh configuration of the default revision.
const configMap = "istio"

// Config is a mesh configuration as its ConfigMap has it.
type Config = map[string]any

// installedAnnotation keeps the installed configuration at the ConfigMap while another one is in force, so
// that a run that is killed does not pass its own on as the installed one.
const installedAnnotation = "mesh-egress-conformance/installed"

// InstalledConfig reads the mesh configuration that Istio was installed with, whatever a run has put in its
// place.
func InstalledConfig(ctx context.Context, cs kubernetes.Interface) (Config, error) {
	cm, err := getMesh(ctx, cs, configMap)
	if err != nil {
		return nil, err
	}
	if installed, ok := cm.Annotations[installedAnnotation]; ok {
		return parseMesh(installed)
	}
	return parseMesh(cm.Data["mesh"])
}

func readConfig(ctx context.Context, cs kubernetes.Interface, name string) (Config, error) {
	cm, err := getMesh(ctx, cs, name)
	if err != nil {
		return nil, err
	}
	return parseMesh(cm.Data["mesh"])
}

func getMesh(ctx context.Context, cs kubernetes.Interface, name string) (*corev1.ConfigMap, error) {
	cm, err := cs.CoreV1().ConfigMaps(SystemNamespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("read the mesh configuration: %w", err)
	}
	return cm, nil
}

func parseMesh(text string) (Config, error) {
	var mc Config
	if err := yaml.Unmarshal([]byte(text), &mc); err != nil {
		return nil, fmt.Errorf("read the mesh configuration: %w", err)
	}
	return mc, nil
}

// ErrUnchanged says that the mesh already has the wanted configuration.
var ErrUnchanged = errors.New("the mesh already has this configuration")

// WriteConfig replaces the mesh configuration, and remembers the installed one where it differs.
func WriteConfig(ctx context.Context, cs kubernetes.Interface, mc, installed Config) error {
	b, err := yaml.Marshal(mc)
	if err != nil {
		return fmt.Errorf("write the mesh configuration: %w", err)
	}
	original, err := yaml.Marshal(installed)
	if err != nil {
		return fmt.Errorf("write the mesh configuration: %w", err)
	}
	cm, err := getMesh(ctx, cs, configMap)
	if err != nil {
		return err
	}
	old, err := parseMesh(cm.Data["mesh"])
	if err != nil {
		return err
	}
	same, err := yaml.Marshal(old)
	if err != nil {
		return err
	}
	_, noted := cm.Annotations[installedAnnotation]
	unchanged, foreign := bytes.Equal(same, b), !bytes.Equal(b, original)
	if unchanged && noted == foreign {
		return ErrUnchanged
	}
	if foreign {
		metav1.SetMetaDataAnnotation(&cm.ObjectMeta, installedAnnotation, string(original))
	} else {
		delete(cm.Annotations, installedAnnotation)
	}
	cm.Data["mesh"] = string(b)
	if _, err := cs.CoreV1().ConfigMaps(SystemNamespace).Update(ctx, cm, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("change the mesh configuration: %w", err)
	}
	if unchanged {
		return ErrUnchanged
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
