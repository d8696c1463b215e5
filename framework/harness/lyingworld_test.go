package harness

import (
	"context"
	"fmt"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/fixture"
	"mesh-egress-conformance/framework/limits"
	"mesh-egress-conformance/framework/mesh"
	"mesh-egress-conformance/framework/pods"
)

// lyingWorld is an API server and an istiod that keep what they are told to, and fail where a test says so.
type lyingWorld struct {
	there []*fixture.Object // in the order in which they were made
	made  int
	did   []mesh.Mutation // without what writes

	refuses  string // the name of an object that the API server does not take
	takes    string // the name of an object that it takes, of those that it should refuse
	keeps    error  // why nothing is removed
	keepsFor int    // times; 0 is for ever
	silent   error  // why istiod does not answer, once the objects are written
	unheard  bool   // no proxy acknowledges anything
	beside   bool   // istiod computes another push beside each
	gateways error  // why gateways are not known
	// impatient is called with the number of changes so far when one is written: who waits for it may have no time left.
	impatient func(n int)
}

func (w *lyingWorld) Apply(_ context.Context, namespace string, objs ...*fixture.Object) ([]*fixture.Object, error) {
	var out []*fixture.Object
	for _, o := range objs {
		if o.GetName() == w.refuses {
			return out, fmt.Errorf("apply %s: a webhook refuses it", fixture.Describe(o))
		}
		o = o.DeepCopy()
		if o.GetNamespace() == "" {
			o.SetNamespace(namespace)
		}
		if i := w.find(o); i >= 0 {
			o.SetUID(w.there[i].GetUID())
			o.SetGeneration(w.there[i].GetGeneration() + 1)
			w.there[i] = o
		} else {
			w.made++
			o.SetUID(types.UID(fmt.Sprintf("uid-%d", w.made)))
			o.SetGeneration(1)
			w.there = append(w.there, o)
		}
		out = append(out, o)
	}
	return out, nil
}

func (w *lyingWorld) find(o *fixture.Object) int {
	return slices.IndexFunc(w.there, func(x *fixture.Object) bool {
		return x.GetKind() == o.GetKind() && x.GetName() == o.GetName() && x.GetNamespace() == o.GetNamespace()
	})
}

func (w *lyingWorld) Get(_ context.Context, o *fixture.Object) (*fixture.Object, error) {
	if i := w.find(o); i >= 0 {
		return w.there[i], nil
	}
	return nil, apierrors.NewNotFound(schema.GroupResource{Resource: o.GetKind()}, o.GetName())
}

func (w *lyingWorld) Refused(_ context.Context, _ string, o *fixture.Object, _ bool) (string, error) {
	switch o.GetName() {
	case w.takes:
		return "", nil
	case w.refuses:
		return "", fmt.Errorf("offer %s: the API server does not answer", fixture.Describe(o))
	}
	return "a webhook refuses it", nil
}

func (w *lyingWorld) Remove(_ context.Context, objs ...*fixture.Object) error {
	if why := w.keeps; why != nil && len(objs) > 0 {
		if w.keepsFor--; w.keepsFor == 0 {
			w.keeps = nil
		}
		return why
	}
	for _, o := range objs {
		w.there = slices.DeleteFunc(w.there, func(x *fixture.Object) bool { return x.GetUID() == o.GetUID() })
	}
	return nil
}

func (w *lyingWorld) Do(ctx context.Context, m mesh.Mutation) (mesh.Settled, error) {
	if err := ctx.Err(); err != nil {
		return mesh.Settled{}, err
	}
	w.did = append(w.did, mesh.Mutation{Proxies: m.Proxies, Config: m.Config, Hasty: m.Hasty})
	if m.Write != nil {
		if _, err := m.Write(ctx); err != nil {
			return mesh.Settled{Acknowledged: true}, err
		}
	}
	if w.impatient != nil {
		w.impatient(len(w.did))
	}
	switch {
	case ctx.Err() != nil:
		return mesh.Settled{}, ctx.Err()
	case w.silent != nil:
		return mesh.Settled{}, w.silent
	case w.unheard:
		return mesh.Settled{Note: "no proxy acknowledges it"}, nil
	}
	return mesh.Settled{Acknowledged: true, Reached: true, Sent: m.Proxies, Beside: w.beside}, nil
}

func (w *lyingWorld) AwaitGateways(context.Context, *mesh.Gateways, []*fixture.Object, []string) (mesh.Settled, error) {
	return mesh.Settled{Acknowledged: w.gateways == nil}, w.gateways
}

// names are those of the objects that are there.
func (w *lyingWorld) names() []string {
	var out []string
	for _, o := range w.there {
		out = append(out, o.GetName())
	}
	return out
}

// runningClients are clients whose pods run already, and have sidecars.
func runningClients(t *testing.T, names ...string) clients {
	t.Helper()
	var all []egress.Client
	cs := fake.NewClientset()
	for _, n := range names {
		c := egress.Client{Name: n, Workload: n}
		c.Default()
		all = append(all, c)
		if err := cs.Tracker().Add(&corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: c.Namespace, Name: n, UID: types.UID(n), Labels: map[string]string{"app": n, fixture.RunLabel: "run-1"}},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: c.Container}, {Name: mesh.ProxyContainer}}},
			Status:     corev1.PodStatus{PodIP: "10.244.0.12", Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}},
		}); err != nil {
			t.Fatal(err)
		}
	}
	p := pods.New(pods.Options{Clientset: cs, Owner: fixture.RunOwner("run-1"), Limits: limits.Default().Pods})
	if err := p.Start(t.Context(), all...); err != nil {
		t.Fatal(err)
	}
	return clients{pods: p, gateway: func(egress.Feature) []string { return nil }}
}

// rulesIn are the rules of a lane with the client "client" in a world.
func rulesIn(t *testing.T, w *lyingWorld) *rules {
	t.Helper()
	l := limits.Default()
	l.Cluster.Back = 0 // what fails once, fails
	return &rules{
		clients: runningClients(t, "client"), fixtures: w, changer: w, gateways: nil, revisions: &scales{}, enforcing: &enforcing{},
		run: "run-1", limits: l, expand: func(s string) string { return s },
		secrets: func(_ context.Context, text string) (string, error) { return text, nil }, ours: true, doubts: newDoubts(),
	}
}
