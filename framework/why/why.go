// Package why says in plain words which object let a call out of the mesh, or which one is missing: by the line of the
// sidecar's access log, the sidecar's own configuration, and the objects in the cluster; and before a case runs, which of its objects bear
// on what it expects (World.Expected). It asks nobody and needs no cluster.
package why

import (
	"cmp"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"mesh-egress-conformance/framework/egress"
)

// Question is a call, with what is known about it.
type Question struct {
	Probe  egress.Probe
	Result egress.ProbeResult
	// Namespace is that of the client's pod, and Labels are its labels; Captured says that it has a sidecar.
	Namespace string
	Labels    map[string]string
	Captured  bool
	Config    Config // of the client's sidecar
	// Gateways are the configurations of the proxies on the way, by the names that hops have; those that could not be read are missing.
	Gateways map[string]Config
	Objects  []Object // of the cluster that decide about egress, as far as they may be read
	// Policy is the mesh-wide outbound policy; "" where it could not be read.
	Policy egress.Policy
	// ExportTo are the namespaces to which the mesh exports ServiceEntries that do not say it (defaultServiceExportTo); nil is all.
	ExportTo []string
}

// Answer is why a call came out as it did.
type Answer struct {
	Probe   string         `json:"probe"`
	Outcome egress.Outcome `json:"outcome"`
	Words   string         `json:"words"`
	// Because are the objects and settings that decided, in the order in which they did.
	Because []Reason `json:"because"`
	// But is why the call failed all the same though objects let it out; "" where it did not, or none did.
	But string `json:"but,omitempty"`
	// Missing is what would have to be there for the call to be let out; "" where nothing is missing.
	Missing string `json:"missing,omitempty"`
	// Nearly are objects that name the host and do not let the call out, with the reason.
	Nearly []Reason `json:"nearly,omitempty"`
	// Remedy is YAML that would let the call out; "" for none.
	Remedy string `json:"remedy,omitempty"`
}

// Reason is one object or setting and what it does.
type Reason struct {
	Object string `json:"object"`
	What   string `json:"what"`
}

func (r Reason) String() string { return strings.TrimSpace(r.Object + " " + r.What) }

// Names of Envoy's and Istio's that a line may have.
const (
	passthrough = "PassthroughCluster"
	blackHole   = "BlackHoleCluster"
	blockAll    = "block_all"
)

// Explain answers a question.
func Explain(q Question) Answer {
	a := Answer{Probe: q.Probe.String(), Outcome: q.Result.Got, Words: q.Result.Got.Words(), Because: []Reason{}}
	line, o := q.line()
	switch {
	case q.Result.Got == 0:
		a.But = "nothing is proven: " + q.Result.Why
	case !q.Captured:
		a.because("client "+q.Probe.From, "has no sidecar, so no object of Istio decides about its calls")
	case line == nil && q.Result.Got == egress.Direct:
		a.because("client "+q.Probe.From, "has a sidecar that has not seen the call: the pod's annotations (traffic.sidecar.istio.io/...) leave the address or port to the network")
	case line == nil:
		a.But = q.Result.Got.Meaning() + "; the sidecar's log has no line of it"
		q.unresolved(&a)
	default:
		q.decided(&a, *line, o)
	}
	return a
}

func (a *Answer) because(object, format string, x ...any) {
	a.Because = append(a.Because, Reason{object, fmt.Sprintf(format, x...)})
}

// line is the sidecar's line of the last attempt, with all that was seen of it.
func (q Question) line() (*egress.AccessLog, egress.Observation) {
	n := len(q.Result.Observations)
	if n == 0 {
		return nil, egress.Observation{}
	}
	o := q.Result.Observations[n-1]
	if len(o.Mesh) == 0 {
		return nil, o
	}
	return &o.Mesh[len(o.Mesh)-1], o
}

// unresolved tells of objects that have a host whose name did not resolve.
func (q Question) unresolved(a *Answer) {
	if q.Result.Got != egress.DNSX {
		return
	}
	host := q.Probe.Destination()
	a.Missing = fmt.Sprintf("a DNS record of %s; a ServiceEntry makes none, unless the sidecar answers DNS questions (ISTIO_META_DNS_CAPTURE)", host)
	for _, o := range q.serviceEntries(host) {
		a.Nearly = append(a.Nearly, Reason{o.String(), "has the host"})
	}
}

// decided says what the line of a sidecar means.
func (q Question) decided(a *Answer, l egress.AccessLog, o egress.Observation) {
	host, port := q.target(l)
	if policy, denied := deniedBy(l); denied {
		q.denied(a, policy)
		return
	}
	s, registered := serviceOf(l.UpstreamCluster)
	switch {
	case registered:
		q.letOut(a, s, l, o, host, cmp.Or(port, s.port))
	case l.UpstreamCluster == passthrough:
		a.because(q.policyObject(egress.AllowAny), "lets everything out that no object names (ALLOW_ANY)")
		q.missing(a, host, port)
		a.Missing, a.Remedy = "nothing while that is so; with REGISTRY_ONLY, "+a.Missing, ""
	case l.UpstreamCluster == blackHole || l.RouteName == blockAll:
		a.because(q.policyObject(egress.RegistryOnly), "blocks what no object names (REGISTRY_ONLY)")
		q.missing(a, host, port)
	default:
		q.ownAnswer(a, l, host, port)
	}
}

// target is what the client called, as the sidecar saw it.
func (q Question) target(l egress.AccessLog) (host string, port int) {
	host = cmp.Or(l.Authority, l.SNI, q.Probe.Destination())
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if _, p, err := net.SplitHostPort(l.DownstreamLocal); err == nil {
		port, _ = strconv.Atoi(p) // 0 where the line does not say it
	}
	return host, port
}

// letOut says which objects the cluster of a call to a host and port comes from. A route may lead it to another port.
func (q Question) letOut(a *Answer, s service, l egress.AccessLog, o egress.Observation, host string, port int) {
	q.service(a, s)
	objects, virtual := q.Config.routed(host, port, l.UpstreamCluster)
	a.routedBy(objects, virtual)
	for _, x := range q.Config.chained(l.UpstreamCluster) {
		a.because(x, "has the route that the connection took")
	}
	a.connectedBy(q.Config, l.UpstreamCluster, "the proxy")
	for _, h := range o.Hops {
		q.hop(a, h)
	}
	if !egress.Arrived.Has(q.Result.Got) {
		a.But = strings.TrimSuffix(q.Result.Got.Meaning()+"; "+failure(l), "; ")
	}
}

// routedBy names the objects with the route that a request took.
func (a *Answer) routedBy(objects []string, virtual string) {
	for _, x := range objects {
		a.because(x, "has the route that the request took (virtual host %s)", virtual)
	}
}

// connectedBy names the object that says how a proxy connects to a cluster.
func (a *Answer) connectedBy(c Config, cluster, who string) {
	x, ok := c.cluster(cluster)
	if !ok || x.Object == "" {
		return
	}
	what := "says how " + who + " connects to it"
	if s, ok := serviceOf(cluster); ok && s.subset != "" {
		what += fmt.Sprintf(", and has the subset %s", s.subset)
	}
	a.because(x.Object, "%s", what)
}

// service names what put a host and port into the registry.
func (q Question) service(a *Answer, s service) {
	found := false
	for _, o := range q.serviceEntries(s.host) {
		if p, ok := o.port(s.port); ok && slices.Contains(o.hosts(), s.host) && q.sees(o) {
			found = true
			a.because(o.String(), "has the host %s with port %d (%s)", s.host, s.port, p)
		}
	}
	if found {
		return
	}
	if name, namespace, ok := kubernetesService(s.host); ok {
		a.because("Service "+namespace+"/"+name, "is in the mesh's registry as every Service is, with port %d", s.port)
		return
	}
	a.because("the registry", "has the host %s with port %d; the object that it comes from could not be read", s.host, s.port)
}

// kubernetesService splits the name of a Service.
func kubernetesService(host string) (name, namespace string, ok bool) {
	f := strings.Split(host, ".")
	if len(f) < 3 || f[2] != "svc" {
		return "", "", false
	}
	return f[0], f[1], true
}

// failure is what the flags of a line tell about a call that was let out and failed.
func failure(l egress.AccessLog) string {
	var out []string
	for _, f := range []struct{ flag, text string }{
		{"UH", "none of the host's endpoints is healthy, or it has none"},
		{"UF", "no connection to " + cmp.Or(l.UpstreamHost, "the host")},
		{"UO", "a limit of a DestinationRule's connectionPool is reached"},
		{"NC", "the route leads to a cluster that the proxy does not have: a subset that no DestinationRule has, or a host that is not in the registry"},
		{"UT", "a timeout of a VirtualService's route was over"},
		{"UC", "the host closed the connection"},
		{"DF", "the proxy could not resolve the host's name"},
		{"NR", "no route of the virtual host matches the request"},
	} {
		if slices.Contains(strings.Split(l.ResponseFlags, ","), f.flag) {
			out = append(out, f.text)
		}
	}
	if l.UpstreamFailure != "" {
		out = append(out, l.UpstreamFailure)
	}
	return strings.Join(out, "; ")
}

// Response details by which Envoy's RBAC filter says which policy denied a request; Istio's names of policies have
// namespace and name in them.
var (
	rbacRE   = regexp.MustCompile(`^rbac_access_denied_matched_policy\[(.*)\]$`)
	policyRE = regexp.MustCompile(`ns\[([^\]]+)\]-policy\[([^\]]+)\]`)
)

// deniedBy is the policy that denied a request; "" if none of those that allow something matched.
func deniedBy(l egress.AccessLog) (policy string, denied bool) {
	m := rbacRE.FindStringSubmatch(l.ResponseDetails)
	if m == nil {
		return "", false
	}
	if p := policyRE.FindStringSubmatch(m[1]); p != nil {
		return "AuthorizationPolicy " + p[1] + "/" + p[2], true
	}
	return "", true
}

func (q Question) denied(a *Answer, policy string) {
	if policy != "" {
		a.because(policy, "denies the request")
		return
	}
	a.because("AuthorizationPolicy", "one or more with action ALLOW select the workload, and no rule of theirs matches the request")
	for _, o := range q.Objects {
		if o.Kind == "AuthorizationPolicy" {
			a.Nearly = append(a.Nearly, Reason{o.String(), "is one of the cluster's policies"})
		}
	}
}

// ownAnswer says on whose order the proxy answered itself.
func (q Question) ownAnswer(a *Answer, l egress.AccessLog, host string, port int) {
	objects, virtual := q.Config.routed(host, port, "")
	for _, x := range objects {
		a.because(x, "has the routes of virtual host %s: a redirect, a fault or a direct response of one of them answered", virtual)
	}
	if q.Result.Got != egress.Self {
		a.But = strings.TrimSuffix(q.Result.Got.Meaning()+"; "+failure(l), "; ")
	}
}
