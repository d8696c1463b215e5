package harness

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync/atomic"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"mesh-egress-conformance/framework/cluster"
	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/engine"
	"mesh-egress-conformance/framework/fixture"
	"mesh-egress-conformance/framework/internet"
	"mesh-egress-conformance/framework/limits"
	"mesh-egress-conformance/framework/mesh"
	"mesh-egress-conformance/framework/pods"
	"mesh-egress-conformance/framework/probe"
)

// Sabotage breaks the world on purpose, to show that verdicts notice.
type Sabotage string

// NoSabotage leaves the world as it is.
const NoSabotage Sabotage = ""

// action is what a sabotage does: to the clients before they start, to the world once everything
// runs, or to what the engine hears of it. mend undoes what begin did.
type action struct {
	clients func(egress.Client) egress.Client
	begin   func(context.Context, target) error
	mend    func(context.Context, target) error
	wrap    func(*engine.Engine, target)
	// config wraps where the mesh configuration is kept.
	config func(mesh.ConfigStore) mesh.ConfigStore
	// enforcement takes the place of what enforces NetworkPolicies.
	enforcement enforcement
	// internet says that it is the hermetic internet which is broken, or its log.
	internet bool
}

// target is what a sabotage breaks.
type target struct {
	internet cluster.Internet // nil for the live one
	cs       kubernetes.Interface
	// rewrite sets the mesh configuration anew, see action.config.
	rewrite func(context.Context) error
	engines []*engine.Engine
	files   fs.FS       // fixtures of cases
	pods    limits.Pods // how long a pod may take to become ready
}

var actions = map[Sabotage]action{
	"allow-any": {
		config: func(s mesh.ConfigStore) mesh.ConfigStore { return allowsAny{s} },
		begin:  func(ctx context.Context, t target) error { return t.rewrite(ctx) },
	},
	"internet-down":       {begin: breakInternet("down"), mend: breakInternet("mend"), internet: true},
	"dns-dead":            {begin: breakInternet("dns"), mend: breakInternet("mend"), internet: true},
	"wrong-ca":            {begin: breakInternet("ca"), mend: breakInternet("mend"), internet: true},
	"policy-not-enforced": {enforcement: idle{}},
	"not-injected": {clients: func(c egress.Client) egress.Client {
		c.Injection = egress.NoInjection
		return elsewhere(c)
	}, wrap: func(e *engine.Engine, _ target) { e.Clients = believed{e.Clients} }},
	"capture-flushed": {clients: func(c egress.Client) egress.Client {
		c.Annotations = maps.Clone(c.Annotations)
		if c.Annotations == nil {
			c.Annotations = map[string]string{}
		}
		c.Annotations["traffic.sidecar.istio.io/excludeOutboundIPRanges"] = "0.0.0.0/0"
		return elsewhere(c)
	}},
	"uid-1337": {clients: func(c egress.Client) egress.Client {
		c.User = 1337
		return elsewhere(c)
	}},
	"fixture-not-applied":   {wrap: func(e *engine.Engine, _ target) { e.Rules = notApplied{e.Rules} }},
	"fixture-never-removed": {wrap: func(e *engine.Engine, _ target) { e.Rules = neverRemoved{e.Rules} }},
	"proxy-stale":           {wrap: func(e *engine.Engine, t target) { e.Rules = stale{e.Rules, t.files} }},
	"exec-fails":            {wrap: func(e *engine.Engine, _ target) { e.Clients = &failing{Clients: e.Clients} }},
	"access-log-off":        {wrap: func(e *engine.Engine, _ target) { e.Mesh = noLog{e.Mesh} }},
	"arrival-log-lost":      {wrap: func(e *engine.Engine, _ target) { e.Internet = noArrivals{e.Internet} }, internet: true},
	"misled":                {wrap: func(e *engine.Engine, _ target) { e.Rules = withObjects{e.Rules, misleading} }},
	"double-tls":            {wrap: func(e *engine.Engine, _ target) { e.Rules = withObjects{e.Rules, doubling} }},
	"stalled":               {wrap: func(e *engine.Engine, _ target) { e.Rules = withObjects{e.Rules, delaying} }},
	"unlogged-gateway":      {wrap: func(e *engine.Engine, _ target) { e.Mesh = silentGateways{e.Mesh} }},
	"unknown-gateway":       {wrap: func(e *engine.Engine, _ target) { e.Mesh = noGateways{e.Mesh} }},
	"istiod-stopped":        {begin: scaleIstiod(0), mend: scaleIstiod(1)},
	"random":                {wrap: func(e *engine.Engine, _ target) { e.Rules = otherwise{e.Rules, landAtRandom} }, internet: true},
	"cut":                   {wrap: func(e *engine.Engine, _ target) { e.Rules = withObjects{e.Rules, cutSoon} }},
}

// ParseSabotage reads a --sabotage flag.
func ParseSabotage(s string) (Sabotage, error) {
	v := Sabotage(s)
	if _, ok := actions[v]; ok || v == NoSabotage {
		return v, nil
	}
	known := make([]string, 0, len(actions))
	for k := range actions {
		known = append(known, string(k))
	}
	slices.Sort(known)
	return "", fmt.Errorf("sabotage %q is unknown: use one of %s", s, strings.Join(known, ", "))
}

// elsewhere gives a spoiled client a namespace of its own, so that no sound pod is taken for it.
func elsewhere(c egress.Client) egress.Client {
	c.Namespace += "-spoiled"
	return c
}

// enforcement is what enforces NetworkPolicies.
func (name Sabotage) enforcement(sound enforcement) enforcement {
	if e := actions[name].enforcement; e != nil {
		return e
	}
	return sound
}

// begin breaks the world of an open session.
func (name Sabotage) begin(ctx context.Context, t target) error {
	a := actions[name]
	if a.internet && t.internet == nil {
		return fmt.Errorf("sabotage %s: the live internet is not ours to break", name)
	}
	if a.wrap != nil {
		for _, e := range t.engines {
			a.wrap(e, t)
		}
	}
	if a.begin != nil {
		return a.begin(ctx, t)
	}
	return nil
}

// mend undoes it, on a cluster that lives on.
func (name Sabotage) mend(ctx context.Context, t target) error {
	if a := actions[name]; a.mend != nil && (!a.internet || t.internet != nil) {
		return a.mend(ctx, t)
	}
	return nil
}

// target is what a sabotage of this session breaks, with the engines of its lanes.
func (s *istiods) target(engines ...*engine.Engine) target {
	return target{internet: s.env.internet, cs: s.conn.cs, files: s.opts.Fixtures, pods: s.opts.Limits.Pods, engines: engines, rewrite: func(ctx context.Context) error { return s.setBase(ctx, nil) }}
}

func breakInternet(what string) func(context.Context, target) error {
	return func(ctx context.Context, t target) error { return t.internet.Break(ctx, what) }
}

func scaleIstiod(replicas int) func(context.Context, target) error {
	return func(ctx context.Context, t target) error {
		patch := fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, replicas)
		if _, err := t.cs.AppsV1().Deployments(mesh.SystemNamespace).Patch(ctx, "istiod", types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
			return fmt.Errorf("scale istiod to %d: %w", replicas, err)
		}
		if replicas > 0 {
			_, err := pods.WaitPodReady(ctx, t.cs, mesh.SystemNamespace, "app=istiod", t.pods)
			return err
		}
		zero := int64(0)
		return t.cs.CoreV1().Pods(mesh.SystemNamespace).DeleteCollection(ctx, metav1.DeleteOptions{GracePeriodSeconds: &zero}, metav1.ListOptions{LabelSelector: "app=istiod"})
	}
}

// allowsAny keeps every mesh configuration with another outbound policy.
type allowsAny struct{ mesh.ConfigStore }

func (a allowsAny) Write(ctx context.Context, c mesh.Config) (bool, error) {
	return a.ConfigStore.Write(ctx, mesh.Merge(c, mesh.Config{"outboundTrafficPolicy": mesh.Config{"mode": string(egress.AllowAny)}}))
}

type notApplied struct{ engine.Rules }

func (notApplied) Apply(context.Context, egress.Case) (engine.Change, error) {
	return engine.Change{Acknowledged: true}, nil
}

type neverRemoved struct{ engine.Rules }

func (neverRemoved) Remove(context.Context, egress.Case) (engine.Change, error) {
	return engine.Change{Acknowledged: true}, nil
}

// stale hides the objects from every proxy: istiod has them, nobody gets them, because they are exported to nobody.
type stale struct {
	engine.Rules
	files fs.FS // with the fixtures of cases
}

// hidden are the kinds that say which namespaces they are for.
var hidden = []string{"ServiceEntry", "VirtualService", "DestinationRule"}

func (r stale) Apply(ctx context.Context, c egress.Case) (engine.Change, error) {
	var objs []egress.Object
	for _, f := range c.Fixtures {
		of, err := fixture.Load(ctx, r.files, f)
		if err != nil {
			return engine.Change{}, fmt.Errorf("case %s: %w", c.Name, err)
		}
		for _, o := range of {
			objs = append(objs, o.Object)
		}
	}
	objs = append(objs, c.Objects...)
	c.Fixtures, c.Objects = nil, nil
	for _, o := range objs {
		kind, _ := o["kind"].(string)
		if spec, ok := o["spec"].(map[string]any); ok && slices.Contains(hidden, kind) {
			o, spec = maps.Clone(o), maps.Clone(spec)
			spec["exportTo"] = []any{"~"}
			o["spec"] = spec
		}
		c.Objects = append(c.Objects, o)
	}
	return r.Rules.Apply(ctx, c)
}

// otherwise applies other objects than a case has.
type otherwise struct {
	engine.Rules
	change func([]egress.Object) ([]egress.Object, error)
}

func (r otherwise) Apply(ctx context.Context, c egress.Case) (engine.Change, error) {
	objects, err := r.change(c.Objects)
	if err != nil {
		return engine.Change{}, fmt.Errorf("sabotage the objects of case %s: %w", c.Name, err)
	}
	c.Objects = objects
	return r.Rules.Apply(ctx, c)
}

// landAtRandom gives each STATIC ServiceEntry one more endpoint, which is a host that nobody has registered.
func landAtRandom(objects []egress.Object) ([]egress.Object, error) {
	hosts, err := internet.DefaultHosts()
	if err != nil {
		return nil, err
	}
	evil, ok := hosts.Find(aside)
	if !ok {
		return nil, errors.New("the internet has no host " + aside)
	}
	var out []egress.Object
	for _, o := range objects {
		u := (&unstructured.Unstructured{Object: o}).DeepCopy()
		endpoints, found, err := unstructured.NestedSlice(u.Object, "spec", "endpoints")
		if err != nil {
			return nil, err
		}
		if found && u.GetKind() == "ServiceEntry" {
			endpoints = append(endpoints, map[string]any{"address": evil.Address[0].Addr().String()})
			if err := unstructured.SetNestedSlice(u.Object, endpoints, "spec", "endpoints"); err != nil {
				return nil, err
			}
		}
		out = append(out, u.Object)
	}
	return out, nil
}

// cutSoon lets the sidecar cut connections to the hosts of all ServiceEntries when they have been idle for a moment.
func cutSoon(c egress.Case) []egress.Object {
	var out []egress.Object
	for _, o := range c.Objects {
		u := &unstructured.Unstructured{Object: o}
		hosts, _, err := unstructured.NestedStringSlice(o, "spec", "hosts")
		if err != nil || u.GetKind() != "ServiceEntry" {
			continue // what has no hosts has no connections
		}
		for i, h := range hosts {
			out = append(out, istio("DestinationRule", fmt.Sprintf("cut-%s-%d", u.GetName(), i), egress.Object{
				"host": h, "trafficPolicy": egress.Object{"connectionPool": egress.Object{"tcp": egress.Object{"idleTimeout": "0.5s"}}},
			}))
		}
	}
	return out
}

// withObjects lets every case apply further objects, which it does not know of.
type withObjects struct {
	engine.Rules
	more func(egress.Case) []egress.Object
}

func (r withObjects) Apply(ctx context.Context, c egress.Case) (engine.Change, error) {
	c.Objects = append(slices.Clone(c.Objects), r.more(c)...)
	return r.Rules.Apply(ctx, c)
}

// aside is a host to which no case of the self-test wants to go.
const aside = "evil.example"

func istio(kind, name string, spec egress.Object) egress.Object {
	return egress.Object{"apiVersion": "networking.istio.io/v1", "kind": kind, "metadata": egress.Object{"name": name}, "spec": spec}
}

// concerned are the namespaces that a further object is for, so that it spoils its own case and no other.
func concerned(c egress.Case) []any {
	if c.Gateway() {
		return []any{".", mesh.SystemNamespace}
	}
	return []any{"."}
}

// misleading leads what a case sends to its first host over TLS to another one.
func misleading(c egress.Case) []egress.Object {
	host := c.Probes[0].Destination()
	port := egress.Object{"number": 443, "name": "tls", "protocol": "TLS"}
	return []egress.Object{
		istio("ServiceEntry", "sabotage-aside", egress.Object{"hosts": []any{aside}, "resolution": "DNS", "ports": []any{port}, "exportTo": concerned(c)}),
		istio("VirtualService", "sabotage-misled", egress.Object{"hosts": []any{host}, "exportTo": concerned(c), "tls": []any{egress.Object{
			"match": []any{egress.Object{"port": 443, "sniHosts": []any{host}}},
			"route": []any{egress.Object{"destination": egress.Object{"host": aside, "port": egress.Object{"number": 443}}}},
		}}}),
	}
}

// doubling makes TLS of what a case sends to its first host, which is TLS already.
func doubling(c egress.Case) []egress.Object {
	return []egress.Object{istio("DestinationRule", "sabotage-double-tls", egress.Object{"host": c.Probes[0].Destination(), "exportTo": concerned(c), "trafficPolicy": egress.Object{
		"tls": egress.Object{"mode": "SIMPLE"},
	}})}
}

// delaying holds what a case sends to its first host over HTTP for longer than anybody waits.
func delaying(c egress.Case) []egress.Object {
	host := c.Probes[0].Destination()
	return []egress.Object{istio("VirtualService", "sabotage-stalled", egress.Object{"hosts": []any{host}, "exportTo": concerned(c), "http": []any{egress.Object{
		"fault": egress.Object{"delay": egress.Object{"fixedDelay": "600s", "percentage": egress.Object{"value": 100}}},
		"route": []any{egress.Object{"destination": egress.Object{"host": host}}},
	}}})}
}

// silentGateways are gateways that write no access log.
type silentGateways struct{ engine.Mesh }

func (m silentGateways) Lines(ctx context.Context, proxy string, mark int, q egress.Lines) ([]egress.AccessLog, error) {
	all, err := m.Gateways(ctx)
	if err != nil || slices.ContainsFunc(all, func(g engine.Gateway) bool { return g.Name == proxy }) {
		return nil, err
	}
	return m.Mesh.Lines(ctx, proxy, mark, q)
}

// noGateways knows of no gateway.
type noGateways struct{ engine.Mesh }

func (noGateways) Gateways(context.Context) ([]engine.Gateway, error) { return nil, nil }

// believed takes every client but the control client for one with a sidecar.
type believed struct{ engine.Clients }

func (b believed) Describe(client string) (engine.ClientInfo, error) {
	info, err := b.Clients.Describe(client)
	info.Captured = info.Captured || client != egress.ControlClient
	return info, err
}

var errExec = errors.New("the command was cut off half-way (sabotage)")

type failing struct {
	engine.Clients
	n atomic.Int64
}

func (f *failing) Do(ctx context.Context, client string, q probe.Request) (engine.Execution, error) {
	out, err := f.Clients.Do(ctx, client, q)
	if f.n.Add(1)%3 == 0 {
		return engine.Execution{}, errExec
	}
	return out, err
}

type noLog struct{ engine.Mesh }

func (noLog) Lines(context.Context, string, int, egress.Lines) ([]egress.AccessLog, error) {
	return nil, nil
}

type noArrivals struct{ engine.Internet }

func (o noArrivals) Arrivals(ctx context.Context, since int64) ([]egress.Arrival, int64, error) {
	_, next, err := o.Internet.Arrivals(ctx, since)
	return nil, next, err
}
