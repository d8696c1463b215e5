package mesh

import (
	"errors"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	ktesting "k8s.io/client-go/testing"
)

// A run's configuration is told from the installed one at the ConfigMap, and goes back to it.
func TestMeshStore(t *testing.T) {
	installed := Config{"accessLogFile": "/dev/stdout"}
	const asInstalled = "# as Istio's chart has it\naccessLogFile: \"/dev/stdout\"\n"
	cs := fake.NewClientset(meshConfigMap(configMap, asInstalled))
	s := NewMeshStore(cs, installed)
	text := func() (mesh, noted string) {
		cm, err := cs.CoreV1().ConfigMaps(SystemNamespace).Get(t.Context(), configMap, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return cm.Data["mesh"], cm.Annotations[installedAnnotation]
	}
	for _, x := range []struct {
		name    string
		write   Config
		changed bool
		noted   bool
	}{
		{"the same", installed, false, false},
		{"another one", Config{"accessLogFile": "x"}, true, true},
		{"that one again", Config{"accessLogFile": "x"}, false, true},
		{"a third", Config{"accessLogFile": "y"}, true, true},
		{"back", installed, true, false},
	} {
		changed, err := s.Write(t.Context(), x.write)
		mesh, noted := text()
		if err != nil || changed != x.changed || (noted != "") != x.noted || !strings.Contains(mesh, x.write["accessLogFile"].(string)) {
			t.Errorf("%s: changed %t %v, the ConfigMap has %q and notes %q", x.name, changed, err, mesh, noted)
		}
		if got, err := InstalledConfig(t.Context(), cs); err != nil || got["accessLogFile"] != "/dev/stdout" {
			t.Errorf("%s: the installed one is %v %v", x.name, got, err)
		}
	}
	if _, err := s.Write(t.Context(), Config{"accessLogFile": "z"}); err != nil {
		t.Fatal(err)
	}
	if err := RestoreConfig(t.Context(), cs); err != nil {
		t.Fatal(err)
	}
	if mesh, noted := text(); mesh != asInstalled || noted != "" {
		t.Errorf("restored to %q, noted %q", mesh, noted)
	}
}

// Where somebody else changes the ConfigMap at the same time, the change is made upon theirs.
func TestMeshStoreConflict(t *testing.T) {
	cs := fake.NewClientset(meshConfigMap(configMap, "{}"))
	conflicts := 0
	cs.PrependReactor("update", "configmaps", func(a ktesting.Action) (bool, runtime.Object, error) {
		if conflicts++; conflicts > 2 {
			return false, nil, nil
		}
		theirs := meshConfigMap(configMap, "{}")
		theirs.Data["meshNetworks"] = "theirs"
		if err := cs.Tracker().Update(corev1.SchemeGroupVersion.WithResource("configmaps"), theirs, SystemNamespace); err != nil {
			t.Error(err)
		}
		return true, nil, apierrors.NewConflict(schema.GroupResource{Resource: "configmaps"}, configMap, errors.New("it was changed"))
	})
	changed, err := NewMeshStore(cs, Config{}).Write(t.Context(), Config{"accessLogFile": "x"})
	if err != nil || !changed {
		t.Fatalf("changed %t: %v", changed, err)
	}
	cm, err := cs.CoreV1().ConfigMaps(SystemNamespace).Get(t.Context(), configMap, metav1.GetOptions{})
	if err != nil || cm.Data["meshNetworks"] != "theirs" || !strings.Contains(cm.Data["mesh"], "x") {
		t.Errorf("%v %v", cm.Data, err)
	}
	cs.PrependReactor("update", "configmaps", func(ktesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "configmaps"}, configMap, errors.New("no"))
	})
	if changed, err := NewMeshStore(cs, Config{}).Write(t.Context(), Config{"accessLogFile": "y"}); err == nil || changed {
		t.Errorf("changed %t: %v", changed, err)
	}
}
