package mesh

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"mesh-egress-conformance/framework/kube"
)

// Istiod asks a running istiod what it knows and what its proxies have acknowledged. The debug
// endpoints answer only local callers, so it goes through a port-forward, which arrives as one.
type Istiod struct {
	url  string
	http *http.Client
	stop func()

	pushes *shared[push]
	config *shared[config]
	mesh   *shared[string]
	// computed counts the pushes that istiod has computed, for nobody too; nil where it cannot be asked.
	computed *shared[computed]
}

// Ports of istiod (istio.io, "Ports used by Istio").
const (
	istiodDebugPort   = 8080
	istiodMetricsPort = 15014
)

// ConnectIstiod opens the port-forward to the one istiod pod that is ready.
func ConnectIstiod(ctx context.Context, cfg *rest.Config, cs kubernetes.Interface) (*Istiod, error) {
	pods, err := cs.CoreV1().Pods(SystemNamespace).List(ctx, metav1.ListOptions{LabelSelector: "app=istiod", FieldSelector: "status.phase=" + string(corev1.PodRunning)})
	if err != nil {
		return nil, fmt.Errorf("find istiod: %w", err)
	}
	if len(pods.Items) == 0 {
		return nil, fmt.Errorf("find istiod: no running pod with label app=istiod in namespace %s", SystemNamespace)
	}
	port, stop, err := kube.Forward(ctx, cfg, cs, SystemNamespace, pods.Items[0].Name, istiodDebugPort)
	if err != nil {
		return nil, err
	}
	i := newIstiod(fmt.Sprintf("http://127.0.0.1:%d", port), local(), stop)
	// Without its metrics an answer takes longer where a change concerns no proxy, and that is all.
	if port, stopMetrics, err := kube.Forward(ctx, cfg, cs, SystemNamespace, pods.Items[0].Name, istiodMetricsPort); err == nil {
		i.count(fmt.Sprintf("http://127.0.0.1:%d", port))
		i.stop = func() { stop(); stopMetrics() }
	}
	return i, nil
}

// count lets pushes be counted by the metrics at a URL.
func (i *Istiod) count(url string) {
	m := &Istiod{url: url, http: i.http}
	i.computed = newShared(lookEvery, func(ctx context.Context) (computed, error) { return read(ctx, m, "/metrics", parseComputed) })
}

// local makes a client for the near end of a port-forward. istiod would compress its metrics, at a cost.
func local() *http.Client {
	t := http.DefaultTransport.(*http.Transport).Clone() //nolint:forcetypeassert // it is one
	t.Proxy, t.DisableCompression, t.MaxIdleConnsPerHost = nil, true, 8
	return &http.Client{Timeout: 5 * time.Second, Transport: t}
}

func newIstiod(url string, client *http.Client, stop func()) *Istiod {
	i := &Istiod{url: url, http: client, stop: stop}
	i.pushes = newShared(lookEvery, func(ctx context.Context) (push, error) { return read(ctx, i, "/debug/syncz", parseSync) })
	i.config = newShared(lookEvery, func(ctx context.Context) (config, error) { return read(ctx, i, "/debug/configz", parseConfig) })
	i.mesh = newShared(lookEvery, func(ctx context.Context) (string, error) {
		return read(ctx, i, "/debug/mesh", func(b []byte) (string, error) { return string(b), nil })
	})
	return i
}

func read[T any](ctx context.Context, i *Istiod, path string, parse func([]byte) (T, error)) (T, error) {
	b, err := i.Debug(ctx, path)
	if err != nil {
		var none T
		return none, err
	}
	return parse(b)
}

// Close ends the port-forward.
func (i *Istiod) Close() { i.stop() }

// Debug fetches a debug endpoint such as "/debug/syncz".
func (i *Istiod) Debug(ctx context.Context, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, i.url+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := i.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask istiod for %s: %w", path, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("ask istiod for %s: %w", path, err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("ask istiod for %s: %s", path, resp.Status)
	}
	return b, nil
}

// syncStatus is an entry of /debug/syncz (istio.io/istio/pilot/pkg/xds/debug.go, SyncStatus).
type syncStatus struct {
	Proxy     string                    `json:"proxy"`
	Resources map[string]resourceStatus `json:"resources"`
}

type resourceStatus struct {
	Sent      string `json:"sent"`
	Acked     string `json:"acked"`
	LastError string `json:"last_error"`
}

// nonceCounter reads the push counter out of a nonce: "<time>/<counter><uuid>". It only grows.
func nonceCounter(nonce string) (int64, bool) {
	const uuidLen = 36
	if len(nonce) <= uuidLen {
		return 0, false
	}
	_, n, ok := strings.Cut(nonce[:len(nonce)-uuidLen], "/")
	if !ok {
		return 0, false
	}
	c, err := strconv.ParseInt(n, 10, 64)
	return c, err == nil && c >= 0
}

// Proxy names a proxy as istiod does: pod.namespace.
func Proxy(pod, namespace string) string { return pod + "." + namespace }

// push is the state of the proxies at one moment.
type push struct {
	latest int64            // highest push counter sent to any proxy
	sent   map[string]int64 // per proxy, the highest sent that is not of endpoints alone
	behind map[string]string
	nacks  []string
}

// newest is the counter of the last push of rules to any proxy.
func (p push) newest() int64 {
	n := int64(-1)
	for _, sent := range p.sent {
		n = max(n, sent)
	}
	return n
}

// endpointType is the last part of the type URL of endpoints.
const endpointType = "ClusterLoadAssignment"

func parseSync(b []byte) (push, error) {
	var st []syncStatus
	if err := json.Unmarshal(b, &st); err != nil {
		return push{}, fmt.Errorf("read istiod's syncz: %w", err)
	}
	p := push{sent: map[string]int64{}, behind: map[string]string{}}
	for _, s := range st {
		p.sent[s.Proxy] = 0
		for typ, r := range s.Resources {
			typ = typ[strings.LastIndex(typ, ".")+1:]
			if c, ok := nonceCounter(r.Sent); ok {
				p.latest = max(p.latest, c)
				if typ != endpointType { // a push of endpoints alone carries no rule
					p.sent[s.Proxy] = max(p.sent[s.Proxy], c)
				}
			}
			if r.Sent != r.Acked {
				p.behind[s.Proxy] = typ
			}
			if r.LastError != "" {
				p.nacks = append(p.nacks, fmt.Sprintf("%s rejected %s: %s", s.Proxy, typ, r.LastError))
			}
		}
	}
	return p, nil
}

// Quiet waits until istiod has pushed nothing for a while. Istio 1.31 loses a
// change of the mesh configuration that falls into one debounce window with an update of endpoints
// (docs/findings.md), so such a change is made only when no pod is coming or going.
func (i *Istiod) Quiet(ctx context.Context) error {
	last, since, answers := int64(-1), time.Now(), 0
	err := poll(ctx, lookEvery/10, quietPatience, func(ctx context.Context) (bool, error) {
		p, err := i.pushes.ask(ctx)
		if err != nil {
			return false, err
		}
		answers++
		if p.latest != last {
			last, since, answers = p.latest, time.Now(), 0
		}
		return quiet.over(since, answers), nil
	})
	if err != nil {
		return fmt.Errorf("wait until istiod pushes nothing, for a change of the mesh configuration: %w", err)
	}
	return nil
}

// quietPatience bounds Quiet. Pods that come and go without an end, of others or because they crash, are no ground on
// which anything about the mesh configuration could be proven.
var quietPatience = within(60 * time.Second)

// lookEvery is the pause between two equal questions to istiod. Each costs istiod a walk over all that it
// holds, and goes through the API server and the kubelet: with 15 ms a run took 5 % more processor time and
// was no faster.
const lookEvery = 30 * time.Millisecond

var errPatience = errors.New("it did not come in time")

// poll calls f until it is true or fails, or the patience has run out; each call counts as an answer of istiod. What
// f has begun by then is not cut off. Questions to istiod have a pace of their own.
func poll(ctx context.Context, every time.Duration, p patience, f func(context.Context) (bool, error)) error {
	start, answers := time.Now(), 0
	return wait.PollUntilContextCancel(ctx, every, true, func(ctx context.Context) (bool, error) {
		done, err := f(ctx)
		answers++
		if err == nil && !done && p.over(start, answers) {
			err = errPatience
		}
		return done, err
	})
}

// Version identifies one version of one object. The resource version would not do: istiod itself
// writes a ServiceEntry's status (allocated addresses), which changes it.
type Version struct {
	Kind, Namespace, Name string
	UID                   string // "" means that the object must be absent
	Generation            int64
	// Addressed says that istiod has written the addresses that it allocates into the object's status,
	// which is a change of its own and causes a push of its own.
	Addressed bool
}

// Holds says whether istiod's own copy of the configuration matches every version.
func (i *Istiod) Holds(ctx context.Context, want []Version) (bool, error) {
	have, err := i.config.ask(ctx)
	return err == nil && have.holds(want), err
}

// config is what istiod holds: the version of each object, by what it is called.
type config map[Version]Version

// object is a version's key.
func (v Version) object() Version { return Version{Kind: v.Kind, Namespace: v.Namespace, Name: v.Name} }

func parseConfig(configz []byte) (config, error) {
	var have []struct {
		Kind     string `json:"kind"`
		Metadata struct {
			Name       string `json:"name"`
			Namespace  string `json:"namespace"`
			UID        string `json:"uid"`
			Generation int64  `json:"generation"`
		} `json:"metadata"`
		Status struct {
			Addresses []any `json:"addresses"`
		} `json:"status"`
	}
	if err := json.Unmarshal(configz, &have); err != nil {
		return nil, fmt.Errorf("read istiod's configz: %w", err)
	}
	c := config{}
	for _, h := range have {
		v := Version{Kind: h.Kind, Namespace: h.Metadata.Namespace, Name: h.Metadata.Name, UID: h.Metadata.UID, Generation: h.Metadata.Generation, Addressed: len(h.Status.Addresses) > 0}
		c[v.object()] = v
	}
	return c, nil
}

func (c config) holds(want []Version) bool {
	for _, w := range want {
		got := c[w.object()]
		if got.UID != w.UID || (w.UID != "" && got.Generation < w.Generation) || w.Addressed && !got.Addressed {
			return false
		}
	}
	return true
}
