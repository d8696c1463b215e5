package mesh

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mesh-egress-conformance/framework/fixture"
	"mesh-egress-conformance/framework/limits"
)

// fakeMesh is a control plane as its debug endpoints show it, in memory and in the time of a test's bubble. What it
// does when is the test's business, so it can lie.
type fakeMesh struct {
	mu       sync.Mutex
	replicas map[string]*fakeReplica
	dialled  []string
	asker    *Istiod
}

// fakeReplica is one pod of istiod.
type fakeReplica struct {
	away      bool // it is not ready, and does not answer
	silent    bool // it takes questions, and does not answer
	noMetrics bool
	process   int // how often it was started again
	version   string
	computed  int64
	took      time.Duration
	held      map[string]Version
	mesh      string
	proxies   map[string]*fakeProxy
}

// fakeProxy is what a replica knows of a proxy.
type fakeProxy struct {
	sent, acked int64
	endpoints   bool // the last push was of endpoints alone
	connecting  bool // it has not asked for listeners yet
	refused     string
}

// newFakeMesh has one replica, which has computed some pushes, and one proxy "p.n" that has acknowledged the last.
func newFakeMesh() (*fakeMesh, *fakeReplica) {
	f := &fakeMesh{replicas: map[string]*fakeReplica{}}
	return f, f.add("istiod-a", 5, "p.n")
}

// add makes a further replica.
func (f *fakeMesh) add(pod string, computed int64, proxies ...string) *fakeReplica {
	r := &fakeReplica{computed: computed, held: map[string]Version{}, mesh: "installed", proxies: map[string]*fakeProxy{}}
	for _, p := range proxies {
		r.proxies[p] = &fakeProxy{sent: computed, acked: computed}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.replicas[pod] = r
	return r
}

// restart starts a replica again, which has computed so many pushes then. Its proxies connect to it anew.
func (f *fakeMesh) restart(r *fakeReplica, computed int64) {
	r.process++
	r.computed = computed
	f.asker.connections.Add(1)
	for _, p := range r.proxies {
		p.sent, p.acked = computed, computed
	}
}

// after does something later.
func (f *fakeMesh) after(d time.Duration, do func()) {
	time.AfterFunc(d, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		do()
	})
}

// hold makes a replica hold objects.
func (r *fakeReplica) hold(objs ...*fixture.Object) {
	for _, o := range objs {
		v := Version{Group: o.GroupVersionKind().Group, Kind: o.GetKind(), Namespace: o.GetNamespace(), Name: o.GetName(), UID: string(o.GetUID()), Generation: o.GetGeneration()}
		r.held[fixture.Describe(o)] = v
	}
}

// push computes a push and sends it to proxies.
func (r *fakeReplica) push(proxies ...string) {
	r.computed++
	r.took += 4 * time.Millisecond
	for _, p := range proxies {
		r.proxies[p].sent, r.proxies[p].endpoints = r.computed, false
	}
}

// ack makes all its proxies acknowledge what was sent to them.
func (r *fakeReplica) ack() {
	for _, p := range r.proxies {
		p.acked = p.sent
	}
}

// honest makes a replica see objects after a while, and push them to all its proxies as istiod does.
func (f *fakeMesh) honest(r *fakeReplica, seen time.Duration, objs ...*fixture.Object) {
	f.after(seen, func() { r.hold(objs...) })
	f.after(seen+110*time.Millisecond, func() { r.push(slices.Collect(maps.Keys(r.proxies))...) })
	f.after(seen+120*time.Millisecond, r.ack)
}

// istiod connects to the replicas that are ready.
func (f *fakeMesh) istiod(t *testing.T) *Istiod {
	t.Helper()
	l := limits.Default().Push
	find := func(context.Context) ([]string, error) {
		f.mu.Lock()
		defer f.mu.Unlock()
		var ready []string
		for pod, r := range f.replicas {
			if !r.away {
				ready = append(ready, pod)
			}
		}
		if len(ready) == 0 {
			return nil, errors.New("no ready pod")
		}
		return ready, nil
	}
	f.asker = newIstiod(l, find, func(_ context.Context, pod string) (*replica, error) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.dialled = append(f.dialled, pod)
		metrics := "http://" + pod
		if f.replicas[pod].noMetrics {
			metrics = ""
		}
		return newReplica("http://"+pod, metrics, &http.Client{Transport: f, Timeout: l.Ask.Answer}, l, func() {}), nil
	})
	return f.asker
}

// RoundTrip answers like istiod's debug endpoints.
func (f *fakeMesh) RoundTrip(q *http.Request) (*http.Response, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := f.replicas[q.URL.Host]
	if r != nil && r.silent {
		f.mu.Unlock()
		<-q.Context().Done()
		f.mu.Lock()
		return nil, q.Context().Err()
	}
	if r == nil || r.away {
		return nil, errors.New("connection reset by peer")
	}
	var body any
	switch q.URL.Path {
	case "/debug/syncz":
		body = r.syncz()
	case "/debug/configz":
		body = r.configz()
	case "/debug/mesh":
		body = r.mesh
	case "/version":
		body = r.version
	case "/metrics":
		body = fmt.Sprintf("process_start_time_seconds %d\npilot_pushcontext_init_seconds_sum %g\npilot_pushcontext_init_seconds_count %d\n", r.process, r.took.Seconds(), r.computed)
	}
	text, ok := body.(string)
	if !ok {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		text = string(b)
	}
	return &http.Response{StatusCode: http.StatusOK, Status: "200 OK", Body: io.NopCloser(strings.NewReader(text)), Request: q}, nil
}

func (r *fakeReplica) syncz() []syncStatus {
	var out []syncStatus
	for name, p := range r.proxies {
		last := resourceStatus{Sent: nonce(fmt.Sprint(p.sent)), Acked: nonce(fmt.Sprint(p.acked))}
		rules, listeners, endpoints := last, last, last
		if p.refused != "" { // the listeners, and took the rest
			rules.Acked, endpoints.Acked = rules.Sent, endpoints.Sent
		}
		if p.endpoints {
			rules = resourceStatus{Sent: nonce("1"), Acked: nonce("1")}
			listeners = rules
		}
		s := syncStatus{Proxy: name, Resources: map[string]resourceStatus{
			"type.googleapis.com/envoy.config.endpoint.v3." + endpointType: endpoints,
			"type.googleapis.com/envoy.config.cluster.v3.Cluster":          rules,
		}}
		if !p.connecting {
			listeners.LastError = p.refused
			s.Resources["type.googleapis.com/envoy.config.listener.v3.Listener"] = listeners
		}
		out = append(out, s)
	}
	return out
}

func (r *fakeReplica) configz() any {
	type object = map[string]any
	out := []object{}
	for _, v := range r.held {
		if v.UID == "" {
			continue
		}
		o := object{"apiVersion": v.Group + "/v1", "kind": v.Kind, "metadata": object{"name": v.Name, "namespace": v.Namespace, "uid": v.UID, "generation": v.Generation}}
		if v.Addressed {
			o["status"] = object{"addresses": []any{object{"value": "240.240.0.1"}}}
		}
		out = append(out, o)
	}
	return out
}

// object is an API object as the API server returns it.
func object(apiVersion, kind, name string) *fixture.Object {
	return &fixture.Object{Object: map[string]any{"apiVersion": apiVersion, "kind": kind, "metadata": map[string]any{
		"name": name, "namespace": "n", "uid": "uid of " + name, "generation": int64(1),
	}, "spec": map[string]any{}}}
}

func entry(name string) *fixture.Object {
	return object("networking.istio.io/v1", "ServiceEntry", name)
}
