// Package internet is the outside of the mesh in one program: authoritative DNS, HTTP and TLS hosts under their real
// names, raw TCP and UDP, the first exchange of well-known database and message protocols, a CONNECT proxy,
// certificate authorities made for one run, and a log of everything that arrives, which is the third witness of every
// verdict.
//
// Which hosts there are is data: the built-in hosts.yaml and what users add to it (ReadHosts, Hosts.Add). It serves
// what cases need and imitates nothing else: Wikipedia is two pages, Postgres answers SELECT 1.
package internet

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Service is one port of a host.
type Service struct {
	Port  uint16 `json:"port"`
	Kind  Kind   `json:"kind"`
	HTTP2 bool   `json:"http2,omitempty"` // web kinds: HTTP/2 by ALPN
	// TLS is for kinds that are plain otherwise: in the way of the protocol (postgres, mysql, smtp), or from the first
	// byte on.
	TLS bool `json:"tls,omitempty"`
}

// Host is one machine of the internet.
type Host struct {
	Name    string   `json:"name"` // or *.SUFFIX, which is any name below SUFFIX
	Aliases []string `json:"aliases,omitempty"`
	Real    bool     `json:"real,omitempty"` // the name exists outside as well
	// Address is one address or range, or a list of them. Hosts.Add chooses one where it is missing.
	Address Addresses `json:"address,omitempty"`
	Site    string    `json:"site,omitempty"`    // what its web server serves: httpbin, wikipedia or cnn; "" is httpbin
	Ping    bool      `json:"ping,omitempty"`    // echo requests to it are logged
	Dead    bool      `json:"dead,omitempty"`    // the name resolves and nobody owns the address
	Refuses bool      `json:"refuses,omitempty"` // a dead host whose address is owned: connections are refused
	// CA names the authority that signs its certificate, ClientCA the one whose client certificates it accepts; "" is
	// the run's CA. Any name makes an authority of that name.
	CA       string `json:"ca,omitempty"`
	ClientCA string `json:"clientCA,omitempty"`
	// Certificate is what is wrong with its certificate on purpose.
	Certificate Flaw `json:"certificate,omitempty"`
	// CertificateNames are further names in it, such as *.wikipedia.org where one machine serves a site of many names.
	CertificateNames []string  `json:"certificateNames,omitempty"`
	Services         []Service `json:"services,omitempty"`

	// Chosen says that Hosts.Add chose the address; no file may say so.
	Chosen bool `json:"chosen,omitempty"`
	// Guest says that it is there for a while, see Hosts.WithGuests; no file may say so.
	Guest bool `json:"guest,omitempty"`
	// at is file:line where it was read from; "" for what came over the control API.
	at string
}

// ClientCertificate is a certificate that cases can show by its name: ${CLIENT_CERT:NAME} and ${CLIENT_KEY:NAME}.
type ClientCertificate struct {
	Name        string `json:"name"`                  // its common name and only SAN
	CA          string `json:"ca,omitempty"`          // the authority that signs it; "" is the run's CA
	Certificate Flaw   `json:"certificate,omitempty"` // what is wrong with it on purpose

	at string
}

// Hosts is the whole internet, or what is to be added to one.
type Hosts struct {
	DNS                netip.Addr          `json:"dns,omitzero"` // of its name server; hosts to be added have none
	Hosts              []Host              `json:"hosts"`
	ClientCertificates []ClientCertificate `json:"clientCertificates,omitempty"`
}

//go:embed hosts.yaml
var hostsYAML []byte

// builtIn names the embedded file in errors.
const builtIn = "the built-in hosts.yaml"

// DefaultHosts returns the built-in hosts.
func DefaultHosts() (*Hosts, error) {
	h, err := readHosts(builtIn, hostsYAML)
	if err != nil {
		return nil, fmt.Errorf("read the built-in hosts of the hermetic internet: %w", err)
	}
	return (&Hosts{DNS: h.DNS}).Add(h)
}

// Addresses are the addresses and ranges of a host; an address is a range of one.
type Addresses []netip.Prefix

// UnmarshalJSON takes one address or range (10.20.0.0/16), or a list of them.
func (a *Addresses) UnmarshalJSON(b []byte) error {
	var texts []string
	if err := json.Unmarshal(b, &texts); err != nil {
		var one string
		if err := json.Unmarshal(b, &one); err != nil {
			return fmt.Errorf("%s is neither an address nor a list of addresses", b)
		}
		texts = []string{one}
	}
	*a = nil
	for _, t := range texts {
		p, err := parseRange(t)
		if err != nil {
			return err
		}
		*a = append(*a, p)
	}
	return nil
}

// MarshalJSON writes a list in which an address is without a length.
func (a Addresses) MarshalJSON() ([]byte, error) {
	texts := make([]string, 0, len(a))
	for _, p := range a {
		texts = append(texts, rangeText(p))
	}
	return json.Marshal(texts)
}

// parseRange reads an address or a CIDR without host bits.
func parseRange(text string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(text); err == nil {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	switch {
	case err != nil:
		return p, fmt.Errorf("%q is neither an IP address nor a range such as 10.20.0.0/16", text)
	case p != p.Masked():
		return p, fmt.Errorf("%s has bits set beyond its length; the range is called %s", p, p.Masked())
	}
	return p, nil
}

// rangeText is how people write a range: an address has no length.
func rangeText(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

// Addresses are all that the host's name resolves to: its single addresses, or, where it has ranges alone, the first
// address after each range's own.
func (h Host) Addresses() []netip.Addr {
	var single, first []netip.Addr
	for _, p := range h.Address {
		if p.IsSingleIP() {
			single = append(single, p.Addr())
		} else {
			first = append(first, p.Addr().Next())
		}
	}
	if len(single) == 0 {
		return first
	}
	return single
}

// Ranges are the host's addresses that are more than one.
func (h Host) Ranges() []netip.Prefix {
	return slices.DeleteFunc(slices.Clone(h.Address), netip.Prefix.IsSingleIP)
}

// In says whether a range holds an address of the host.
func (h Host) In(r netip.Prefix) bool { return slices.ContainsFunc(h.Address, r.Overlaps) }

// Names are the host's name and its aliases.
func (h Host) Names() []string { return append([]string{h.Name}, h.Aliases...) }

// NamedIn says whether a text has one of the host's names, or one below its wildcard.
func (h Host) NamedIn(text string) bool {
	return slices.ContainsFunc(h.Names(), func(n string) bool { return strings.Contains(text, strings.TrimPrefix(n, "*")) })
}

// Service finds what the host serves at a port of a network ("tcp" or "udp").
func (h Host) Service(network string, port uint16) (Service, bool) {
	for _, s := range h.Services {
		if s.Port == port && s.Kind.Network() == network {
			return s, true
		}
	}
	return Service{}, false
}

// NoPod says why no single pod can play the host, which has one address that nobody chooses; "" if it can.
func (h Host) NoPod() string {
	switch {
	case h.Dead:
		return "nobody may own its address"
	case len(h.Ranges()) > 0:
		return fmt.Sprintf("it has the range %s", h.Ranges()[0])
	case len(h.Address) > 1:
		return fmt.Sprintf("it has %d addresses", len(h.Address))
	}
	return ""
}

// Addresses lists every single address that the internet owns, its DNS server's first. The caller gives them to a
// link of the internet's network namespace, each with its full length (/32, /128); the server may listen before.
func (h *Hosts) Addresses() []netip.Addr {
	var out []netip.Addr
	if h.DNS.IsValid() {
		out = append(out, h.DNS)
	}
	for _, x := range h.Hosts {
		for _, p := range x.owned() {
			if p.IsSingleIP() {
				out = append(out, p.Addr())
			}
		}
	}
	return out
}

// Ranges lists every range that the internet owns. The caller makes each of them local in the internet's network
// namespace (ip route add local RANGE dev lo), so that the kernel accepts every address in it; arrivals carry the
// address at which they arrived.
func (h *Hosts) Ranges() []netip.Prefix {
	var out []netip.Prefix
	for _, x := range h.Hosts {
		for _, p := range x.owned() {
			if !p.IsSingleIP() {
				out = append(out, p)
			}
		}
	}
	return out
}

// owned are the host's addresses that a machine of the internet must have.
func (h Host) owned() Addresses {
	if h.Dead && !h.Refuses {
		return nil
	}
	return h.Address
}
