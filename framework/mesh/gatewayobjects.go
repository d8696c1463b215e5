package mesh

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"mesh-egress-conformance/framework/fixture"
	"mesh-egress-conformance/framework/limits"
)

// errNotAGateway says that an object makes no gateway.
var errNotAGateway = errors.New("it makes no gateway")

// GatewayPods says by which labels the pods are known that an object makes and that are gateways; none where it makes
// none. The object alone tells, so a Gateway for whose class Istio makes no pods counts too.
func GatewayPods(o *fixture.Object) map[string]string {
	switch {
	case o.GetKind() == "Deployment" && strings.HasPrefix(o.GetAPIVersion(), "apps/"):
		if d, err := deployment(o); err == nil && d.Spec.Selector != nil && templated(d) {
			return d.Spec.Selector.MatchLabels
		}
	case o.GetKind() == "Gateway" && o.GroupVersionKind().Group == GatewayAPIGroup && managed(o):
		return map[string]string{gatewayNameLabel: o.GetName()}
	}
	return nil
}

// gatewayNameLabel is the one that istiod gives the pods that it makes for a Gateway (gateway.networking.k8s.io, GEP-1762).
const gatewayNameLabel = GatewayAPIGroup + "/gateway-name"

func deployment(o *fixture.Object) (*appsv1.Deployment, error) {
	d := &appsv1.Deployment{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, d); err != nil {
		return nil, fmt.Errorf("read %s: %w", fixture.Describe(o), err)
	}
	return d, nil
}

// templated says whether the pods of a Deployment are gateways: the injection webhook is told so (istio.io,
// "Installing Gateways"), or they run a router as they are.
func templated(d *appsv1.Deployment) bool {
	for _, name := range strings.Split(d.Spec.Template.Annotations["inject.istio.io/templates"], ",") {
		if strings.TrimSpace(name) == "gateway" {
			return true
		}
	}
	for _, c := range d.Spec.Template.Spec.Containers {
		if routerArgs(c.Args) {
			return true
		}
	}
	return false
}

// managed says whether pods are made for a Gateway of the Gateway API: one that names a host belongs to pods that are
// there already (istio.io, "Manual Deployment").
func managed(o *fixture.Object) bool {
	spec, _ := o.Object["spec"].(map[string]any)
	addresses, _ := spec["addresses"].([]any)
	return !slices.ContainsFunc(addresses, func(a any) bool {
		m, _ := a.(map[string]any)
		return m["type"] == "Hostname"
	})
}

// GatewayError says why the gateway of one object did not come up.
type GatewayError struct {
	Object *fixture.Object
	Err    error
}

func (e *GatewayError) Error() string {
	return fmt.Sprintf("wait for the gateway that %s makes: %v", fixture.Describe(e.Object), e.Err)
}

// Unwrap is the reason.
func (e *GatewayError) Unwrap() error { return e.Err }

// GatewayErrors are those of several objects, while what all others make is there.
type GatewayErrors []*GatewayError

func (e GatewayErrors) Error() string {
	lines := make([]string, len(e))
	for i, x := range e {
		lines[i] = x.Error()
	}
	return strings.Join(lines, "; ")
}

// err is nil where all came up.
func (e GatewayErrors) err() error {
	if len(e) == 0 {
		return nil
	}
	return e
}

// AwaitGateways waits until the gateways that objects make are there: Istio has programmed them, their pods are ready,
// their logs are followed, and the proxies, and the gateways' own, have the push that tells of their pods. Objects that
// make no gateway are not waited for. Where some do not come up and all others are there, the error is
// GatewayErrors.
func (c *Changer) AwaitGateways(ctx context.Context, g *Gateways, made []*fixture.Object, proxies []string) (Settled, error) {
	start := time.Now()
	none := Settled{Acknowledged: true}
	waited := false
	var failed GatewayErrors
	if !slices.ContainsFunc(made, func(o *fixture.Object) bool { return len(GatewayPods(o)) > 0 }) {
		return none, nil
	}
	before, err := c.planes.computed(ctx)
	if err != nil {
		return none, err
	}
	for _, o := range made {
		labels := GatewayPods(o)
		if len(labels) == 0 {
			continue
		}
		err := c.awaitGateway(ctx, g, o, labels)
		if errors.Is(err, errNotAGateway) {
			continue
		}
		if err != nil {
			e := &GatewayError{o, err}
			if ctx.Err() != nil {
				return none, e
			}
			failed = append(failed, e)
			continue
		}
		waited = true
		proxies = append(proxies, g.Proxies(o.GetNamespace(), labels)...)
	}
	if !waited {
		return none, failed.err()
	}
	c.EndpointsChange()
	// The first endpoint of a Service is a push of its own, and is computed after its pod has become ready.
	s, err := c.settle(ctx, change{proxies: proxies, expected: expected{hidden: 1}, before: before, began: time.Now()})
	s.Took = time.Since(start)
	if err == nil {
		err = failed.err()
	}
	return s, err
}

// awaitGateway waits for the pods of one gateway.
func (c *Changer) awaitGateway(ctx context.Context, g *Gateways, o *fixture.Object, labels map[string]string) error {
	ctx, cancel := context.WithTimeout(ctx, g.limits.Pods.Ready)
	defer cancel()
	pods := 1
	if o.GetKind() == "Deployment" {
		d, err := deployment(o)
		if err != nil {
			return err
		}
		if d.Spec.Replicas != nil {
			pods = int(*d.Spec.Replicas)
		}
	} else if err := c.programmed(ctx, g, o); err != nil {
		return err
	}
	return g.Await(ctx, o.GetNamespace(), labels, pods)
}

// gatewayController is the one of the classes for whose Gateways istiod makes pods with router proxies.
const gatewayController = "istio.io/gateway-controller"

// programmed waits until Istio has programmed a Gateway. That a load balancer has not given it an address yet does not
// matter inside the cluster. It returns errNotAGateway where Istio does not accept it, or does not look after its class.
func (c *Changer) programmed(ctx context.Context, g *Gateways, o *fixture.Object) error {
	spec, _ := o.Object["spec"].(map[string]any)
	name, _ := spec["gatewayClassName"].(string)
	class, err := c.objects.Get(ctx, &fixture.Object{Object: map[string]any{"apiVersion": GatewayAPIGroup + "/v1", "kind": "GatewayClass", "metadata": map[string]any{"name": name}}})
	if err != nil {
		return fmt.Errorf("find its class %q, for which the cluster would have to have a controller: %w", name, err)
	}
	if cs, _ := class.Object["spec"].(map[string]any); cs["controllerName"] != gatewayController {
		return errNotAGateway
	}
	last := "Istio has not looked at it"
	err = poll(ctx, followPause, limits.Patience{Time: g.limits.Pods.Ready}, func(ctx context.Context) (bool, error) {
		now, err := c.objects.Get(ctx, o)
		if err != nil {
			return false, err
		}
		var done bool
		done, last, err = programmedNow(now)
		return done, err
	})
	if errors.Is(err, errPatience) || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("it is not programmed: %s: %w", last, err)
	}
	return err
}

// programmedNow reads the status of a Gateway. text says what is missing.
func programmedNow(o *fixture.Object) (done bool, text string, err error) {
	var has struct {
		Status conditions `json:"status"`
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &has); err != nil {
		return false, "", fmt.Errorf("read its status: %w", err)
	}
	for _, x := range has.Status.Conditions {
		if x.ObservedGeneration != o.GetGeneration() {
			continue
		}
		switch {
		case x.Type == "Accepted" && x.Status == "False":
			return false, "", errNotAGateway
		case x.Type == "Programmed" && (x.Status == "True" || strings.HasPrefix(x.Reason, "Address")):
			return true, "", nil
		case x.Type == "Programmed":
			text = x.Reason + ": " + x.Message
		}
	}
	return false, text, nil
}
