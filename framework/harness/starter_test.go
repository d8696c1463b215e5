package harness

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/fixture"
	"mesh-egress-conformance/framework/limits"
	"mesh-egress-conformance/framework/mesh"
	"mesh-egress-conformance/framework/pods"
)

// Clients that no case to come needs may end, but for those that every lane has, the control client, and those that have endpoints.
func TestUnneeded(t *testing.T) {
	clients := []egress.Client{{Name: "server", Service: true}}
	for _, n := range []string{"client", egress.ControlClient, "dns", "old"} {
		clients = append(clients, egress.Client{Name: n, Container: "curl"})
	}
	from := func(clients ...string) egress.Case {
		var c egress.Case
		for _, n := range clients {
			c.Probes = append(c.Probes, egress.Probe{From: n})
		}
		return c
	}
	for name, x := range map[string]struct {
		cases []egress.Case
		want  []string
	}{
		"none to come": {nil, []string{"dns", "old"}},
		"one":          {[]egress.Case{from("dns")}, []string{"old"}},
		"all":          {[]egress.Case{from("dns"), from("client", "old")}, nil},
	} {
		if got := unneeded(clients, x.cases); !slices.Equal(got, x.want) {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// Clients that nobody needs any more make room for those that are to start, and stay where there are none.
func TestRelease(t *testing.T) {
	cs := fake.NewClientset()
	s := starting(t, cs, bareClient(t, cs, "control"), bareClient(t, cs, "old"), bareClient(t, cs, "now"), bareClient(t, cs, "next"))
	for _, n := range []string{"control", "old", "now"} {
		if err := s.startClient(n).wait(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	runs := []egress.Case{probingFrom("now"), probingFrom("client")}
	toCome := append(slices.Clone(runs), probingFrom("next"))
	if got := s.leaving(runs, toCome); got != nil {
		t.Errorf("%v leave, where the next cases need what runs, and what every lane has", got)
	}
	got := s.leaving(toCome, toCome)
	if !slices.Equal(got, []string{"old"}) {
		t.Errorf("%v leave, where a case needs a client that does not run", got)
	}
	s.retire(got, func(name string) (func(context.Context) error, error) {
		_, err := s.ending(name) // which needs an API server to go on
		return func(context.Context) error { return nil }, err
	}, func(err error) { t.Error(err) })
	if err := s.released(t.Context()); err != nil || s.begun("old") {
		t.Errorf("it has ended, and can be started anew: %v", err)
	}
	if _, err := s.conn.pods.Get("old"); err == nil {
		t.Error("it is still there, and nobody needs it")
	}
	if _, err := s.conn.pods.Get("now"); err != nil {
		t.Error(err)
	}
}

// toldMesh does what a test says, where that is asked for.
type toldMesh struct {
	installs   func(context.Context, egress.Revision) error
	binds      func(proxy, revision string)
	gatewayAPI func(context.Context) error
	waits      func(ctx context.Context, proxies ...string) error
}

func (m toldMesh) install(ctx context.Context, v egress.Revision) error { return m.installs(ctx, v) }
func (m toldMesh) bind(proxy, revision string)                          { m.binds(proxy, revision) }
func (m toldMesh) installGatewayAPI(ctx context.Context) error          { return m.gatewayAPI(ctx) }
func (m toldMesh) connected(ctx context.Context, proxies ...string) error {
	return m.waits(ctx, proxies...)
}

// starting is a starter of some clients, of which the pods in cs run already.
func starting(t *testing.T, cs *fake.Clientset, clients ...egress.Client) *starter {
	t.Helper()
	for i := range clients {
		clients[i].Default()
	}
	s := newStarter(clients, limits.Default(), t.Logf, func(ctx context.Context) (context.Context, context.CancelFunc) { return context.WithCancel(ctx) })
	s.use(&connection{cs: cs, logs: new(mesh.AccessLogs), pods: pods.New(pods.Options{Clientset: cs, Owner: fixture.RunOwner("run-1")})})
	t.Cleanup(s.end)
	return s
}

// bareClient is a client without a sidecar, whose log nobody follows, and its pod that runs already.
func bareClient(t *testing.T, cs *fake.Clientset, name string) egress.Client {
	t.Helper()
	c := egress.Client{Name: name, Workload: name, Injection: egress.NoInjection}
	c.Default()
	if err := cs.Tracker().Add(&corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: c.Namespace, Name: name, Labels: map[string]string{"app": name, fixture.RunLabel: "run-1"}},
		Status:     corev1.PodStatus{PodIP: "10.244.0.12", Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}},
	}); err != nil {
		t.Fatal(err)
	}
	return c
}

func probingFrom(client string, needs ...egress.Feature) egress.Case {
	return egress.Case{Name: "of " + client, Needs: needs, Probes: []egress.Probe{{From: client, URL: "http://httpbin.org/"}}}
}

// A client that does not start is the end of the cases that need it, each of which hears why, and of no others. It is tried once.
func TestClientDoesNotStart(t *testing.T) {
	cs := fake.NewClientset()
	s := starting(t, cs, bareClient(t, cs, "control"), bareClient(t, cs, "good"), egress.Client{Name: "bad", Injection: egress.NoInjection})
	tried := 0
	cs.PrependReactor("list", "pods", func(a clienttesting.Action) (bool, runtime.Object, error) {
		if a.GetNamespace() != "egress-bad" {
			return false, nil, nil
		}
		tried++
		return true, nil, errors.New("no image")
	})
	for _, x := range []struct{ client, why string }{{"good", ""}, {"bad", "no image"}, {"bad", "no image"}, {"nobody", `client "nobody" is not defined`}} {
		err := s.ready(t.Context(), 0, probingFrom(x.client))
		if (err == nil) != (x.why == "") || err != nil && !strings.Contains(err.Error(), x.why) {
			t.Errorf("%s: %v", x.client, err)
		}
	}
	if tried != 1 {
		t.Errorf("tried %d times", tried)
	}
	if _, err := s.conn.pods.Get("good"); err != nil {
		t.Error(err)
	}
}

// The gateways are started once, for whoever asks first; all others wait for them, and hear why they did not come.
func TestGatewaysAskedTwice(t *testing.T) {
	cs := fake.NewClientset()
	s := starting(t, cs, bareClient(t, cs, "control"), bareClient(t, cs, "a"))
	started, release := 0, make(chan struct{})
	s.gateways.bring = func(context.Context) error {
		started++
		<-release
		return errors.New("the egress gateway has no endpoints")
	}
	first, second := s.startGateways(), s.startGateways()
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if err := first.wait(over); !errors.Is(err, context.Canceled) || first.over() {
		t.Errorf("it did not wait: %v", err)
	}
	close(release)
	for _, err := range []error{first.wait(t.Context()), second.wait(t.Context()), s.ready(t.Context(), 0, probingFrom("a", egress.EgressGateway)), s.lookup(gatewaysStartup).wait(t.Context())} {
		if err == nil || err.Error() != "the egress gateway has no endpoints" {
			t.Error(err)
		}
	}
	if err := s.ready(t.Context(), 0, probingFrom("a")); err != nil || started != 1 {
		t.Errorf("a case without a gateway: %v; started %d times", err, started)
	}
	if err := s.lookup(gatewayAPIStartup).wait(t.Context()); err == nil || !strings.Contains(err.Error(), "was never started") {
		t.Error(err)
	}
}

// Cases begin when those that have endpoints have started, gateways among them, well or not; other clients may still start.
func TestPrepareWaitsForEndpoints(t *testing.T) {
	cs := fake.NewClientset()
	served := bareClient(t, cs, "server")
	served.Service = true
	s := starting(t, cs, bareClient(t, cs, "control"), served, bareClient(t, cs, "client"))
	slow := &startup{done: make(chan struct{})}
	s.once["client"] = slow
	s.gateways.bring = func(context.Context) error { return errors.New("they did not come") }
	cases := []egress.Case{probingFrom("server", egress.EgressGateway), probingFrom("client"), probingFrom("nobody")}
	if err := s.prepare(t.Context(), cases); err != nil {
		t.Fatal(err)
	}
	if !s.lookup("server").over() || !s.lookup(gatewaysStartup).over() || s.lookup("client").over() || !s.waits(0, cases[1]) || s.waits(0, cases[0]) {
		t.Error("what has endpoints was not waited for, or what has none was")
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.settled(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("a client is still starting: %v", err)
	}
	close(slow.done)
	if err := s.settled(t.Context()); err != nil || s.waits(0, cases[1]) {
		t.Error(err)
	}
}

// What is still starting ends with the session, which waits for it.
func TestCloseEndsWhatStarts(t *testing.T) {
	s := starting(t, fake.NewClientset())
	s.mesh = toldMesh{gatewayAPI: func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	}}
	u := s.startGatewayAPI()
	if err := s.close(t.Context()); err != nil || !u.over() || !errors.Is(u.err, context.Canceled) {
		t.Errorf("%v, %v", err, u.err)
	}
}
