//go:build linux

package embedded

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strings"
	"time"

	admission "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/kube"
	"mesh-egress-conformance/framework/limits"
)

//go:embed podpolicy.yaml
var podPolicyYAML string

// podPolicy says which pods the API server refuses, and where.
func podPolicy() (*admission.ValidatingAdmissionPolicy, *admission.ValidatingAdmissionPolicyBinding, error) {
	policy, binding := &admission.ValidatingAdmissionPolicy{}, &admission.ValidatingAdmissionPolicyBinding{}
	first, second, _ := strings.Cut(podPolicyYAML, "\n---\n")
	if err := errors.Join(yaml.UnmarshalStrict([]byte(first), policy), yaml.UnmarshalStrict([]byte(second), binding)); err != nil {
		return nil, nil, fmt.Errorf("read the policy for pods: %w", err)
	}
	return policy, binding, nil
}

// applyFirstObjects creates, in the sandbox's own API server, what its admin finds there: the policy for pods, which the API
// server uses about a second later (AwaitGuard); and the runtime class for pods of both families.
func applyFirstObjects(ctx context.Context, s *spec) error {
	policy, binding, err := podPolicy()
	if err != nil {
		return err
	}
	cfg, err := clientcmd.BuildConfigFromFlags("", kubeconfigFile)
	if err != nil {
		return fmt.Errorf("read the node's kubeconfig: %w", err)
	}
	cs, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return fmt.Errorf("make a client for the policy for pods: %w", err)
	}
	api := cs.AdmissionregistrationV1()
	var last error
	err = wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, limits.Process().Cluster.APIServer, true, func(ctx context.Context) (bool, error) {
		var class error
		if s.IPv6 {
			class = createDualStackClass(ctx, cs)
		}
		_, p := api.ValidatingAdmissionPolicies().Create(ctx, policy, metav1.CreateOptions{})
		_, b := api.ValidatingAdmissionPolicyBindings().Create(ctx, binding, metav1.CreateOptions{})
		last = errors.Join(class, ignoreExisting(p), ignoreExisting(b))
		return last == nil, nil // the API server accepts connections a moment before it accepts objects
	})
	if err != nil {
		return fmt.Errorf("create the policy for pods and the runtime class %s: %w", egress.DualStackClass, errors.Join(err, last))
	}
	return nil
}

func ignoreExisting(err error) error {
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// AwaitGuard waits until the policy for pods is in force.
func (c *embeddedCluster) AwaitGuard(ctx context.Context) error {
	cs, err := kubernetes.NewForConfig(c.RESTConfig())
	if err != nil {
		return fmt.Errorf("make a client to ask for the policy for pods: %w", err)
	}
	return awaitPodPolicy(ctx, cs, limits.Process().Cluster.APIServer)
}

func awaitPodPolicy(ctx context.Context, cs kubernetes.Interface, within time.Duration) error {
	labels := map[string]string{"app": "guard"}
	refused := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "guard-", Namespace: metav1.NamespaceDefault},
		Spec: appsv1.DeploymentSpec{Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: labels},
			Spec:       corev1.PodSpec{HostNetwork: true, Containers: []corev1.Container{{Name: "guard", Image: "none"}}},
		}},
	}
	err := kube.AwaitPolicy(ctx, within, func(ctx context.Context) (bool, error) {
		_, err := cs.AppsV1().Deployments(refused.Namespace).Create(ctx, refused, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err != nil && strings.Contains(err.Error(), podPolicyName), err
	})
	if err != nil {
		return fmt.Errorf("wait until the API server refuses pods that could reach the machine: %w", err)
	}
	return nil
}

// podPolicyName is how refusals name the policy.
const podPolicyName = "pods-of-cases"
