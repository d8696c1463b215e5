package harness

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/engine"
	"mesh-egress-conformance/framework/mesh"
	"mesh-egress-conformance/framework/pods"
	"mesh-egress-conformance/framework/probe"
)

// Sabotage breaks the world on purpose, to show that verdicts notice.
type Sabotage string

// NoSabotage leaves the world as it is.
const NoSabotage Sabotage = ""

// action is what a sabotage does: to the clients before they start, to the world once everything
// runs, or to what the engine hears of it. mend undoes what open did.
type action struct {
	clients func(egress.Client) egress.Client
	open    func(context.Context, *Session) error
	mend    func(context.Context, *Session) error
	wrap    func(*engine.Engine)
	// config wraps where the mesh configuration is kept.
	config func(mesh.ConfigStore) mesh.ConfigStore
	// outside says that it is the hermetic internet which is broken, or its log.
	outside bool
}

var actions = map[Sabotage]action{
	"allow-any": {
		config: func(s mesh.ConfigStore) mesh.ConfigStore { return allowsAny{s} },
		open:   func(ctx context.Context, s *Session) error { return s.changer.SetBase(ctx, nil, s.proxies()) },
	},
	"internet-down": {open: breakInternet("down"), mend: breakInternet("mend"), outside: true},
	"dns-dead":      {open: breakInternet("dns"), mend: breakInternet("mend"), outside: true},
	"wrong-ca":      {open: breakInternet("ca"), mend: breakInternet("mend"), outside: true},
	"not-injected": {clients: func(c egress.Client) egress.Client {
		c.Pretend = true
		return elsewhere(c)
	}},
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
	"fixture-not-applied":   {wrap: func(e *engine.Engine) { e.Rules = notApplied{e.Rules} }},
	"fixture-never-removed": {wrap: func(e *engine.Engine) { e.Rules = neverRemoved{e.Rules} }},
	"proxy-stale":           {wrap: func(e *engine.Engine) { e.Rules = stale{e.Rules} }},
	"exec-fails":            {wrap: func(e *engine.Engine) { e.Clients = &failing{Clients: e.Clients} }},
	"access-log-off":        {wrap: func(e *engine.Engine) { e.Mesh = noLog{e.Mesh} }},
	"arrival-log-lost":      {wrap: func(e *engine.Engine) { e.Outside = noArrivals{e.Outside} }, outside: true},
	"misled":                {wrap: func(e *engine.Engine) { e.Rules = withObjects{e.Rules, misleading} }},
	"stalled":               {wrap: func(e *engine.Engine) { e.Rules = withObjects{e.Rules, delaying} }},
	"unlogged-gateway":      {wrap: func(e *engine.Engine) { e.Rules = withObjects{e.Rules, silencing} }},
	"unknown-gateway":       {wrap: func(e *engine.Engine) { e.Mesh = noGateways{e.Mesh} }},
	"istiod-stopped":        {open: scaleIstiod(0), mend: scaleIstiod(1)},
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

// sabotage breaks the world of an open session.
func (s *Session) sabotage(ctx context.Context) error {
	a := actions[s.opts.Sabotage]
	if a.outside && s.Cluster.Internet() == nil {
		return fmt.Errorf("sabotage %s: the live internet is not ours to break", s.opts.Sabotage)
	}
	if a.wrap != nil {
		for _, w := range s.lanes {
			a.wrap(w.engine)
		}
	}
	if s.opts.Sabotage != NoSabotage {
		s.opts.logf("SABOTAGE: %s", s.opts.Sabotage)
	}
	if a.open != nil {
		return a.open(ctx, s)
	}
	return nil
}

// mend undoes it, on a cluster that lives on.
func (s *Session) mend(ctx context.Context) error {
	if a := actions[s.opts.Sabotage]; a.mend != nil && (!a.outside || s.Cluster.Internet() != nil) {
		return a.mend(ctx, s)
	}
	return nil
}

func breakInternet(what string) func(context.Context, *Session) error {
	return func(ctx context.Context, s *Session) error { return s.Cluster.Internet().Break(ctx, what) }
}

func scaleIstiod(replicas int) func(context.Context, *Session) error {
	return func(ctx context.Context, s *Session) error {
		patch := fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, replicas)
		if _, err := s.cs.AppsV1().Deployments(mesh.SystemNamespace).Patch(ctx, "istiod", types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
			return fmt.Errorf("scale istiod to %d: %w", replicas, err)
		}
		if replicas > 0 {
			_, err := pods.WaitPodReady(ctx, s.cs, mesh.SystemNamespace, "app=istiod", s.opts.Limits.Pods.Ready)
			return err
		}
		zero := int64(0)
		return s.cs.CoreV1().Pods(mesh.SystemNamespace).DeleteCollection(ctx, metav1.DeleteOptions{GracePeriodSeconds: &zero}, metav1.ListOptions{LabelSelector: "app=istiod"})
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

// stale hides the objects from every proxy: istiod has them, nobody gets them.
type stale struct{ engine.Rules }

func (r stale) Apply(ctx context.Context, c egress.Case) (engine.Change, error) {
	if inner, ok := r.Rules.(*rules); ok {
		inner.hide = true
	}
	return r.Rules.Apply(ctx, c)
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

func istio(kind, name, namespace string, spec egress.Object) egress.Object {
	version := "networking.istio.io/v1"
	if kind == "Telemetry" {
		version = "telemetry.istio.io/v1"
	}
	meta := egress.Object{"name": name}
	if namespace != "" {
		meta["namespace"] = namespace
	}
	return egress.Object{"apiVersion": version, "kind": kind, "metadata": meta, "spec": spec}
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
		istio("ServiceEntry", "sabotage-aside", "", egress.Object{"hosts": []any{aside}, "resolution": "DNS", "ports": []any{port}, "exportTo": concerned(c)}),
		istio("VirtualService", "sabotage-misled", "", egress.Object{"hosts": []any{host}, "exportTo": concerned(c), "tls": []any{egress.Object{
			"match": []any{egress.Object{"port": 443, "sniHosts": []any{host}}},
			"route": []any{egress.Object{"destination": egress.Object{"host": aside, "port": egress.Object{"number": 443}}}},
		}}}),
	}
}

// delaying holds what a case sends to its first host over HTTP for longer than anybody waits.
func delaying(c egress.Case) []egress.Object {
	host := c.Probes[0].Destination()
	return []egress.Object{istio("VirtualService", "sabotage-stalled", "", egress.Object{"hosts": []any{host}, "exportTo": concerned(c), "http": []any{egress.Object{
		"fault": egress.Object{"delay": egress.Object{"fixedDelay": "600s", "percentage": egress.Object{"value": 100}}},
		"route": []any{egress.Object{"destination": egress.Object{"host": host}}},
	}}})}
}

// silencing takes the access log away from the egress gateway.
func silencing(egress.Case) []egress.Object {
	return []egress.Object{istio("Telemetry", "sabotage-silent", mesh.SystemNamespace, egress.Object{
		"selector":      egress.Object{"matchLabels": egress.Object{"app": mesh.EgressGateway}},
		"accessLogging": []any{egress.Object{"disabled": true}},
	})}
}

// noGateways knows of no gateway.
type noGateways struct{ engine.Mesh }

func (noGateways) Gateways(context.Context) ([]engine.Gateway, error) { return nil, nil }

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

func (noLog) Lines(context.Context, string, int, func(egress.AccessLog) bool) ([]egress.AccessLog, error) {
	return nil, nil
}

type noArrivals struct{ engine.Outside }

func (o noArrivals) Arrivals(ctx context.Context, since int64) ([]egress.Arrival, int64, error) {
	_, next, err := o.Outside.Arrivals(ctx, since)
	return nil, next, err
}
