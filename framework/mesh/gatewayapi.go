package mesh

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/fixture"
	"mesh-egress-conformance/framework/limits"
)

// gatewayAPIFile holds the CRDs of the Gateway API that an Istio version was made for. Its charts leave them to
// the user; this is the copy with which Istio tests itself.
const gatewayAPIFile = "tests/integration/pilot/testdata/gateway-api-crd.yaml"

// gatewayAPIKinds are the CRDs that egress has use for.
var gatewayAPIKinds = []string{
	"gatewayclasses.gateway.networking.k8s.io", "gateways.gateway.networking.k8s.io",
	"httproutes.gateway.networking.k8s.io", "tlsroutes.gateway.networking.k8s.io", "referencegrants.gateway.networking.k8s.io",
}

// ourClass is the class whose gateways Istio runs; istiod makes it once it watches the Gateway API.
var ourClass = &fixture.Object{Object: map[string]any{
	"apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass", "metadata": map[string]any{"name": "istio"},
}}

// InstallGatewayAPI applies the CRDs of the Gateway API, from the Istio module in a folder, to a cluster that
// lacks them, and waits that long until istiod, of a version such as "1.31", watches them. The CRDs are the cluster's from then
// on; what it makes for the wait is the client's owner's.
func InstallGatewayAPI(ctx context.Context, c *fixture.Client, module, istio string, patience time.Duration) error {
	if haveGatewayAPI(ctx, c) {
		return nil
	}
	crds, err := gatewayAPI(module)
	if err != nil {
		return err
	}
	if _, err := c.As(fixture.ClusterOwner).Apply(ctx, "", crds...); err != nil {
		return fmt.Errorf("install the CRDs of the Gateway API: %w", err)
	}
	return watched(ctx, c, trials(istio), patience)
}

// trials are a Gateway that no pod serves, and a route of each kind. istiod begins to watch a kind some time after its
// CRD is there, each by itself, and what it learns then is pushed: no case may run before that.
func trials(istio string) []*fixture.Object {
	object := func(kind string, spec map[string]any) *fixture.Object {
		return &fixture.Object{Object: map[string]any{
			"apiVersion": GatewayAPIGroup + "/v1", "kind": kind, "metadata": map[string]any{"name": "trial", "namespace": SystemNamespace}, "spec": spec,
		}}
	}
	parents := []any{map[string]any{"name": "trial"}}
	out := []*fixture.Object{
		object("Gateway", map[string]any{
			"gatewayClassName": ourClass.GetName(), "addresses": []any{map[string]any{"type": "Hostname", "value": "nowhere.invalid"}},
			"listeners": []any{
				map[string]any{"name": "http", "port": int64(80), "protocol": "HTTP"},
				map[string]any{"name": "tls", "port": int64(443), "protocol": "TLS", "tls": map[string]any{"mode": "Passthrough"}},
			},
		}),
		object("HTTPRoute", map[string]any{"parentRefs": parents, "hostnames": []any{"nowhere.invalid"}}),
	}
	if !egress.Older(istio, "1.30") { // earlier ones do not watch it
		out = append(out, object("TLSRoute", map[string]any{
			"parentRefs": parents, "hostnames": []any{"nowhere.invalid"},
			"rules": []any{map[string]any{"backendRefs": []any{map[string]any{"name": "nowhere", "port": int64(443)}}}},
		}))
	}
	return out
}

// watched waits until istiod watches the kinds of all trials.
func watched(ctx context.Context, c *fixture.Client, trials []*fixture.Object, patience time.Duration) error {
	defer func() { _ = c.Remove(context.WithoutCancel(ctx), trials...) }() // a cluster that cannot delete says so elsewhere
	left := trials
	applied := false
	err := poll(ctx, 50*time.Millisecond, limits.Patience{Time: patience}, func(ctx context.Context) (bool, error) {
		if !applied { // the API of a new CRD is served a moment later
			_, err := c.Apply(ctx, "", trials...)
			if applied = err == nil; !applied && !fixture.Unknown(err) && !apierrors.IsNotFound(err) {
				return false, err
			}
			return false, nil
		}
		for len(left) > 0 {
			o, err := c.Get(ctx, left[0])
			if err != nil || !Observed(o) {
				return false, err
			}
			left = left[1:]
		}
		return true, nil
	})
	if errors.Is(err, errPatience) {
		return fmt.Errorf("istiod has not looked at %s within %s: does it run with PILOT_ENABLE_GATEWAY_API=false?", fixture.Describe(left[0]), patience)
	}
	return err
}

// istiodsClasses are the classes that every istiod makes once it watches the Gateway API (pilot/pkg/config/kube/gateway,
// builtinClasses), without which a new cluster is not complete yet.
var istiodsClasses = []string{ourClass.GetName(), "istio-remote"}

// Getter reads one object.
type Getter interface {
	Get(ctx context.Context, o *fixture.Object) (*fixture.Object, error)
}

// AwaitGatewayClasses waits that long until istiod has made its classes. Whoever compares what is in a cluster would
// take them for somebody's doing.
func AwaitGatewayClasses(ctx context.Context, c Getter, patience time.Duration) error {
	var missing string
	err := poll(ctx, 50*time.Millisecond, limits.Patience{Time: patience}, func(ctx context.Context) (bool, error) {
		for _, n := range istiodsClasses {
			class := ourClass.DeepCopy()
			class.SetName(n)
			if _, err := c.Get(ctx, class); apierrors.IsNotFound(err) {
				missing = n
				return false, nil
			} else if err != nil {
				return false, err
			}
		}
		return true, nil
	})
	if errors.Is(err, errPatience) {
		return fmt.Errorf("istiod has not made the GatewayClass %s within %s", missing, patience)
	}
	return err
}

// GatewayAPIGroup is the API group of the Gateway API.
const GatewayAPIGroup = "gateway.networking.k8s.io"

// Observed says whether an object of the Gateway API has a status that tells that Istio has worked it out in its
// current version, with whatever result.
func Observed(o *fixture.Object) bool {
	var has struct {
		Spec struct {
			ParentRefs []any `json:"parentRefs"`
		} `json:"spec"`
		Status struct {
			conditions
			Parents []struct {
				conditions
				ControllerName string `json:"controllerName"`
			} `json:"parents"`
		} `json:"status"`
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &has); err != nil {
		return false
	}
	if len(has.Spec.ParentRefs) == 0 {
		return has.Status.at(o.GetGeneration())
	}
	told := 0
	for _, p := range has.Status.Parents {
		if strings.HasPrefix(p.ControllerName, "istio.io/") && p.at(o.GetGeneration()) {
			told++
		}
	}
	return told >= len(has.Spec.ParentRefs)
}

// conditions are those of a Gateway, or of a route at one of its parents.
type conditions struct {
	Conditions []struct {
		Type               string `json:"type"`
		Status             string `json:"status"`
		Reason             string `json:"reason"`
		Message            string `json:"message"`
		ObservedGeneration int64  `json:"observedGeneration"`
	} `json:"conditions"`
}

func (c conditions) at(generation int64) bool {
	for _, x := range c.Conditions {
		if x.Type == "Accepted" && x.Status != "Unknown" && x.ObservedGeneration == generation {
			return true
		}
	}
	return false
}

// haveGatewayAPI says whether the CRDs are there, and watched. Where it cannot tell, they are applied again.
func haveGatewayAPI(ctx context.Context, c *fixture.Client) bool {
	for _, n := range gatewayAPIKinds {
		crd := &fixture.Object{Object: map[string]any{"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": map[string]any{"name": n}}}
		if _, err := c.Get(ctx, crd); err != nil {
			return false
		}
	}
	_, err := c.Get(ctx, ourClass)
	return err == nil
}

// gatewayAPI reads the CRDs.
func gatewayAPI(module string) ([]*fixture.Object, error) {
	b, err := os.ReadFile(filepath.Join(module, gatewayAPIFile))
	if err != nil {
		return nil, fmt.Errorf("find the CRDs of the Gateway API: %w", err)
	}
	var out []*fixture.Object
	for doc := range bytes.SplitSeq(b, []byte("\n---\n")) {
		if !slices.ContainsFunc(gatewayAPIKinds, func(n string) bool { return bytes.Contains(doc, []byte("\n  name: "+n+"\n")) }) {
			continue // reading all of them costs a second
		}
		o := &fixture.Object{}
		if err := yaml.Unmarshal(doc, &o.Object); err != nil {
			return nil, fmt.Errorf("read %s: %w", gatewayAPIFile, err)
		}
		if slices.Contains(gatewayAPIKinds, o.GetName()) {
			out = append(out, o)
		}
	}
	if len(out) != len(gatewayAPIKinds) {
		return nil, fmt.Errorf("%s has %d of the CRDs %v", gatewayAPIFile, len(out), gatewayAPIKinds)
	}
	return out, nil
}
