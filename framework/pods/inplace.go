package pods

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/fixture"
)

// A pod in place has the labels of a workload of somebody's, so whatever selects pods by labels must be kept from taking it for one
// of the workload's: it has a controller already, which keeps ReplicaSets and all others from adopting it, and it never becomes ready,
// which keeps it from being called by anybody: Services, istiod and DNS take ready pods alone.

// NeverReady is the condition that a pod in place waits for in vain.
const NeverReady = "mesh-egress-conformance/never-ready"

// inPlaceKey tells the pods in place of a run apart, as a label and in their names.
func inPlaceKey(c egress.Client) string {
	const longest = 24
	h := fnv.New32a()
	_, _ = h.Write([]byte(c.Namespace + "/" + c.Name)) // never fails, see hash.Hash
	return fmt.Sprintf("%.*s-%08x", longest, c.Workload, h.Sum32())
}

// inPlaceName is the name of a pod in place, and of the ConfigMap that it belongs to.
func inPlaceName(c egress.Client, owner fixture.Owner) string {
	return "egressctl-" + owner.Value + "-" + inPlaceKey(c)
}

// createInPlace makes the pod of a client beside the workload that it stands in for, and waits until commands run in it. Beside it
// there is nothing but the ConfigMap that is its controller.
func (p *Pods) createInPlace(ctx context.Context, c egress.Client) (*corev1.Pod, error) {
	cm := inPlaceOwner(c, p.owner, p.custom)
	made, err := p.fixtures.Apply(ctx, c.Namespace, cm)
	if err != nil {
		return nil, err
	}
	pod, err := inPlacePod(c, p.owner, p.custom, made[0].GetUID())
	if err != nil {
		return nil, err
	}
	if _, err := p.fixtures.Apply(ctx, c.Namespace, pod); err != nil {
		return nil, err
	}
	return p.waitReady(ctx, c, p.owner)
}

// discardInPlace removes the pod, and then what it belongs to.
func (p *Pods) discardInPlace(ctx context.Context, c egress.Client) error {
	cm := inPlaceOwner(c, p.owner, p.custom)
	pod := &fixture.Object{Object: map[string]any{"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"name": cm.GetName(), "namespace": c.Namespace}}}
	if err := p.fixtures.Remove(ctx, pod); err != nil {
		return err
	}
	return p.fixtures.Remove(ctx, cm)
}

// inPlaceOwner is the ConfigMap to which a pod in place belongs. It has the authorities that the pod trusts, where these are not those
// of its image.
func inPlaceOwner(c egress.Client, owner fixture.Owner, custom *Customization) *fixture.Object {
	o := &fixture.Object{Object: map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": inPlaceName(c, owner), "namespace": c.Namespace},
	}}
	if custom.CA != nil {
		o.Object["data"] = map[string]any{trustFile: string(custom.CA)}
	}
	return o
}

// inPlacePod is the pod. Its labels, service account and annotations are the workload's; it asks for nothing that the restricted
// level of Pod Security refuses, and has no token for the API server.
func inPlacePod(c egress.Client, owner fixture.Owner, custom *Customization, of types.UID) (*fixture.Object, error) {
	name := inPlaceName(c, owner)
	pod := &corev1.Pod{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: c.Namespace, Labels: map[string]string{}, Annotations: maps.Clone(c.Annotations),
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: name, UID: of, Controller: new(true)}},
		},
		Spec: corev1.PodSpec{
			ServiceAccountName: c.StandIn.ServiceAccount, AutomountServiceAccountToken: new(false), EnableServiceLinks: new(false),
			TerminationGracePeriodSeconds: new(int64(1)), RestartPolicy: corev1.RestartPolicyAlways,
			ReadinessGates: []corev1.PodReadinessGate{{ConditionType: NeverReady}},
			Containers: []corev1.Container{{
				Name: c.Container, Image: custom.Image, ImagePullPolicy: corev1.PullIfNotPresent, Command: []string{"/bin/sleep", "infinity"}, SecurityContext: restricted(c, custom.AnyUser),
				VolumeMounts: []corev1.VolumeMount{{Name: agentVolume, MountPath: agentPath}},
			}},
			Volumes: []corev1.Volume{{Name: agentVolume, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}},
		},
	}
	maps.Copy(pod.Labels, c.StandIn.Labels)
	pod.Labels[clientLabel], pod.Labels[owner.Key] = inPlaceKey(c), owner.Value
	if !c.Captured() {
		pod.Labels["sidecar.istio.io/inject"], pod.Labels["istio.io/dataplane-mode"] = "false", "none"
	}
	if err := custom.entrust(pod, c); err != nil {
		return nil, err
	}
	if custom.DNS != "" {
		pod.Spec.DNSPolicy = corev1.DNSNone
		pod.Spec.DNSConfig = &corev1.PodDNSConfig{
			Nameservers: []string{custom.DNS}, Searches: []string{c.Namespace + ".svc.cluster.local", "svc.cluster.local", "cluster.local"}, Options: []corev1.PodDNSConfigOption{{Name: "ndots", Value: new("5")}},
		}
	}
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(pod)
	if err != nil {
		return nil, fmt.Errorf("encode pod %s/%s: %w", c.Namespace, name, err)
	}
	delete(fields, "status")
	return &fixture.Object{Object: fields}, nil
}

// restricted is the security context of a container that any namespace takes.
func restricted(c egress.Client, anyUser bool) *corev1.SecurityContext {
	out := &corev1.SecurityContext{
		RunAsNonRoot: new(true), AllowPrivilegeEscalation: new(false), Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
	switch {
	case c.User != 0:
		out.RunAsUser = new(c.User)
	case !anyUser:
		out.RunAsUser = new(int64(1000))
	}
	if c.StandIn.Group != 0 {
		out.RunAsGroup = new(c.StandIn.Group)
	}
	return out
}

// entrust lets the pod and its proxy trust the authorities that the ConfigMap has.
func (z *Customization) entrust(pod *corev1.Pod, c egress.Client) error {
	if z.CA == nil {
		return nil
	}
	from := &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: pod.Name}}
	pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: trustName, VolumeSource: corev1.VolumeSource{ConfigMap: from}})
	k := &pod.Spec.Containers[0]
	k.VolumeMounts = append(k.VolumeMounts, corev1.VolumeMount{Name: trustName, MountPath: trustPath})
	for _, v := range []string{"SSL_CERT_FILE", "CURL_CA_BUNDLE"} {
		k.Env = append(k.Env, corev1.EnvVar{Name: v, Value: trustPath + "/" + trustFile})
	}
	if !c.Captured() {
		return nil
	}
	vol, err := json.Marshal([]any{map[string]any{"name": trustName + "-proxy", "configMap": map[string]any{"name": pod.Name}}})
	if err != nil {
		return err
	}
	mount, err := json.Marshal([]any{map[string]any{"name": trustName + "-proxy", "mountPath": "/etc/ssl/certs/ca-certificates.crt", "subPath": trustFile}})
	if err != nil {
		return err
	}
	if pod.Annotations == nil {
		pod.Annotations = map[string]string{}
	}
	pod.Annotations["sidecar.istio.io/userVolume"], pod.Annotations["sidecar.istio.io/userVolumeMount"] = string(vol), string(mount)
	return nil
}
