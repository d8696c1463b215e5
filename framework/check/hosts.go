package check

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"mesh-egress-conformance/framework/casefile"
	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/input"
	"mesh-egress-conformance/framework/internet"
)

// target is what a probe calls and the field that says so.
type target struct {
	host, port string
	field      string // url, connect or server
}

// targetOf takes a probe apart. The host is the one that the control client must reach.
func targetOf(p egress.Probe) target {
	authority := p.URL[min(len(p.URL), len(p.Scheme())+len("://")):]
	if end := strings.IndexAny(authority, "/?#"); end >= 0 {
		authority = authority[:end]
	}
	authority = authority[strings.LastIndex(authority, "@")+1:]
	t := target{host: authority, port: p.Protocol().Port, field: "url"}
	if host, port, err := net.SplitHostPort(authority); err == nil {
		t.host, t.port = host, port
	}
	t.host = strings.Trim(t.host, "[]")
	if p.Connect != "" {
		t = target{host: p.Connect, field: "connect"}
		if host, port, err := net.SplitHostPort(p.Connect); err == nil {
			t.host, t.port = host, port
		}
	}
	if p.Server != "" {
		t.host, t.field = p.Server, "server"
	}
	return t
}

// wanted says whether a probe wants one of some outcomes in any phase.
func wanted(p egress.Probe, of egress.Outcome) bool {
	return slices.ContainsFunc(p.Wants[:], func(w egress.Outcome) bool { return w&of != 0 })
}

// find is the host that carries a name, or a name that has an address in itself.
func (c *checker) find(name string) (internet.Host, bool) {
	if rest, ok := strings.CutSuffix(name, ".nip.io"); ok {
		if labels := strings.Split(rest, "."); len(labels) >= 4 {
			name = strings.Join(labels[len(labels)-4:], ".")
		}
	}
	return c.env.Hosts.Find(name)
}

func (c *checker) hosts(l *casefile.Loaded) {
	if c.env.Hosts == nil {
		return
	}
	for i, p := range l.Case.Probes {
		t := targetOf(p)
		if t.host == "" || placeholderRE.MatchString(t.host) || p.Dead || t.field != "server" && wanted(p, egress.DNSX) || slices.Contains(l.Case.Names(), t.host) {
			continue
		}
		if p.Protocol().Question && t.host == c.env.Hosts.DNS.String() {
			continue
		}
		if _, known := c.find(t.host); known {
			continue
		}
		c.mistake(l.At(fmt.Sprintf("%s is not a host of the hermetic internet", t.host), "probes", i, t.field), "%s", c.addHost(l, t, p))
	}
}

// addHost says how a host becomes one.
func (c *checker) addHost(l *casefile.Loaded, t target, p egress.Probe) string {
	if strings.HasSuffix(t.host, ".cluster.local") || strings.HasSuffix(t.host, ".svc") || t.field == "url" && madeByCase(l, t.host) {
		return "the mesh or the cluster alone knows this name; say which host of the internet answers: server: httpbin.org"
	}
	var names []string
	for _, h := range c.env.Hosts.Hosts {
		names = append(names, h.Names()...)
	}
	remedy := fmt.Sprintf("add it to hosts.yaml:\nhosts:\n  - %s", hostEntry(t, p))
	if near := input.Within(slipsInNames, t.host, names); near != "" {
		remedy = fmt.Sprintf("did you mean %s? Or %s", near, remedy)
	}
	return remedy
}

// hostEntry is the entry of hosts.yaml that makes a target reachable.
func hostEntry(t target, p egress.Probe) string {
	services := ""
	if port, err := strconv.Atoi(t.port); err == nil && !p.Protocol().Question {
		services = fmt.Sprintf(", services: [{port: %d, kind: %s}]", port, kindFor(p.Protocol(), port))
	}
	if _, err := netip.ParseAddr(t.host); err == nil {
		return fmt.Sprintf("{name: host-%s, address: %q%s}", strings.NewReplacer(".", "-", ":", "-").Replace(t.host), t.host, services)
	}
	return fmt.Sprintf("{name: %s%s}", t.host, services)
}

// madeByCase says whether an object of the case gives a name an address: a Service, or a ServiceEntry with endpoints or
// addresses of its own.
func madeByCase(l *casefile.Loaded, name string) bool {
	for _, d := range l.Objects {
		switch text(d.Node, "kind") {
		case "Service":
			if n := text(d.Node, "metadata", "name"); n != "" && (name == n || strings.HasPrefix(name, n+".")) {
				return true
			}
		case "ServiceEntry":
			hosts := input.Value(d.Node, "spec", "hosts")
			has := input.Value(d.Node, "spec", "endpoints") != nil || input.Value(d.Node, "spec", "addresses") != nil
			if hosts != nil && has && slices.ContainsFunc(hosts.Content, func(n *input.Node) bool { return n.Value == name }) {
				return true
			}
		}
	}
	return false
}

// usual are kinds of services by the port that they usually have.
var usual = map[int]internet.Kind{
	25: internet.SMTP, 587: internet.SMTP, 3306: internet.MySQL, 5432: internet.Postgres, 5672: internet.AMQP,
	6379: internet.Redis, 9092: internet.Kafka, 27017: internet.MongoDB,
}

// kindFor guesses what is served at a port.
func kindFor(p egress.Protocol, port int) internet.Kind {
	k, known := usual[port]
	switch {
	case p.TLS:
		return internet.HTTPS
	case p.Status:
		return internet.HTTP
	case !p.Stream && p.Scheme != "":
		return internet.UDPEcho
	case known:
		return k
	}
	return internet.Echo
}

func (c *checker) ports(l *casefile.Loaded) {
	for i, p := range l.Case.Probes {
		t := targetOf(p)
		if p.Protocol().NeedsPort && p.Connect == "" && t.port == "" {
			c.mistake(l.At(fmt.Sprintf("%s names no port, and %s has no usual one", p.URL, p.Scheme()), "probes", i, "url"), "write it: %s:3306", strings.TrimSuffix(p.URL, "/"))
			continue
		}
		if p.Connect != "" && !placeholderRE.MatchString(p.Connect) {
			if _, _, err := net.SplitHostPort(p.Connect); err != nil {
				c.mistake(l.At(fmt.Sprintf("connect: %q is not of the form host:port", p.Connect), "probes", i, "connect"), "write it: connect: %q", t.host+":443")
				continue
			}
		}
		c.served(l, i, p, t)
	}
}

// served looks whether the host that the control client calls answers at the port.
func (c *checker) served(l *casefile.Loaded, i int, p egress.Probe, t target) {
	port, err := strconv.ParseUint(t.port, 10, 16)
	if c.env.Hosts == nil || err != nil || p.Server != "" || p.Dead || p.Command != "" || wanted(p, egress.REF|egress.TMO) || p.Protocol().Question {
		return
	}
	h, ok := c.find(t.host)
	if !ok || h.Dead {
		return
	}
	var have []string
	for _, s := range h.Services {
		if udp := s.Kind.Network() == "udp"; udp != (p.Scheme() == "udp") {
			continue
		}
		if uint64(s.Port) == port {
			c.silent(l, i, p, t, s)
			return
		}
		have = append(have, fmt.Sprintf("%d (%s)", s.Port, s.Kind))
	}
	c.mistake(l.At(fmt.Sprintf("%s serves nothing at port %d", t.host, port), "probes", i, t.field),
		"it serves %s; for another service add a host of your own to hosts.yaml:\nhosts:\n  - {name: %s, services: [{port: %d, kind: %s}]}",
		list(have), ownName(t.host), port, kindFor(p.Protocol(), int(port)))
}

// silent looks for TCP probes that wait for what the server does not say before they have said something: nobody would get an answer.
func (c *checker) silent(l *casefile.Loaded, i int, p egress.Probe, t target, s internet.Service) {
	if p.Scheme() != "tcp" || p.Send != "" || s.Greets() {
		return
	}
	remedy, known := firstWords[s.Kind]
	switch {
	case s.TLS || s.Kind == internet.HTTPS || s.Kind == internet.MTLS:
		remedy = "call it with tls://, which needs no answer but the handshake"
	case s.Kind.Web():
		remedy = "call it with http://, or write what a client says first: send: \"GET / HTTP/1.0\\r\\n\\r\\n\""
	case !known:
		remedy = "write what its clients say first: send: \"...\""
	}
	c.mistake(l.At(fmt.Sprintf("%s:%s (%s) says nothing before its client does, and the probe sends nothing: it would wait until its time is over", t.host, t.port, s.Kind), "probes", i, t.field), "%s", remedy)
}

// firstWords are what clients of some kinds say first.
var firstWords = map[internet.Kind]string{
	internet.AMQP:     `write send: "AMQP\0\0\x09\x01"`,
	internet.Echo:     `write what is to come back: send: hello`,
	internet.Kafka:    `ask for the versions: send: "\0\0\0\x0e\0\x12\0\0\0\0\0\x01\0\x04test"`,
	internet.Postgres: `log in: send: "\0\0\0\x17\0\x03\0\0user\0postgres\0\0"`,
	internet.Redis:    `write send: "PING\r\n"`,
}

// ownName makes a name for a host of the user's own beside an existing one.
func ownName(host string) string {
	if _, err := netip.ParseAddr(host); err == nil {
		return "mine.example"
	}
	return "my-" + host
}

// places looks at names and ranges with which arrivals are compared, and at DNS answers.
func (c *checker) places(l *casefile.Loaded) {
	for _, d := range l.Demands() {
		for ph, name := range d.ArrivesAt {
			if name != egress.Anywhere && name != "" {
				c.place(l, name, "arrivesAt: ", l.PathOf(d, ph, "arrivesAt")...)
			}
		}
	}
	for i, p := range l.Case.Probes {
		for ph, network := range p.Within {
			c.within(l, network, l.PathIn(ph, i, "within"))
		}
		for ph, spread := range p.Spread {
			for _, name := range spread.Hosts() {
				c.place(l, name, "spread: ", "probes", i, "spread", ph.String(), name)
			}
		}
	}
	for ph, answers := range l.Case.DNS {
		for name, to := range answers {
			if c.env.Hosts != nil {
				if h, taken := c.env.Hosts.Find(name); taken && !placeholderRE.MatchString(name) {
					c.mistake(l.At(fmt.Sprintf("dns: %s is the name of the host %s, on which other cases count", name, h.Name), "dns", ph.String(), name), "take a name that no host has")
				}
			}
			if to != "NXDOMAIN" && to != "SERVFAIL" {
				c.place(l, to, "dns: ", "dns", ph.String(), name)
			}
		}
	}
}

// within looks at a network in which something must arrive.
func (c *checker) within(l *casefile.Loaded, network string, path []any) {
	if network == "" {
		return
	}
	p, err := netip.ParsePrefix(network)
	if err != nil {
		c.mistake(l.At(fmt.Sprintf("within: %q is no network", network), path...), "write it as address/bits: 198.51.100.0/24")
		return
	}
	if c.env.Hosts != nil && !slices.ContainsFunc(c.env.Hosts.Hosts, func(h internet.Host) bool { return h.In(p.Masked()) }) {
		c.mistake(l.At(fmt.Sprintf("within: no host of the hermetic internet has an address in %s", network), path...), "%s", hostsHint)
	}
}

// slipsInNames is how many letters of a host's name may be wrong for it to be taken as a slip.
const slipsInNames = 2

const hostsHint = "hosts.yaml beside the cases adds hosts of your own"

func (c *checker) place(l *casefile.Loaded, name, field string, path ...any) {
	if c.env.Hosts == nil || placeholderRE.MatchString(name) {
		return
	}
	if _, known := c.find(name); known {
		return
	}
	remedy := hostsHint + fmt.Sprintf(":\nhosts:\n  - {name: %s, services: [{port: 443, kind: https}]}", name)
	var names []string
	for _, h := range c.env.Hosts.Hosts {
		names = append(names, h.Names()...)
	}
	if near := input.Within(slipsInNames, name, names); near != "" {
		remedy = fmt.Sprintf("did you mean %s? %s", near, remedy)
	}
	c.mistake(l.At(field+name+" is not a host of the hermetic internet", path...), "%s", remedy)
}
