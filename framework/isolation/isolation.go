// Package isolation derives from a case's objects what may run beside it: what of it other cases could notice, and what
// it could notice of theirs. Nobody has to declare it.
//
// It reads objects as they will be applied. What it does not know to be unnoticed by others counts as noticed.
package isolation

import (
	"maps"
	"net"
	"net/url"
	"slices"
	"strings"

	"mesh-egress-conformance/framework/egress"
)

// Home is the namespace of a case's own client. Each lane has another one, so objects in it are noticed by nobody else.
const Home = "${NAMESPACE}"

// Gateways is the resource that stands for the gateways and their namespace, which is the mesh's root namespace too.
const Gateways = "namespace " + rootNamespace

// rootNamespace is where Istio keeps what holds for the whole mesh.
const rootNamespace = "istio-system"

// Cluster is what has to be known of where cases run.
type Cluster struct {
	// Clients are all that cases may name; Lane names those of which every lane has a copy, the others exist once.
	Clients []egress.Client
	Lane    []string
	// Namespaced says whether objects of a kind lie in a namespace; known is false where nobody can tell. It is asked
	// only about kinds of which this package does not know it. nil knows none.
	Namespaced func(apiVersion, kind string) (is, known bool)
}

// Footprint is what a case shares with others.
type Footprint struct {
	// Alone says why no case may run beside it; "" if others may.
	Alone string
	// FirstLane says why it must run in the lane whose namespaces are called as clients are described; "" if any will do.
	FirstLane string
	// Holds are resources that it has for itself while it runs; Uses are those that others may use meanwhile, but not hold.
	Holds, Uses []string
	// Endpoints says that it makes what istiod hears of as a change of endpoints, as Services and their like are.
	Endpoints bool
	// Noticed are its objects that a namespace other than its clients' could notice, each with the reason.
	Noticed []string
}

// Conflicts says whether two cases may not run side by side.
func (f Footprint) Conflicts(g Footprint) bool {
	meets := func(a, b []string) bool {
		return slices.ContainsFunc(a, func(r string) bool { return slices.Contains(b, r) })
	}
	return f.Alone != "" || g.Alone != "" || meets(f.Holds, g.Holds) || meets(f.Holds, g.Uses) || meets(f.Uses, g.Holds)
}

// deriving is a footprint in the making.
type deriving struct {
	at    Cluster
	c     egress.Case
	home  string // where objects go that name no namespace; Home in a lane
	lanes map[string]bool
	own   map[string]bool // the namespaces of the case's clients
	holds map[string]bool
	uses  map[string]bool
	out   Footprint
}

// Derive reads a case and all objects that it applies at any time: setup, fixtures, its own, and those of its change.
func Derive(c egress.Case, objs []egress.Object, at Cluster) Footprint {
	d := &deriving{at: at, c: c, home: Home, lanes: map[string]bool{}, own: map[string]bool{Home: true}, holds: map[string]bool{}, uses: map[string]bool{}}
	for _, n := range at.Lane {
		if k, ok := d.client(n); ok {
			d.lanes[k.Namespace] = true
		}
	}
	d.clients()
	switch {
	case c.Policy != "":
		d.alone("it changes the mesh's outbound policy")
	case len(c.MeshConfig) > 0:
		d.alone("it changes the mesh configuration")
	}
	if len(c.Istiod) > 0 {
		d.alone("it sends an istiod away, whose endpoints change while others' rules do")
		d.out.Endpoints = true
	}
	if slices.Contains(c.Needs, egress.NetworkPolicy) {
		d.alone("what enforces NetworkPolicies has rules on the traffic of every pod")
	}
	if c.Gateway() {
		d.holds[Gateways] = true
	}
	for _, n := range c.Names() {
		d.holds["host "+n] = true
	}
	for _, o := range objs {
		d.object(o)
	}
	for _, p := range c.Probes {
		d.probe(p)
	}
	d.literal(objs)
	f := d.out
	f.Holds = slices.Sorted(maps.Keys(d.holds))
	for r := range d.holds {
		delete(d.uses, r)
	}
	f.Uses = slices.Sorted(maps.Keys(d.uses))
	return f
}

func (d *deriving) client(name string) (egress.Client, bool) {
	i := slices.IndexFunc(d.at.Clients, func(k egress.Client) bool { return k.Name == name })
	if i < 0 {
		return egress.Client{}, false
	}
	return d.at.Clients[i], true
}

// clients finds where objects go that name no namespace, and holds the namespaces of clients that exist once.
func (d *deriving) clients() {
	found := false
	for _, n := range d.c.Clients() {
		k, ok := d.client(n)
		if n == egress.ControlClient || !ok {
			continue
		}
		ns := k.Namespace
		if slices.Contains(d.at.Lane, n) {
			ns = Home
		} else {
			d.namespace(ns, "client "+n+" is in it")
		}
		d.own[k.Namespace] = true
		if k.Captured() && !found {
			d.home, found = ns, true
		}
	}
	if d.lanes[d.home] {
		d.home = Home
	}
}

func (d *deriving) alone(why string) {
	if d.out.Alone == "" {
		d.out.Alone = why
	}
}

// noticed says that others notice an object, wherever they are.
func (d *deriving) noticed(o egress.Object, why string) {
	d.out.Noticed = append(d.out.Noticed, describe(o)+" "+why)
	d.alone(describe(o) + " " + why)
}

// namespace is one in which something of the case is, or is noticed.
func (d *deriving) namespace(ns, why string) {
	control, _ := d.client(egress.ControlClient)
	switch {
	case ns == Home:
	case d.lanes[ns]:
		if d.out.FirstLane == "" {
			d.out.FirstLane = "namespace " + ns + ": " + why
		}
	case ns == control.Namespace, strings.HasPrefix(ns, "kube-"):
		d.alone("namespace " + ns + ", which every case needs: " + why)
	default:
		d.holds["namespace "+ns] = true
	}
}

// object adds one object.
func (d *deriving) object(o egress.Object) {
	kind, ns := kindOf(o), d.placeOf(o)
	switch namespaced, known := d.namespaced(o); {
	case kind == "Namespace" && groupOf(o) == "":
		d.namespace(nameOf(o), "the case makes it")
		d.beyond(o, nameOf(o))
		return
	case !known:
		d.noticed(o, "is of a kind that is not known here, so that it may concern everybody")
		return
	case !namespaced:
		d.noticed(o, "belongs to the whole cluster")
		return
	}
	d.namespace(ns, describe(o)+" lies in it")
	d.beyond(o, ns)
	switch g := groupOf(o); {
	case strings.HasSuffix(g, ".istio.io"):
		d.istio(o, kind, ns)
	case g == gatewayAPI:
		d.gatewayAPI(o, kind)
	case g == "apps", g == "batch", g == "" && (kind == "Pod" || kind == "ReplicationController"):
		d.alone(describe(o) + startsPods)
	case g == "" && kind == "Service":
		d.service(o, ns)
	case g == "" && kind == "ConfigMap" && ns == rootNamespace && strings.HasPrefix(nameOf(o), "istio"):
		d.noticed(o, "may be the mesh configuration")
	}
	if !strings.HasSuffix(groupOf(o), ".istio.io") && !slices.Contains(silent, kind) {
		d.out.Endpoints = true
	}
}

// beyond notes an object that is, or is noticed, in a namespace that is none of the case's clients.
func (d *deriving) beyond(o egress.Object, ns string) {
	if !d.own[ns] && !d.lanes[ns] {
		d.out.Noticed = append(d.out.Noticed, describe(o)+" concerns namespace "+ns)
	}
}

// startsPods is why nothing may run beside a case that makes workloads: Istio 1.31 can lose a change that meets an update
// of endpoints (docs/findings.md).
const startsPods = " starts pods, whose endpoints change while others' rules do"

// silent are Kubernetes' kinds that concern no proxy by themselves when they come or go.
var silent = []string{"Secret", "ConfigMap", "ServiceAccount", "Role", "RoleBinding", "Namespace", "NetworkPolicy"}

// probe adds the hosts and ports that a probe calls.
func (d *deriving) probe(p egress.Probe) {
	u, err := url.Parse(p.URL)
	if err != nil {
		u = &url.URL{}
	}
	for _, at := range []string{u.Host, p.Connect} {
		host, port, err := net.SplitHostPort(at)
		if err != nil {
			host, port = at, defaultPorts[p.Scheme()]
		}
		d.use("host ", host)
		d.use("port ", port)
	}
	d.use("host ", p.SNI)
	d.use("host ", p.Destination())
	for _, h := range p.ArrivesAt {
		d.use("host ", h)
	}
	if p.Command != "" { // what a command calls, nobody can tell
		d.use("port ", "80")
		d.use("port ", "443")
	}
}

var defaultPorts = map[string]string{"http": "80", "https": "443", "ws": "80", "wss": "443", "keep": "80", "grpc": "80", "tls": "443", "dns": "53"}

func (d *deriving) use(what, name string) {
	if name != "" {
		d.uses[what+name] = true
	}
}

// literal finds namespaces of lanes' clients that the case names as they are called in the first lane alone.
func (d *deriving) literal(objs []egress.Object) {
	for ns := range d.lanes {
		named := func(text string) bool { return names(text, ns) }
		if mentions(d.c, named) || slices.ContainsFunc(objs, func(o egress.Object) bool { return mentions(o, named) }) {
			d.namespace(ns, "the case names it")
		}
	}
}
