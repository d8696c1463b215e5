package harness

import (
	"slices"
	"strings"
	"testing"

	"mesh-egress-conformance/framework/cluster"
	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/fixture"
	"mesh-egress-conformance/framework/mesh"
)

// profiled is a cluster of a profile.
type profiled struct {
	cluster.Cluster
	of cluster.Profile
}

func (profiled) Name() string           { return "docs" }
func (p profiled) Facts() cluster.Facts { return cluster.Facts{Profile: p.of} }

func TestCasesFit(t *testing.T) {
	if err := CasesFit(profiled{of: cluster.Standard}); err != nil {
		t.Error(err)
	}
	if err := CasesFit(profiled{of: cluster.IstioDocs}); err == nil || !strings.Contains(err.Error(), "--name") {
		t.Errorf("cases in a cluster for something else: %v", err)
	}
}

func TestForDocs(t *testing.T) {
	o := mesh.Options{Policy: egress.RegistryOnly, Tag: "1"}
	forDocs(&o)
	if o.Policy != egress.AllowAny || !o.TextLog || o.EgressAccount == "" || o.Tag != "1" {
		t.Errorf("%+v", o)
	}
}

func TestDescribedAPIServer(t *testing.T) {
	argv := []string{"kube-apiserver", "--service-cluster-ip-range=10.96.0.0/16"}
	pod, err := describedAPIServer(argv, "v1.36.3")
	if err != nil {
		t.Fatal(err)
	}
	spec := pod.Object["spec"].(map[string]any)
	c := spec["containers"].([]any)[0].(map[string]any)
	if got := c["command"].([]any); len(got) != 2 || got[1] != argv[1] || c["image"] != "registry.k8s.io/kube-apiserver:v1.36.3" {
		t.Errorf("%v", c)
	}
	if gates, _ := spec["schedulingGates"].([]any); len(gates) != 1 {
		t.Error("the pod could be started")
	}
	if _, err := describedAPIServer(nil, "v1"); err == nil {
		t.Error("a pod of nothing")
	}
}

func TestLoadedImagesPolicy(t *testing.T) {
	objs, err := fixture.Parse(t.Context(), []byte(loadedImagesYAML))
	if err != nil || len(objs) != 2 {
		t.Fatal(objs, err)
	}
	var kinds []string
	for _, o := range objs {
		kinds = append(kinds, o.GetKind())
	}
	if !slices.Equal(kinds, []string{"MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding"}) {
		t.Error(kinds)
	}
}
