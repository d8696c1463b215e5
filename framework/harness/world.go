package harness

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"k8s.io/client-go/kubernetes"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/engine"
	"mesh-egress-conformance/framework/mesh"
	"mesh-egress-conformance/framework/pods"
	"mesh-egress-conformance/framework/probe"
)

// lane is a set of client pods of its own, in a namespace of its own, in which one case runs at a
// time. Every object of a case is visible in its lane alone, so lanes do not disturb each other.
// Lane 0 is the clients as the cases name them.
type lane int

// laneClients are the clients that every lane has; the others exist once and are used in turn.
var laneClients = []string{"client"}

// neighbour is another workload in the namespace of lane 0's client. So few cases need one that they run
// in lane 0 alone.
const neighbour = "client2"

// actual is the name of the pod that a case's client name stands for.
func (l lane) actual(name string) string {
	for _, n := range laneClients {
		if l > 0 && n == name {
			return fmt.Sprintf("%s-lane%d", name, l)
		}
	}
	return name
}

// inLane describes a lane's copy of a client.
func (l lane) client(c egress.Client) egress.Client {
	if name := l.actual(c.Name); name != c.Name {
		c.Name, c.Namespace, c.Service = name, fmt.Sprintf("%s-lane%d", c.Namespace, l), false
	}
	return c
}

// clients is engine.Clients over real pods, as one lane sees them.
type clients struct {
	pods *pods.Pods
	lane lane
	// gateway names the proxy of a gateway; "" while it does not run.
	gateway func(egress.Feature) string
}

func (c clients) get(name string) (*pods.Pod, error) { return c.pods.Get(c.lane.actual(name)) }

func (c clients) Do(ctx context.Context, client string, q probe.Request) (engine.Execution, error) {
	out, err := c.pods.Do(ctx, c.lane.actual(client), q)
	return engine.Execution{ExitCode: out.ExitCode, Stdout: out.Stdout, Stderr: out.Stderr, Began: out.Began, Ended: out.Ended}, err
}

func (c clients) Describe(client string) (engine.ClientInfo, error) {
	p, err := c.get(client)
	if err != nil {
		return engine.ClientInfo{}, err
	}
	return engine.ClientInfo{IP: p.IP, Captured: p.Captured() && !p.Escapes}, nil
}

func (c clients) Identity(ctx context.Context, client string) (string, error) {
	return c.pods.Identity(ctx, c.lane.actual(client))
}

// namespace is where a case's objects go that name none: that of its first client with a sidecar.
func (c clients) namespace(k egress.Case) (string, error) {
	for _, n := range k.Clients() {
		p, err := c.get(n)
		if err != nil {
			return "", err
		}
		if p.Captured() {
			return p.Namespace, nil
		}
	}
	return "", fmt.Errorf("case %s has no client with a sidecar", k.Name)
}

// proxies names the proxies whose acknowledgement a case waits for.
func (c clients) proxies(k egress.Case) []string {
	var out []string
	for _, n := range k.Clients() {
		if p, err := c.get(n); err == nil && p.Captured() {
			out = append(out, mesh.Proxy(p.PodName, p.Namespace))
		}
	}
	for _, f := range k.Needs {
		if g := c.gateway(f); g != "" {
			out = append(out, g)
		}
	}
	return out
}

// logs is engine.Mesh over followed access logs.
type logs struct {
	pods *pods.Pods
	cs   kubernetes.Interface

	mu      sync.Mutex
	follow  map[string]*mesh.AccessLog
	flushes int
}

// laneLogs is engine.Mesh as one lane sees it.
type laneLogs struct {
	*logs
	lane lane
}

func (l laneLogs) Flush(ctx context.Context, client string) error {
	return l.logs.Flush(ctx, l.lane.actual(client))
}

func (l laneLogs) Mark(client string) int { return l.logs.Mark(l.lane.actual(client)) }

func (l laneLogs) Lines(ctx context.Context, client string, mark int, match func(egress.AccessLog) bool) ([]egress.AccessLog, error) {
	return l.logs.Lines(ctx, l.lane.actual(client), mark, match)
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

// attached waits until a followed log really follows: the kubelet answers before it has found the end
// of the file, and what is written in between is lost. A client that cannot make its proxy write
// anything is not waited for long: its cases will say so.
func (l *logs) attached(ctx context.Context, name string) error {
	a, err := l.of(name)
	if err != nil {
		return err
	}
	for range 10 {
		path := "/ready?" + l.mark()
		if _, err := l.get(ctx, name, istiodURL+path); err != nil {
			return err
		}
		_, err := a.Wait(ctx, egress.Patience(300*time.Millisecond), 0, func(x egress.AccessLog) bool { return x.Path == path })
		if !errors.Is(err, mesh.ErrNoLine) {
			return err
		}
	}
	return nil
}

// istiodURL is what every client's proxy knows whatever else it is allowed to see.
const istiodURL = "http://istiod." + mesh.SystemNamespace + ":15014"

// get makes a request for the harness itself. It returns the client's port, 0 where there was no connection.
func (l *logs) get(ctx context.Context, client, url string) (port int, err error) {
	p, err := l.pods.Get(client)
	if err != nil {
		return 0, err
	}
	out, err := l.pods.Do(ctx, client, probe.Request{Spec: &probe.Spec{URL: url, Ports: engine.TakePorts(p.IP), Timeout: 5000}})
	if err != nil {
		return 0, err
	}
	var r probe.Report
	if err := json.Unmarshal([]byte(out.Stdout), &r); err != nil {
		return 0, fmt.Errorf("read the probe agent's report: %w", err)
	}
	return r.LocalPort, nil
}

// Flush sends one request that the proxy surely logs and waits for its line: the log is written in
// order, so everything before it is there too. The line is known by its path, or by its connection where a
// rule of the next case has made it something else than a request.
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
	path, before := "/ready?"+l.mark(), a.Len()
	port, err := l.get(ctx, client, istiodURL+path)
	if err != nil {
		return err
	}
	local := fmt.Sprintf("%s:%d", p.IP, port)
	_, err = a.Wait(ctx, egress.Patience(flushPatience), before, func(x egress.AccessLog) bool { return x.Path == path || x.DownstreamRemote == local })
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
	if _, err := l.get(ctx, egress.ControlClient, fmt.Sprintf("http://%s.%s:8080%s", p.Workload, p.Namespace, path)); err != nil {
		return err
	}
	_, err := a.Wait(ctx, egress.Patience(flushPatience), 0, func(x egress.AccessLog) bool { return x.Path == path })
	return err
}

// Mark is how many lines of a client's proxy have been read; none where it is not followed yet.
func (l *logs) Mark(client string) int {
	a, err := l.of(client)
	if err != nil {
		return 0
	}
	return a.Len()
}

// Lines returns what a client's proxy has written since a mark; Flush makes that complete. A gateway cannot be
// flushed, and every connection through it leaves a line, so there it waits for one.
func (l *logs) Lines(ctx context.Context, client string, mark int, match func(egress.AccessLog) bool) ([]egress.AccessLog, error) {
	a, err := l.of(client)
	if err != nil {
		return nil, err
	}
	if client != engine.IngressGateway && client != engine.EgressGateway {
		return a.Lines(mark, match), nil
	}
	found, err := a.Wait(ctx, egress.Patience(flushPatience), mark, match)
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

// expand replaces placeholders in a case's URLs and objects.
func (s *Session) expand(l lane) func(string) string {
	return func(text string) string {
		if !strings.Contains(text, "${") {
			return text
		}
		ns := ""
		if p, err := s.pods.Get(l.actual("client")); err == nil {
			ns = p.Namespace
		}
		return strings.NewReplacer("${INGRESS_IP}", s.ingress, "${NAMESPACE}", ns).Replace(text)
	}
}

// secrets replaces placeholders in the JSON of objects by the internet's CA and a client certificate that
// its hosts accept, which are asked for when they are first needed.
func (s *Session) secrets() func(context.Context, string) (string, error) {
	var mu sync.Mutex
	var known *strings.Replacer
	return func(ctx context.Context, text string) (string, error) {
		if !strings.Contains(text, "${INTERNET_CA}") && !strings.Contains(text, "${CLIENT_") {
			return text, nil
		}
		mu.Lock()
		defer mu.Unlock()
		if known == nil {
			c, err := s.Cluster.Internet().Credential(ctx)
			if err != nil {
				return "", fmt.Errorf("get a client certificate: %w", err)
			}
			var pairs []string
			for name, pem := range map[string][]byte{"${INTERNET_CA}": c.CA, "${CLIENT_CERT}": c.Cert, "${CLIENT_KEY}": c.Key} {
				b, err := json.Marshal(string(pem))
				if err != nil {
					return "", err
				}
				pairs = append(pairs, name, strings.Trim(string(b), `"`))
			}
			known = strings.NewReplacer(pairs...)
		}
		return known.Replace(text), nil
	}
}
