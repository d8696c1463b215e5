package harness

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/engine"
	"mesh-egress-conformance/framework/internet"
	"mesh-egress-conformance/framework/mesh"
	"mesh-egress-conformance/framework/pods"
	"mesh-egress-conformance/framework/probe"
)

// lane is a set of client pods of its own, in a namespace of its own, in which one case runs at a time. What runs in
// other lanes beside a case is derived from its objects (framework/isolation). Lane 0 is the clients as the cases name
// them.
type lane int

// laneClients are the clients that every lane has; the others exist once and are used in turn.
var laneClients = []string{"client"}

// actual is the name of the pod that a case's client name stands for.
func (l lane) actual(name string) string {
	for _, n := range laneClients {
		if l > 0 && n == name {
			return fmt.Sprintf("%s-lane%d", name, l)
		}
	}
	return name
}

// client describes a lane's copy of a client.
func (l lane) client(c egress.Client) egress.Client {
	if name := l.actual(c.Name); name != c.Name {
		c.Name, c.Namespace, c.Service, c.Hollow = name, fmt.Sprintf("%s-lane%d", c.Namespace, l), false, c.Service
	}
	return c
}

// clients is engine.Clients over real pods, as one lane sees them.
type clients struct {
	pods *pods.Pods
	lane lane
	// gateway names the proxies of the gateway that a feature stands for; none while it does not run.
	gateway func(egress.Feature) []string
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
	return engine.ClientInfo{IP: p.IP, Also: p.Also, Pod: p.UID, Captured: p.Captured() && !p.Escapes}, nil
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

// namespaces are those of a case's clients with a sidecar.
func (c clients) namespaces(k egress.Case) []string {
	var out []string
	for _, n := range k.Clients() {
		if p, err := c.get(n); err == nil && p.Proxied() && !slices.Contains(out, p.Namespace) {
			out = append(out, p.Namespace)
		}
	}
	return out
}

// proxies names the proxies whose acknowledgement a case waits for.
func (c clients) proxies(k egress.Case) []string {
	var out []string
	for _, n := range k.Clients() {
		if p, err := c.get(n); err == nil && p.Proxied() {
			out = append(out, mesh.Proxy(p.PodName, p.Namespace))
		}
	}
	for _, f := range k.Needs {
		out = append(out, c.gateway(f)...)
	}
	return out
}

// laneLogs is engine.Mesh as one lane sees it.
type laneLogs struct {
	*mesh.AccessLogs
	gateways *mesh.Gateways
	lane     lane
}

// Gateways are all gateways of the cluster, which every lane sees.
func (l laneLogs) Gateways(context.Context) ([]engine.Gateway, error) {
	var out []engine.Gateway
	for _, g := range l.gateways.All() {
		out = append(out, engine.Gateway{Name: g.Log, Addresses: g.Addresses})
	}
	return out, nil
}

func (l laneLogs) Flush(ctx context.Context, client string) error {
	return l.AccessLogs.Flush(ctx, l.lane.actual(client))
}

func (l laneLogs) Mark(client string) int { return l.AccessLogs.Mark(l.lane.actual(client)) }

func (l laneLogs) Lines(ctx context.Context, client string, mark int, q egress.Lines) ([]egress.AccessLog, error) {
	return l.AccessLogs.Lines(ctx, l.lane.actual(client), mark, q)
}

// proxyPages is engine.Proxies: a client's agent asks the sidecar beside it, and all other proxies are asked through
// port-forwards.
type proxyPages struct {
	clients clients
	logs    *mesh.AccessLogs // which know where a proxy is
	forward *mesh.AdminPages
}

func (p proxyPages) Page(ctx context.Context, proxy string, page probe.Page) (string, error) {
	if c, err := p.clients.get(proxy); err == nil && c.Container != "" {
		return engine.OwnPage(ctx, p.clients, proxy, page)
	}
	source, err := p.logs.Source(p.clients.lane.actual(proxy))
	if err != nil {
		return "", err
	}
	return p.forward.Page(ctx, source.Namespace, source.Pod, page.URL, page.Lines)
}

// caller makes requests from clients for the harness itself, see mesh.CallFunc.
func caller(p *pods.Pods, within time.Duration) mesh.CallFunc {
	return func(ctx context.Context, client, url string) (port int, err error) {
		pod, err := p.Get(client)
		if err != nil {
			return 0, err
		}
		out, err := p.Do(ctx, client, probe.Request{Spec: &probe.Spec{URL: url, Ports: engine.TakePorts(pod.UID), Timeout: int(within.Milliseconds())}})
		if err != nil {
			return 0, err
		}
		var r probe.Report
		if err := json.Unmarshal([]byte(out.Stdout), &r); err != nil {
			return 0, fmt.Errorf("read the probe agent's report: %w", err)
		}
		return r.LocalPort, nil
	}
}

// logSource is a client whose proxy's access log is followed.
func logSource(p *pods.Pod) mesh.LogSource {
	s := mesh.LogSource{Namespace: p.Namespace, Pod: p.PodName, IP: p.IP}
	if p.Container == "" {
		s.Server = fmt.Sprintf("http://%s.%s:8080", p.Workload, p.Namespace)
	}
	return s
}

// expand replaces placeholders in a case's URLs and objects.
func (s *site) expand(l lane) func(string) string {
	return func(text string) string {
		if !strings.Contains(text, "${") {
			return text
		}
		ns := ""
		if p, err := s.conn.pods.Get(l.actual("client")); err == nil {
			ns = p.Namespace
		}
		return strings.NewReplacer("${INGRESS_IP}", s.starter.gateways.ingressIP(), "${NAMESPACE}", ns).Replace(text)
	}
}

// secrets replaces placeholders in the JSON of objects by authorities and client certificates of the internet
// (internet.Hosts.Placeholders), which are asked for when they are first needed, and again where one is not among them:
// hosts may have been added since. One that nobody knows stays as it is.
func (s *site) secrets() func(context.Context, string) (string, error) {
	var mu sync.Mutex
	known := map[string]string{} // JSON text by placeholder
	return func(ctx context.Context, text string) (string, error) {
		named := internet.PlaceholdersIn(text)
		if len(named) == 0 {
			return text, nil
		}
		mu.Lock()
		defer mu.Unlock()
		if slices.ContainsFunc(named, func(p string) bool { return known[p] == "" }) {
			pems, err := s.env.internet.Secrets(ctx)
			if err != nil {
				return "", fmt.Errorf("get the certificates that an object names: %w", err)
			}
			for name, pem := range pems {
				b, err := json.Marshal(pem)
				if err != nil {
					return "", err
				}
				known[name] = strings.Trim(string(b), `"`)
			}
		}
		for _, p := range named {
			if pem := known[p]; pem != "" {
				text = strings.ReplaceAll(text, p, pem)
			}
		}
		return text, nil
	}
}
