package harness

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"mesh-egress-conformance/framework/cluster"
	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/fixture"
	"mesh-egress-conformance/framework/kube"
	"mesh-egress-conformance/framework/mesh"
)

// What Istio's installer, which the pages of istio.io count on, does in another way than its Helm charts.
const (
	docsEgressAccount  = "istio-egressgateway-service-account"
	docsNamespace      = metav1.NamespaceDefault
	apiServerNamespace = metav1.NamespaceSystem
)

//go:embed loadedimages.yaml
var loadedImagesYAML string

// forDocs makes an installation what the egress pages of istio.io begin with.
func forDocs(o *mesh.Options) {
	o.Policy, o.TextLog, o.EgressAccount = egress.AllowAny, true, docsEgressAccount
}

// CasesFit demands that cases, and the pages of this repository, can be run in a running cluster: in one that was made for
// something else they would say of the mesh what is the profile's doing.
func CasesFit(c cluster.Cluster) error {
	p := c.Facts().Profile
	if p == cluster.Standard {
		return nil
	}
	return fmt.Errorf("cluster %s has the profile %s, whose mesh has another outbound policy and another access log than cases and pages of this repository count on: use another --name", c.Name(), p)
}

// prepareForDocs adds to a cluster what the pages expect besides Istio: a namespace default in which pods are injected, an
// API server that can be described, and images that were loaded under names without a version.
func (s *opening) prepareForDocs(ctx context.Context) error {
	patch := []byte(`{"metadata":{"labels":{"istio-injection":"enabled"}}}`)
	if _, err := s.conn.cs.CoreV1().Namespaces().Patch(ctx, docsNamespace, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		return fmt.Errorf("have pods of namespace %s injected: %w", docsNamespace, err)
	}
	objs, err := fixture.Parse(ctx, []byte(loadedImagesYAML))
	if err != nil {
		return fmt.Errorf("read the policy for loaded images: %w", err)
	}
	if bare, ok := s.env.cluster.(cluster.Bare); ok {
		pod, err := describedAPIServer(bare.APIServer(), s.env.facts.Kubernetes)
		if err != nil {
			return err
		}
		objs = append(objs, pod)
	}
	owned, known := s.conn.fix.As(fixture.ClusterOwner), true
	for _, o := range objs {
		_, err := owned.Apply(ctx, "", o)
		if meta.IsNoMatchError(err) { // a Kubernetes before 1.36 does not know the policy
			known = false
			s.opts.logf("%s is left out, which this Kubernetes does not know: set imagePullPolicy where a page's image was loaded without a version", fixture.Describe(o))
			continue
		}
		if err != nil {
			return fmt.Errorf("prepare the cluster for the pages of istio.io: %w", err)
		}
	}
	if known {
		if err := awaitLoadedImages(ctx, s.conn.cs, s.opts.Limits.Cluster.APIServer); err != nil {
			return err
		}
	}
	s.times.mark("prepared for Istio's pages")
	return nil
}

// awaitLoadedImages waits until the policy for loaded images is in force: the first pods that somebody applies would be without it, and
// wait for a registry for ever.
func awaitLoadedImages(ctx context.Context, cs kubernetes.Interface, within time.Duration) error {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "loaded-images-", Namespace: corev1.NamespaceNodeLease}, // which no webhook concerns
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "image", Image: "without-a-version"}}},
	}
	err := kube.AwaitPolicy(ctx, within, func(ctx context.Context) (bool, error) {
		got, err := cs.CoreV1().Pods(pod.Namespace).Create(ctx, pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err == nil && got.Spec.Containers[0].ImagePullPolicy == corev1.PullIfNotPresent, err
	})
	if err != nil {
		return fmt.Errorf("wait until the API server uses the policy for loaded images: %w", err)
	}
	return nil
}

// describedAPIServer is a pod that is never started and shows by which command the API server was, for a page that reads the
// service range out of it. A pod that seems to run would have to be a lie: the process is no container.
func describedAPIServer(argv []string, version string) (*fixture.Object, error) {
	if len(argv) == 0 {
		return nil, errors.New("describe the API server: its command line is not known")
	}
	pod := &corev1.Pod{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{
			Name: "kube-apiserver-n1", Namespace: apiServerNamespace,
			Labels: map[string]string{"component": "kube-apiserver", "tier": "control-plane"},
			Annotations: map[string]string{
				"mesh-egress-conformance/why": "The API server of this cluster is a process on the node. This pod shows its command line and is never started.",
			},
		},
		Spec: corev1.PodSpec{
			SchedulingGates: []corev1.PodSchedulingGate{{Name: "mesh-egress-conformance/is-a-process"}},
			Containers: []corev1.Container{{
				Name: "kube-apiserver", Image: "registry.k8s.io/kube-apiserver:v" + strings.TrimPrefix(version, "v"), Command: argv,
			}},
		},
	}
	o, err := runtime.DefaultUnstructuredConverter.ToUnstructured(pod)
	if err != nil {
		return nil, fmt.Errorf("describe the API server: %w", err)
	}
	delete(o, "status")
	return &fixture.Object{Object: o}, nil
}
