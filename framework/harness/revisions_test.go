package harness

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/limits"
	"mesh-egress-conformance/framework/mesh"
	"mesh-egress-conformance/framework/pods"
)

// scales notes what is asked of it, and may fail.
type scales struct {
	did []string
	err error
}

func (s *scales) scale(_ context.Context, name string, replicas int, _ []string) error {
	s.did = append(s.did, fmt.Sprintf("%s to %d", name, replicas))
	return s.err
}

// What a case has sent away is back when it ends, once, and another case's is left alone.
func TestIstiods(t *testing.T) {
	s := &scales{}
	r := &rules{revisions: s, clients: clients{pods: pods.New(pods.Options{})}}
	c := egress.Case{Name: "c", Istiod: map[egress.Phase]map[string]int{egress.Applied: {"away": 0, "other": 0}, egress.Changed: {"away": 1}}}
	plain := egress.Case{Name: "plain"}
	for _, do := range []func() error{
		func() error { return r.istiods(t.Context(), c, egress.Applied) },
		func() error { return r.istiods(t.Context(), plain, egress.Applied) },
		func() error { return r.istiods(t.Context(), c, egress.Changed) },
		func() error { return r.restore(t.Context(), plain) },
		func() error { return r.restore(t.Context(), c) },
		func() error { return r.restore(t.Context(), c) }, // a removal may be tried twice
	} {
		if err := do(); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{"away to 0", "other to 0", "away to 1", "away to 1", "other to 1"}; !slices.Equal(s.did, want) {
		t.Errorf("%q, wanted %q", s.did, want)
	}
}

// Where an istiod does not come back, nothing is removed as if it were there, and the next try brings it back.
func TestIstiodDoesNotReturn(t *testing.T) {
	s := &scales{err: errors.New("no image")}
	r := &rules{
		revisions: s, clients: clients{pods: pods.New(pods.Options{})}, traces: map[string]*trace{"c": {scaled: []string{"away"}}},
		doubts: newDoubts(), changer: &lyingWorld{},
	}
	c, next := egress.Case{Name: "c"}, egress.Case{Name: "next"}
	if _, err := r.Remove(t.Context(), c); err == nil || !strings.Contains(err.Error(), "case c: no image") {
		t.Errorf("%v", err)
	}
	if _, why, _ := r.doubts.about([]string{"p.n"}); why == "" {
		t.Error("no proxy is in doubt")
	}
	if err := r.Ready(t.Context(), next); err == nil || !strings.Contains(err.Error(), "remove what c has left: case c: no image") {
		t.Errorf("the next case: %v", err)
	}
	s.err = nil
	if err := r.Ready(t.Context(), next); err != nil || len(s.did) != 3 || len(r.traces["c"].scaled)+len(r.left()) != 0 {
		t.Errorf("%v after %q; left: %d", err, s.did, len(r.left()))
	}
}

// One istiod serves all clients that name it; where it does not start, each of them says so.
func TestStartRevision(t *testing.T) {
	v := &egress.Revision{Name: "flags"}
	all := []egress.Client{{Name: "a", Revision: "flags", Istiod: v}, {Name: "b", Revision: "flags", Istiod: v}}
	s := newStarter(all, limits.Default(), t.Logf, func(ctx context.Context) (context.Context, context.CancelFunc) { return context.WithCancel(ctx) })
	defer s.end()
	started := 0
	s.mesh = toldMesh{installs: func(context.Context, egress.Revision) error {
		started++
		return errors.New("no image")
	}}
	for _, n := range []string{"a", "b"} {
		if err := s.startClient(n).wait(t.Context()); err == nil || err.Error() != "no image" {
			t.Errorf("client %s: %v", n, err)
		}
	}
	if started != 1 {
		t.Errorf("started %d times", started)
	}
}

// A client has started when the istiod knows its proxy that serves it, which is told first; before the session is joined, there
// is nobody to ask.
func TestServedClient(t *testing.T) {
	var did []string
	s := &starter{}
	if err := s.served(t.Context(), egress.Client{Name: "client"}, "client.n"); err != nil || len(did) > 0 {
		t.Errorf("%v %q", err, did)
	}
	s.mesh = toldMesh{
		binds: func(proxy, revision string) { did = append(did, proxy+" of "+revision) },
		waits: func(_ context.Context, proxies ...string) error {
			did = append(did, "waited for "+strings.Join(proxies, ","))
			return errors.New("it never came")
		},
	}
	if err := s.served(t.Context(), egress.Client{Name: "a", Revision: "flags"}, "a.n"); err == nil || !slices.Equal(did, []string{"a.n of flags", "waited for a.n"}) {
		t.Errorf("%v %q", err, did)
	}
}

// Gateways that are there already are waited for until their istiod knows them.
func TestGatewaysThatRunAlready(t *testing.T) {
	var objs []runtime.Object
	for _, name := range installedGateways {
		objs = append(objs, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: mesh.SystemNamespace, Name: name, UID: types.UID(name), Labels: map[string]string{"app": name}},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: mesh.ProxyContainer, Args: []string{"proxy", "router"}}}},
			Status: corev1.PodStatus{
				Conditions:        []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
				ContainerStatuses: []corev1.ContainerStatus{{Name: mesh.ProxyContainer, ContainerID: "1", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}},
			},
		})
	}
	cs := fake.NewClientset(objs...)
	l := limits.Default()
	followed, err := mesh.FollowGateways(t.Context(), cs, mesh.NewAccessLogs(cs, nil, l.Log), nil, l)
	if err != nil {
		t.Fatal(err)
	}
	defer followed.Close()
	var waited []string
	s := newStarter(nil, l, t.Logf, nil)
	defer s.end()
	s.use(&connection{followed: followed})
	s.mesh = toldMesh{waits: func(_ context.Context, proxies ...string) error {
		waited = proxies
		return errors.New("one never came")
	}}
	for _, name := range installedGateways { // until their logs are followed
		if err := followed.Await(t.Context(), mesh.SystemNamespace, map[string]string{"app": name}, 1); err != nil {
			t.Fatal(err)
		}
	}
	err = s.gatewaysConnected(t.Context())
	slices.Sort(waited)
	if err == nil || err.Error() != "one never came" || !slices.Equal(waited, []string{"istio-egressgateway.istio-system", "istio-ingressgateway.istio-system"}) {
		t.Errorf("%v, waited for %q", err, waited)
	}
}

// Beside an Istio of somebody else's, no istiod is installed.
func TestRevisionOfOthers(t *testing.T) {
	s := &site{env: environment{cluster: &mortal{gone: make(chan struct{})}}}
	if _, _, err := s.revisionInstaller(nil)(egress.Revision{Name: "x"}); err == nil || !strings.Contains(err.Error(), "belongs to somebody else") {
		t.Errorf("%v", err)
	}
	r := &revisions{installer: s.revisionInstaller(nil), installed: map[string]*revision{}, changer: mesh.NewChanger(nil, nil, nil, limits.Push{})}
	if err := r.install(t.Context(), egress.Revision{Name: "x"}); err == nil || len(r.names()) != 0 {
		t.Errorf("%v, installed: %v", err, r.names())
	}
	if err := r.scale(t.Context(), "x", 0, nil); err == nil {
		t.Error("an istiod that is not there is sent away")
	}
	if err := r.remove(t.Context(), "x"); err != nil {
		t.Errorf("what is not there cannot be removed: %v", err)
	}
}
