package mesh

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/limits"
)

// Gateway is a pod whose proxy is a router: its own arguments say so, whatever the pod, its Service or its labels are
// called, and whoever has made it.
type Gateway struct {
	Namespace, Pod string
	// Log is the name under which AccessLogs has its access log; "" until that is followed.
	Log string
	// Addresses of the pod, without port.
	Addresses []string
	Labels    map[string]string
	// Revision is the istiod that has injected the pod's proxy, and serves it, as the pod says; "" where it does not.
	Revision string
	// Ready says that the pod takes traffic: its Envoy has its configuration.
	Ready bool
	// Gone says that the pod is being deleted, or has been.
	Gone bool
}

// Gateways knows all gateways of a cluster and follows the access log of each from when its proxy runs.
type Gateways struct {
	limits limits.Limits
	logs   *AccessLogs
	keep   func(namespace string) bool
	ctx    context.Context // of the following
	stop   context.CancelFunc

	mu      sync.Mutex
	old     bool // what is found now was there before
	known   []*gateway
	changed chan struct{} // closed and replaced when a gateway changes
}

// gateway is one life of a gateway's proxy.
type gateway struct {
	Gateway
	uid       types.UID
	container string // the id of the proxy's container; "" until it runs
	old       bool   // it ran before it was found, so the earlier part of its log does not matter
}

// FollowGateways looks for gateways until Close is called. keep says of a namespace whether its gateways matter; nil
// means that all do. Those that run already are known when it returns.
func FollowGateways(ctx context.Context, cs kubernetes.Interface, logs *AccessLogs, keep func(namespace string) bool, l limits.Limits) (*Gateways, error) {
	life, stop := context.WithCancel(context.WithoutCancel(ctx))
	g := &Gateways{limits: l, logs: logs, keep: keep, ctx: life, stop: stop, old: true, changed: make(chan struct{})}
	factory := informers.NewSharedInformerFactoryWithOptions(cs, 0, informers.WithTransform(essential))
	pods := factory.Core().V1().Pods().Informer()
	handler, err := pods.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { g.seen(o, false) },
		UpdateFunc: func(_, o any) { g.seen(o, false) },
		DeleteFunc: func(o any) {
			if last, ok := o.(cache.DeletedFinalStateUnknown); ok {
				o = last.Obj
			}
			g.seen(o, true)
		},
	})
	if err != nil {
		stop()
		return nil, fmt.Errorf("look for gateways: %w", err)
	}
	factory.Start(life.Done())
	ctx, cancel := context.WithTimeout(ctx, l.Cluster.APIServer)
	defer cancel()
	if !cache.WaitForCacheSync(ctx.Done(), handler.HasSynced) {
		stop()
		return nil, fmt.Errorf("look for gateways: the pods of the cluster were not listed within %s", l.Cluster.APIServer)
	}
	g.mu.Lock()
	g.old = false
	g.mu.Unlock()
	return g, nil
}

// essential forgets of a pod all that does not matter here; clusters may have many.
func essential(o any) (any, error) {
	p, ok := o.(*corev1.Pod)
	if !ok {
		return o, nil
	}
	out := &corev1.Pod{ObjectMeta: p.ObjectMeta}
	out.ManagedFields, out.Annotations = nil, nil
	if router(p) {
		out.Annotations = map[string]string{egress.RevisionLabel: p.Annotations[egress.RevisionLabel]}
		out.Spec.Containers, out.Status = p.Spec.Containers, p.Status
	}
	return out, nil
}

// router says whether a pod's proxy is one, as its arguments say ("proxy router", istio.io, pilot-agent).
func router(p *corev1.Pod) bool {
	return slices.ContainsFunc(p.Spec.Containers, func(c corev1.Container) bool { return routerArgs(c.Args) })
}

func routerArgs(args []string) bool {
	i := slices.Index(args, "proxy")
	return i >= 0 && i+1 < len(args) && args[i+1] == "router"
}

// seen notes the state of a pod.
func (g *Gateways) seen(o any, deleted bool) {
	p, ok := o.(*corev1.Pod)
	if !ok || !router(p) || g.keep != nil && !g.keep(p.Namespace) {
		return
	}
	id := running(p)
	g.mu.Lock()
	defer g.mu.Unlock()
	i := slices.IndexFunc(g.known, func(x *gateway) bool { return x.uid == p.UID && (x.container == id || x.container == "" || id == "") })
	if i < 0 {
		i = len(g.known)
		g.known = append(g.known, &gateway{Gateway: Gateway{Namespace: p.Namespace, Pod: p.Name}, uid: p.UID, old: g.old && id != ""})
	}
	x := g.known[i]
	x.Labels, x.Revision, x.Gone = p.Labels, servedBy(p), deleted || p.DeletionTimestamp != nil
	if addrs := addresses(p); len(addrs) > 0 {
		x.Addresses = addrs
	}
	x.Ready = !x.Gone && id != "" && slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
	if id != "" && x.container == "" {
		x.container = id
		go g.follow(x, g.name(x))
	}
	g.tell()
}

// servedBy is the revision whose istiod serves a gateway. The one that has injected it notes itself in an annotation, also in the
// pods that it makes for a Gateway (istio.io/istio, gateway-injection-template.yaml and kube-gateway.yaml); a label is what
// somebody has asked for, which may be a tag, and all that a pod has that was not injected.
func servedBy(p *corev1.Pod) string {
	return cmp.Or(p.Annotations[egress.RevisionLabel], p.Labels[egress.RevisionLabel])
}

// running is the id of the proxy's container; "" while it does not run.
func running(p *corev1.Pod) string {
	for _, s := range p.Status.ContainerStatuses {
		if s.Name == ProxyContainer && s.State.Running != nil {
			return s.ContainerID
		}
	}
	return ""
}

func addresses(p *corev1.Pod) []string {
	var out []string
	for _, ip := range p.Status.PodIPs {
		out = append(out, ip.IP)
	}
	return out
}

// name is the one of a gateway's log. A proxy that was started again has a new one.
func (g *Gateways) name(x *gateway) string {
	name, lives := x.Namespace+"/"+x.Pod, 0
	for _, k := range g.known {
		if k.uid == x.uid {
			lives++
		}
	}
	if lives > 1 {
		name += fmt.Sprintf(" (start %d)", lives)
	}
	return name
}

// followPause is the pause between two attempts to follow a log.
const followPause = 100 * time.Millisecond

// follow begins to follow a gateway's log. What the kubelet refuses at first, because the container has only just begun
// to run, is tried again while the pod is there.
func (g *Gateways) follow(x *gateway, name string) {
	// The errors are those of a pod that goes; whoever waits for its log hears that there is none.
	_ = poll(g.ctx, followPause, limits.Patience{Time: g.limits.Pods.Ready}, func(ctx context.Context) (bool, error) {
		g.mu.Lock()
		gone := x.Gone
		g.mu.Unlock()
		err := g.logs.Start(ctx, name, LogSource{Namespace: x.Namespace, Pod: x.Pod, Gateway: true, Whole: !x.old})
		return err == nil || gone, nil
	})
	g.mu.Lock()
	defer g.mu.Unlock()
	x.Log = name
	g.tell()
}

// tell wakes those who wait for a gateway.
func (g *Gateways) tell() {
	close(g.changed)
	g.changed = make(chan struct{})
}

// All are the gateways whose logs are followed, or were until they ended; the youngest is the last.
func (g *Gateways) All() []Gateway {
	all, _ := g.now()
	return slices.DeleteFunc(all, func(x Gateway) bool { return x.Log == "" })
}

// now are all gateways, and a channel that is closed when one changes.
func (g *Gateways) now() ([]Gateway, <-chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	var out []Gateway
	for _, x := range g.known {
		out = append(out, x.Gateway)
	}
	return out, g.changed
}

// Proxies names the proxies of the gateways in a namespace with certain labels that have not gone, as istiod does.
func (g *Gateways) Proxies(namespace string, labels map[string]string) []string {
	all, _ := g.now()
	var out []string
	for _, x := range all {
		if x.Log != "" && !x.Gone && x.is(namespace, labels) {
			out = append(out, Proxy(x.Pod, x.Namespace))
		}
	}
	return out
}

// revision is the one of a proxy, named as by Proxy; "" where that is of no gateway, or is not known.
func (g *Gateways) revision(proxy string) string {
	all, _ := g.now()
	out := ""
	for _, x := range all { // a later life of the proxy is the one that matters
		if Proxy(x.Pod, x.Namespace) == proxy {
			out = x.Revision
		}
	}
	return out
}

// is says whether a gateway is in a namespace and has labels.
func (g Gateway) is(namespace string, labels map[string]string) bool {
	for k, v := range labels {
		if g.Labels[k] != v {
			return false
		}
	}
	return g.Namespace == namespace && len(labels) > 0
}

// Await waits until so many gateways with certain labels are ready and their logs are followed.
func (g *Gateways) Await(ctx context.Context, namespace string, labels map[string]string, n int) error {
	for {
		all, changed := g.now()
		var ready int
		var states []string
		for _, x := range all {
			switch {
			case x.Gone || !x.is(namespace, labels):
			case x.Ready && x.Log != "":
				ready++
			default:
				states = append(states, fmt.Sprintf("%s: ready %t, log followed %t", x.Pod, x.Ready, x.Log != ""))
			}
		}
		if ready >= n {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			text := "no pod of it has a router proxy"
			if len(states) > 0 {
				text = strings.Join(states, ", ")
			}
			return fmt.Errorf("wait for %d pods in namespace %s with labels %s: %d are ready; %s: %w", n, namespace, selector(labels), ready, text, ctx.Err())
		}
	}
}

func selector(labels map[string]string) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		out = append(out, k+"="+labels[k])
	}
	return strings.Join(out, ",")
}

// Close stops following.
func (g *Gateways) Close() { g.stop() }
