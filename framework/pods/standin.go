package pods

import (
	"errors"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/fixture"
)

// clientLabel names the client of a pod whose other labels are those of the workload that it stands in for.
const clientLabel = "mesh-egress-conformance/client"

// selector finds the pods of a client, whoever has made them.
func selector(c egress.Client) string {
	switch {
	case c.StandIn != nil && c.StandIn.InPlace:
		return clientLabel + "=" + inPlaceKey(c)
	case c.StandIn != nil:
		return clientLabel + "=" + c.Name
	}
	return "app=" + c.Workload
}

// standIn makes the objects of a plain client those of a stand-in: the workload's labels, service account and ports. Its
// Services are the workload's own, which whoever describes it brings along.
func standIn(objs []*fixture.Object, c egress.Client) ([]*fixture.Object, error) {
	var out []*fixture.Object
	for _, o := range objs {
		o = o.DeepCopy()
		switch o.GetKind() {
		case "ServiceAccount":
			if c.StandIn.ServiceAccount == "" || c.StandIn.ServiceAccount == defaultAccount {
				continue // every namespace has it
			}
			o.SetName(c.StandIn.ServiceAccount)
		case "Deployment":
			if err := asStandIn(o, c); err != nil {
				return nil, fmt.Errorf("stand in for %s/%s: %w", c.Namespace, c.Workload, err)
			}
		default:
			continue
		}
		out = append(out, o)
	}
	return out, nil
}

// defaultAccount is the service account of pods that name none.
const defaultAccount = "default"

func asStandIn(o *fixture.Object, c egress.Client) error {
	o.SetName(c.Workload)
	labels := map[string]string{}
	maps.Copy(labels, c.StandIn.Labels)
	labels[clientLabel] = c.Name
	account := c.StandIn.ServiceAccount
	if account == "" {
		account = defaultAccount
	}
	spec := func(path ...string) []string { return append([]string{"spec"}, path...) }
	err := errors.Join(
		// A native sidecar would start before it, and keep it from starting until the kubelet has asked, which it does once a second.
		unstructured.SetNestedField(o.Object, "false", spec("template", "metadata", "annotations", egress.NativeSidecarAnnotation)...),
		unstructured.SetNestedStringMap(o.Object, map[string]string{clientLabel: c.Name}, spec("selector", "matchLabels")...),
		unstructured.SetNestedStringMap(o.Object, labels, spec("template", "metadata", "labels")...),
		unstructured.SetNestedField(o.Object, account, spec("template", "spec", "serviceAccountName")...),
	)
	containers, _, bad := unstructured.NestedSlice(o.Object, spec("template", "spec", "containers")...)
	if err = errors.Join(err, bad); err != nil || len(containers) == 0 {
		return err
	}
	container, ok := containers[0].(map[string]any)
	if !ok {
		return fmt.Errorf("%s has no container", fixture.Describe(o))
	}
	var ports []any
	for _, p := range c.StandIn.Ports {
		port := map[string]any{"containerPort": int64(p.Port)}
		if p.Name != "" {
			port["name"] = p.Name
		}
		if p.Protocol != "" {
			port["protocol"] = p.Protocol
		}
		ports = append(ports, port)
	}
	if len(ports) > 0 {
		container["ports"] = ports
	}
	if err := unstructured.SetNestedSlice(o.Object, containers, spec("template", "spec", "containers")...); err != nil {
		return err
	}
	return runAs(o, "runAsGroup", c.StandIn.Group)
}

// known is the client of a pod that is there: a stand-in's labels have decided whether it has a sidecar.
func known(c egress.Client, pod *corev1.Pod) egress.Client {
	if c.Injection != egress.LabelledInjection {
		return c
	}
	c.Injection = egress.NoInjection
	if hasProxy(pod) {
		c.Injection = egress.AutoInjection
	}
	return c
}
