package egress

import (
	"cmp"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

// Destination is the name of the host that the control client must reach.
func (p Probe) Destination() string {
	if p.Server != "" {
		return p.Server
	}
	host, _, err := net.SplitHostPort(p.Address())
	if err != nil {
		return p.Address() // connect without a port, which is refused for that
	}
	return host
}

// Address is the host and port that the probe calls, the protocol's own port where it names none; "" for a command.
func (p Probe) Address() string {
	if p.Connect != "" {
		return p.Connect
	}
	u, err := url.Parse(p.URL)
	if err != nil || u.Hostname() == "" {
		return ""
	}
	return net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), p.Protocol().Port))
}

// Anywhere in ArrivesAt says that it does not matter where the mesh leads the probe.
const Anywhere = "*"

// Target is the name of the host to which the mesh must lead the probe in a phase.
func (p Probe) Target(ph Phase) string {
	if len(p.Spread[ph]) > 0 {
		return Anywhere // the spread says where
	}
	if l := p.ArrivesAt[ph]; l != "" {
		return l
	}
	return p.Destination()
}

// Scheme is the URL's, "" for a command.
func (p Probe) Scheme() string {
	s, _, _ := strings.Cut(p.URL, "://")
	return s
}

var provokesRE = regexp.MustCompile(`/status/([45]\d\d)`)

// Provokes is the error status with which the destination answers on purpose, as to httpbin's /status/503; 0 for none.
func (p Probe) Provokes() int {
	m := provokesRE.FindStringSubmatch(p.URL)
	if m == nil {
		return 0
	}
	status, _ := strconv.Atoi(m[1]) // three digits
	return status
}

// Raw says whether the attempt has no HTTP status.
func (p Probe) Raw() bool {
	known, ok := ProtocolOf(p.Scheme())
	return ok && !known.Status
}

// ForControl is the same attempt as the control client makes it in a phase. Where another workload carries the
// egress, the control client calls the destination itself.
func (p Probe) ForControl(ph Phase) Probe {
	if p.Through[ph] != "" {
		p.URL, p.Args = "http://"+p.Server+"/", nil
	}
	return p
}

// ToServer is the same attempt at the host that Server names, by that host's own name, for a control client that
// cannot resolve the probe's. A command, whose name for it nobody knows, becomes a web request.
func (p Probe) ToServer() Probe {
	u, err := url.Parse(p.URL)
	if p.Command != "" || err != nil {
		p.Command, p.URL = "", "http://"+p.Server+"/"
		return p
	}
	host := p.Server
	if port := u.Port(); port != "" {
		host = net.JoinHostPort(host, port)
	}
	u.Host, p.Connect = host, ""
	p.URL = u.String()
	return p
}

// Carrier is the client whose sidecar carries the egress in a phase.
func (p Probe) Carrier(ph Phase) string {
	if c := p.Through[ph]; c != "" {
		return c
	}
	return p.From
}

func (p Probe) String() string {
	s := p.From + " → " + p.URL
	if p.Command != "" {
		s = p.From + " $ " + p.Command
	}
	if len(p.Args) > 0 {
		s += " " + strings.Join(p.Args, " ")
	}
	if p.Connect != "" {
		s += " at " + p.Connect
	}
	if p.SNI != "" {
		s += " sni " + p.SNI
	}
	if p.Hold != nil {
		s += " held"
	}
	if p.Parallel > 0 {
		s += fmt.Sprintf(" ×%d at once", p.Parallel)
	}
	return s
}

// carriers are the clients whose sidecars carry the egress, in the order of the phases.
func (p Probe) carriers() []string {
	var out []string
	for _, ph := range Phases() {
		out = append(out, p.Carrier(ph))
	}
	return out
}
