package harness

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/yaml"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/engine"
	"mesh-egress-conformance/framework/fixture"
	"mesh-egress-conformance/framework/mesh"
	"mesh-egress-conformance/framework/pods"
)

// clients is engine.Clients over real pods.
type clients struct{ pods *pods.Pods }

func (c clients) Exec(ctx context.Context, client, script string) (engine.Execution, error) {
	out, err := c.pods.Exec(ctx, client, script)
	return engine.Execution{ExitCode: out.ExitCode, Stdout: out.Stdout, Stderr: out.Stderr}, err
}

func (c clients) Describe(client string) (engine.ClientInfo, error) {
	p, err := c.pods.Get(client)
	if err != nil {
		return engine.ClientInfo{}, err
	}
	return engine.ClientInfo{IP: p.IP, Captured: p.Captured()}, nil
}

func (c clients) Identity(ctx context.Context, client string) (string, error) {
	return c.pods.Identity(ctx, client)
}

// rules is engine.Rules over the API server and istiod.
type rules struct {
	cs       kubernetes.Interface
	fixtures *fixture.Client
	files    fs.FS
	istiod   *mesh.Istiod
	pods     *pods.Pods
	run      string
	// policy maps the policy that a case wants to the one that is set; sabotage bends it.
	policy func(egress.Policy) egress.Policy

	mu      sync.Mutex
	applied map[string][]*fixture.Object
}

// load reads a case's fixtures and labels them as this run's.
func (r *rules) load(ctx context.Context, c egress.Case) ([]*fixture.Object, error) {
	var out []*fixture.Object
	for _, f := range c.Fixtures {
		objs, err := fixture.Load(ctx, r.files, f)
		if err != nil {
			return nil, fmt.Errorf("case %s: %w", c.Name, err)
		}
		for _, o := range objs {
			l := o.GetLabels()
			if l == nil {
				l = map[string]string{}
			}
			l[fixture.RunLabel] = r.run
			o.SetLabels(l)
		}
		out = append(out, objs...)
	}
	return out, nil
}

func (r *rules) Apply(ctx context.Context, c egress.Case) (engine.Change, error) {
	start := time.Now()
	objs, err := r.load(ctx, c)
	if err != nil {
		return engine.Change{}, err
	}
	ns, err := r.namespace(c)
	if err != nil {
		return engine.Change{}, err
	}
	var ch engine.Change
	for _, o := range objs {
		b, err := yaml.Marshal(o.Object)
		if err != nil {
			return ch, err
		}
		ch.Applied = append(ch.Applied, string(b))
	}
	made, err := r.fixtures.Apply(ctx, ns, objs...)
	r.mu.Lock()
	r.applied[c.Name] = made
	r.mu.Unlock()
	if err != nil {
		return ch, err
	}
	versions := make([]mesh.Version, len(made))
	for i, o := range made {
		versions[i] = mesh.Version{Kind: o.GetKind(), Namespace: o.GetNamespace(), Name: o.GetName(), UID: string(o.GetUID()), Generation: o.GetGeneration()}
	}
	return ch, r.settle(ctx, c, &ch, start, versions, c.Policy)
}

func (r *rules) Remove(ctx context.Context, c egress.Case) (engine.Change, error) {
	start := time.Now()
	r.mu.Lock()
	objs := r.applied[c.Name]
	r.mu.Unlock()
	var ch engine.Change
	if err := r.fixtures.Remove(ctx, objs...); err != nil {
		return ch, err
	}
	r.mu.Lock()
	delete(r.applied, c.Name)
	r.mu.Unlock()
	gone := make([]mesh.Version, len(objs))
	for i, o := range objs {
		gone[i] = mesh.Version{Kind: o.GetKind(), Namespace: o.GetNamespace(), Name: o.GetName()}
	}
	var back egress.Policy
	if c.Policy != "" {
		back = egress.RegistryOnly
	}
	return ch, r.settle(ctx, c, &ch, start, gone, back)
}

// settle sets the mesh's policy if the case asks for one, and waits until the proxies of the case's
// clients have everything.
func (r *rules) settle(ctx context.Context, c egress.Case, ch *engine.Change, start time.Time, versions []mesh.Version, policy egress.Policy) error {
	if policy != "" {
		policy = r.policy(policy)
		if err := r.istiod.Quiet(ctx); err != nil {
			return err
		}
		switch err := mesh.SetPolicy(ctx, r.cs, policy); {
		case errors.Is(err, mesh.ErrUnchanged):
			policy = ""
		case err != nil:
			return err
		}
	}
	ch.Acknowledged = true
	if len(versions) > 0 || policy != "" {
		s, err := r.istiod.Settle(ctx, r.proxies(c), func(ctx context.Context) (bool, error) {
			if policy != "" {
				if ok, err := r.istiod.HasPolicy(ctx, policy); !ok || err != nil {
					return false, err
				}
			}
			return r.istiod.Holds(ctx, versions)
		})
		if err != nil {
			return err
		}
		ch.Acknowledged, ch.Notes = s.Acknowledged, s.Rejections
		if s.Note != "" {
			ch.Notes = append(ch.Notes, s.Note)
		}
	}
	ch.Took = time.Since(start)
	return nil
}

// namespace is where a case's fixtures go that name none: that of its first client with a sidecar.
func (r *rules) namespace(c egress.Case) (string, error) {
	for _, n := range c.Clients() {
		p, err := r.pods.Get(n)
		if err != nil {
			return "", err
		}
		if p.Captured() {
			return p.Namespace, nil
		}
	}
	return "", fmt.Errorf("case %s has no client with a sidecar", c.Name)
}

func (r *rules) proxies(c egress.Case) []string {
	var out []string
	for _, n := range c.Clients() {
		if p, err := r.pods.Get(n); err == nil && p.Captured() {
			out = append(out, mesh.Proxy(p.PodName, p.Namespace))
		}
	}
	return out
}

// removeAll takes back whatever cases have left, in case a run was cut short.
func (r *rules) removeAll(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all error
	for name, objs := range r.applied {
		all = errors.Join(all, r.fixtures.Remove(ctx, objs...))
		delete(r.applied, name)
	}
	return all
}

// logs is engine.Mesh over followed access logs.
type logs struct {
	pods *pods.Pods
	cs   kubernetes.Interface

	mu      sync.Mutex
	follow  map[string]*mesh.AccessLog
	flushes int
}

// flushPatience bounds the wait for a proxy's log. Envoy flushes every second unless told otherwise.
const flushPatience = 5 * time.Second

func (l *logs) of(client string) (*mesh.AccessLog, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if a := l.follow[client]; a != nil {
		return a, nil
	}
	return nil, fmt.Errorf("the access log of %q is not followed", client)
}

// start follows the proxy of a client, or of a gateway pod.
func (l *logs) start(ctx context.Context, name, namespace, pod string) error {
	a, err := mesh.FollowAccessLog(ctx, l.cs, namespace, pod)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.follow[name] = a
	return nil
}

// Flush sends one request that the proxy surely logs and waits for its line: the log is written in
// order, so everything before it is there too.
func (l *logs) Flush(ctx context.Context, client string) error {
	a, err := l.of(client)
	if err != nil {
		return err
	}
	p, err := l.pods.Get(client)
	if err != nil {
		return err
	}
	if p.Container == "" {
		return l.flushServer(ctx, a, p)
	}
	path := "/ready?" + l.mark()
	if _, err := l.pods.Exec(ctx, client, "curl -s -o /dev/null -m 5 'http://istiod."+mesh.SystemNamespace+":15014"+path+"'"); err != nil {
		return err
	}
	_, err = a.Wait(ctx, egress.Patience(flushPatience), func(x egress.AccessLog) bool { return x.Path == path })
	return err
}

// mark is a string that no other request carries.
func (l *logs) mark() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flushes++
	return fmt.Sprintf("flush=%d-%d", time.Now().UnixNano(), l.flushes)
}

// flushServer does the same for a workload in which no command can be run: the control client calls
// a path of its own, and the line of the inbound request is waited for.
func (l *logs) flushServer(ctx context.Context, a *mesh.AccessLog, p *pods.Pod) error {
	path := "/healthz?" + l.mark()
	url := fmt.Sprintf("http://%s.%s:8080%s", p.Workload, p.Namespace, path)
	if _, err := l.pods.Exec(ctx, egress.ControlClient, "curl -s -o /dev/null -m 5 '"+url+"'"); err != nil {
		return err
	}
	_, err := a.Wait(ctx, egress.Patience(flushPatience), func(x egress.AccessLog) bool { return x.Path == path })
	return err
}

// Lines returns what a client's proxy has written; Flush makes that complete. A gateway cannot be
// flushed, and every connection through it leaves a line, so there it waits for one.
func (l *logs) Lines(ctx context.Context, client string, match func(egress.AccessLog) bool) ([]egress.AccessLog, error) {
	a, err := l.of(client)
	if err != nil {
		return nil, err
	}
	if client != engine.IngressGateway {
		return a.Lines(match), nil
	}
	found, err := a.Wait(ctx, egress.Patience(flushPatience), match)
	if errors.Is(err, mesh.ErrNoLine) {
		return nil, nil
	}
	return found, err
}

func (l *logs) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range l.follow {
		a.Close()
	}
}
