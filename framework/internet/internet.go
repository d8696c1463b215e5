// Package internet is the outside of the mesh in one program: authoritative DNS, HTTP and TLS hosts
// under their real names, raw TCP and UDP, a CONNECT proxy, a certificate authority made for one
// run, and a log of everything that arrives, which is the third witness of every verdict.
//
// It serves what the cases need and imitates nothing else: Wikipedia is two pages.
package internet

import (
	_ "embed"
	"fmt"
	"net/netip"
	"regexp"
	"slices"

	"mesh-egress-conformance/framework/input"
)

// Kind is what a service speaks.
type Kind string

// The kinds of services, explained in hosts.yaml.
const (
	HTTP     Kind = "http"
	HTTPS    Kind = "https"
	Either   Kind = "either"
	Redirect Kind = "redirect"
	MTLS     Kind = "mtls"
	Banner   Kind = "banner"
	Echo     Kind = "echo"
	UDPEcho  Kind = "udp-echo"
	Connect  Kind = "connect"
)

// Service is one port of a host.
type Service struct {
	Port  uint16 `json:"port"`
	Kind  Kind   `json:"kind"`
	HTTP2 bool   `json:"http2,omitempty"`
}

// Host is one machine of the internet.
type Host struct {
	Name    string     `json:"name"`
	Aliases []string   `json:"aliases,omitempty"`
	Real    bool       `json:"real,omitempty"` // the name exists outside as well
	Address netip.Addr `json:"address"`
	Site    string     `json:"site,omitempty"` // what its web server serves: httpbin, wikipedia or cnn
	// More are further addresses of the same machine, which its name resolves to as well.
	More     []netip.Addr `json:"more,omitempty"`
	Ping     bool         `json:"ping,omitempty"`    // echo requests to it are logged
	Dead     bool         `json:"dead,omitempty"`    // the name resolves and nobody owns the address
	Refuses  bool         `json:"refuses,omitempty"` // a dead host whose address is owned: connections are refused
	Services []Service    `json:"services,omitempty"`
}

// Addresses are all that the host's name resolves to.
func (h Host) Addresses() []netip.Addr { return append([]netip.Addr{h.Address}, h.More...) }

// Hosts is the whole internet.
type Hosts struct {
	DNS   netip.Addr `json:"dns"`
	Hosts []Host     `json:"hosts"`
}

//go:embed hosts.yaml
var hostsYAML []byte

// DefaultHosts returns the built-in hosts.
func DefaultHosts() (*Hosts, error) {
	var h Hosts
	if err := input.Unmarshal("hosts.yaml", hostsYAML, &h); err != nil {
		return nil, fmt.Errorf("read the built-in hosts of the hermetic internet: %w", err)
	}
	return &h, nil
}

// Addresses lists every address that the internet owns, its DNS server's first.
func (h *Hosts) Addresses() []netip.Addr {
	out := []netip.Addr{h.DNS}
	for _, x := range h.Hosts {
		if !x.Dead || x.Refuses {
			out = append(out, x.Addresses()...)
		}
	}
	return out
}

// Find returns the host that carries a name.
func (h *Hosts) Find(name string) (Host, bool) {
	for _, x := range h.Hosts {
		if x.Name == name {
			return x, true
		}
		for _, a := range x.Aliases {
			if a == name {
				return x, true
			}
		}
		if a, err := netip.ParseAddr(name); err == nil && (a == x.Address || slices.Contains(x.More, a)) {
			return x, true
		}
	}
	return Host{}, false
}

var rangeRE = regexp.MustCompile(`\b\d{1,3}(?:\.\d{1,3}){3}(?:/\d{1,2})?\b`)

// Ranges lists the IPv4 addresses and CIDRs that a text names, an address as a range of one.
func Ranges(text string) []netip.Prefix {
	var out []netip.Prefix
	for _, m := range rangeRE.FindAllString(text, -1) {
		if r, err := netip.ParsePrefix(m); err == nil {
			out = append(out, r.Masked())
		} else if a, err := netip.ParseAddr(m); err == nil {
			out = append(out, netip.PrefixFrom(a, a.BitLen()))
		}
	}
	return out
}

// In says whether a range holds an address of the host.
func (h Host) In(r netip.Prefix) bool {
	return slices.ContainsFunc(h.Addresses(), r.Contains)
}
