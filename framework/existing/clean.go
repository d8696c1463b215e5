package existing

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"k8s.io/client-go/kubernetes"

	"mesh-egress-conformance/framework/fixture"
	"mesh-egress-conformance/framework/mesh"
)

// Clean removes what runs that have ended have left: by their journals in the folder and, if byLabel, by the run's
// label too. run is the only one that is meant; "" means all. An Istio that one of them has installed goes too.
func Clean(ctx context.Context, cs kubernetes.Interface, c *fixture.Client, dir, run string, byLabel bool) (fixture.Swept, error) {
	swept, err := c.Sweep(ctx, dir, run, byLabel)
	if slices.ContainsFunc(swept.Told, ofIstio) {
		err = errors.Join(err, Uninstalled(ctx, cs))
	}
	switch {
	case slices.Contains(swept.Alive, run) && run != "":
		err = errors.Join(err, fmt.Errorf("%s is still at work on this machine: end it first (it cleans up after itself)", run))
	case run != "" && len(swept.Runs) == 0 && err == nil:
		err = fmt.Errorf("the cluster has nothing of run %q", run)
	}
	return swept, err
}

// ofIstio says whether an object tells that the run that has made it had installed an Istio.
func ofIstio(o *fixture.Object) bool {
	return o.GetKind() == "Namespace" && o.GetName() == mesh.SystemNamespace || o.GetKind() == "MutatingWebhookConfiguration" || o.GetKind() == "CustomResourceDefinition"
}
