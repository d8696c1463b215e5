package mesh

import (
	"bytes"
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/retry"
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

// PresentConfig reads the mesh configuration that holds now, whoever has put it there.
func PresentConfig(ctx context.Context, cs kubernetes.Interface) (Config, error) {
	return readConfig(ctx, cs, configMap)
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

// RestoreConfig brings the mesh configuration back that Istio was installed with. It waits for nobody.
func RestoreConfig(ctx context.Context, cs kubernetes.Interface) error {
	installed, err := InstalledConfig(ctx, cs)
	if err != nil {
		return err
	}
	_, err = NewMeshStore(cs, installed).Write(ctx, installed)
	return err
}

// ConfigMapOf is the name of the ConfigMap with the mesh configuration of a revision.
func ConfigMapOf(revision string) string {
	if revision == DefaultRevision {
		return configMap
	}
	return configMap + "-" + revision
}

// MeshStore is the mesh configuration of an istiod, in its ConfigMap.
type MeshStore struct {
	cs        kubernetes.Interface
	name      string
	installed Config
}

// NewMeshStore returns the store of a cluster whose Istio was installed with a configuration.
func NewMeshStore(cs kubernetes.Interface, installed Config) *MeshStore {
	return NewRevisionStore(cs, DefaultRevision, installed)
}

// NewRevisionStore returns the store of a revision that was installed with a configuration.
func NewRevisionStore(cs kubernetes.Interface, revision string, installed Config) *MeshStore {
	return &MeshStore{cs: cs, name: ConfigMapOf(revision), installed: installed}
}

// Write replaces the mesh configuration, and notes the installed one beside it where it differs. It says whether the
// configuration was another one before. Where somebody else changes the ConfigMap at the same time, it tries again.
func (s *MeshStore) Write(ctx context.Context, mc Config) (changed bool, err error) {
	text, err := yaml.Marshal(mc)
	if err != nil {
		return false, fmt.Errorf("write the mesh configuration: %w", err)
	}
	installed, err := yaml.Marshal(s.installed)
	if err != nil {
		return false, fmt.Errorf("write the mesh configuration: %w", err)
	}
	err = retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		changed, err = s.write(ctx, text, installed)
		return err
	})
	if err != nil {
		return false, fmt.Errorf("change the mesh configuration: %w", err)
	}
	return changed, nil
}

func (s *MeshStore) write(ctx context.Context, text, installed []byte) (changed bool, err error) {
	cm, err := getMesh(ctx, s.cs, s.name)
	if err != nil {
		return false, err
	}
	old, err := parseMesh(cm.Data["mesh"])
	if err != nil {
		return false, err
	}
	before, err := yaml.Marshal(old)
	if err != nil {
		return false, err
	}
	changed = !bytes.Equal(before, text)
	_, noted := cm.Annotations[installedAnnotation]
	differs := !bytes.Equal(text, installed)
	if !changed && noted == differs {
		return false, nil
	}
	asInstalled := sameAs(installed, cm.Annotations[installedAnnotation], cm.Data["mesh"])
	put := string(text)
	if differs {
		metav1.SetMetaDataAnnotation(&cm.ObjectMeta, installedAnnotation, asInstalled)
	} else {
		delete(cm.Annotations, installedAnnotation)
		put = asInstalled
	}
	if cm.Data == nil {
		cm.Data = map[string]string{}
	}
	cm.Data["mesh"] = put
	_, err = s.cs.CoreV1().ConfigMaps(SystemNamespace).Update(ctx, cm, metav1.UpdateOptions{})
	return changed, err
}

// sameAs is the first of several texts that says what a configuration does, in words that may be others; the configuration's own text if
// none does. So what is restored is what was there, to the byte.
func sameAs(config []byte, texts ...string) string {
	for _, t := range texts {
		mc, err := parseMesh(t)
		if err != nil || t == "" {
			continue
		}
		if b, err := yaml.Marshal(mc); err == nil && bytes.Equal(b, config) {
			return t
		}
	}
	return string(config)
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
