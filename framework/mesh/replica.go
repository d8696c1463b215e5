package mesh

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"

	"mesh-egress-conformance/framework/limits"
)

// Ports of istiod (istio.io, "Ports used by Istio").
const (
	istiodDebugPort   = 8080
	istiodMetricsPort = 15014
)

// replica is one pod of istiod. Its debug endpoints answer only local callers, so questions go through a port-forward,
// which arrives as one, or through a connection from inside the pod, which is one.
type replica struct {
	stop func()

	pushes *shared[push]
	config *shared[config]
	mesh   *shared[string]
	// computed counts the pushes that it has computed, for nobody too; nil where its metrics cannot be read.
	computed *shared[computed]
	// version is its own, beside the metrics; nil where those cannot be read.
	version *shared[string]
}

// unreachable says that no answer came, and why: the way to the replica may be cut.
type unreachable struct{ error }

func (u unreachable) Unwrap() error { return u.error }

// dialReplica opens a way to a pod of istiod. connected is called before every connection that goes it.
func dialReplica(ctx context.Context, w Way, pod string, l limits.Push, connected func()) (*replica, error) {
	debug, stop, err := w.open(ctx, SystemNamespace, pod, istiodDebugPort)
	if err != nil {
		return nil, err
	}
	t := http.DefaultTransport.(*http.Transport).Clone()                //nolint:forcetypeassert // it is one
	t.Proxy, t.DisableCompression, t.MaxIdleConnsPerHost = nil, true, 8 // istiod would compress its metrics, at a cost
	t.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		connected()
		return w.dial(ctx, network, addr)
	}
	// Without its metrics an answer takes longer where a change concerns no proxy, and that is all.
	metrics, stopMetrics, err := w.open(ctx, SystemNamespace, pod, istiodMetricsPort)
	if err != nil {
		metrics, stopMetrics = "", func() {}
	}
	return newReplica(debug, metrics, &http.Client{Timeout: l.Ask.Answer, Transport: t}, l, func() { t.CloseIdleConnections(); stop(); stopMetrics() }), nil
}

// newReplica asks a replica at the URLs of its debug endpoints and of its metrics; "" where there are none.
func newReplica(debug, metrics string, client *http.Client, l limits.Push, stop func()) *replica {
	r := &replica{stop: stop}
	r.pushes = newShared(l.Ask.Pause, question(client, debug+"/debug/syncz", parseSync))
	r.config = newShared(l.Ask.Pause, question(client, debug+"/debug/configz", parseConfig))
	r.mesh = newShared(l.Ask.Pause, question(client, debug+"/debug/mesh", func(b []byte) (string, error) { return string(b), nil }))
	if metrics != "" {
		r.computed = newShared(l.Ask.Pause, question(client, metrics+"/metrics", parseComputed))
		r.version = newShared(l.Ask.Pause, question(client, metrics+"/version", parseVersion))
	}
	return r
}

// question is a request to one URL, and what its answer means.
func question[T any](client *http.Client, url string, parse func([]byte) (T, error)) func(context.Context) (T, error) {
	return func(ctx context.Context) (T, error) {
		b, err := get(ctx, client, url)
		if err != nil {
			var none T
			return none, err
		}
		return parse(b)
	}
}

func get(ctx context.Context, client *http.Client, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, unreachable{fmt.Errorf("ask istiod for %s: %w", req.URL.Path, err)}
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, unreachable{fmt.Errorf("ask istiod for %s: %w", req.URL.Path, err)}
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("ask istiod for %s: %s", req.URL.Path, resp.Status)
	}
	return b, nil
}
