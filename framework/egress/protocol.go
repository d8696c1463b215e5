package egress

import (
	"slices"
	"strings"
)

// Protocol is what follows from the scheme of a probe's URL. Everything that depends on a scheme is said here and
// asked of here; framework/probe has one function for each.
type Protocol struct {
	Scheme string
	// Port is the one that a URL without a port means; "" for none.
	Port string
	// NeedsPort says that a URL must name a port.
	NeedsPort bool
	// Web says that curl could make the attempt.
	Web bool
	// Status says that an answer has an HTTP status.
	Status bool
	// GRPC says that an answer has a gRPC status beside it, in which proxies tell what went wrong.
	GRPC bool
	// CarriesID says that the probe's id reaches the destination's log.
	CarriesID bool
	// Stream says that there is a TCP connection: the client has none where it says no port, and only a connection
	// can be led through a sidecar.
	Stream bool
	// TLS says that the client itself encrypts.
	TLS bool
	// Keeps says that the attempts of a probe share one connection, so that only their ids tell them apart.
	Keeps bool
	// Question says that it is a DNS question: the client alone is its witness, and the URL need not name a host.
	Question bool
	// Real says that the hosts of the real internet, of which we know no more than that they are web servers, speak it.
	Real bool
	// Privileged says that the destination needs privileges to note an arrival.
	Privileged bool
}

// protocols are sorted by scheme.
var protocols = []Protocol{
	{Scheme: "dns", Port: "53", Question: true, Real: true},
	{Scheme: "grpc", Port: "80", Status: true, GRPC: true, CarriesID: true, Stream: true},
	{Scheme: "http", Port: "80", Web: true, Status: true, CarriesID: true, Stream: true, Real: true},
	{Scheme: "https", Port: "443", Web: true, Status: true, CarriesID: true, Stream: true, TLS: true, Real: true},
	{Scheme: "icmp", Privileged: true},
	{Scheme: "keep", Port: "80", Status: true, CarriesID: true, Stream: true, Keeps: true, Real: true},
	{Scheme: "tcp", NeedsPort: true, Stream: true},
	{Scheme: "tls", Port: "443", Stream: true, TLS: true, Real: true},
	{Scheme: "udp", NeedsPort: true},
	{Scheme: "ws", Port: "80", Status: true, CarriesID: true, Stream: true},
	{Scheme: "wss", Port: "443", Status: true, CarriesID: true, Stream: true, TLS: true},
}

// Protocols lists all protocols, sorted by scheme.
func Protocols() []Protocol { return slices.Clone(protocols) }

// ProtocolOf finds a protocol by its scheme.
func ProtocolOf(scheme string) (Protocol, bool) {
	i := slices.IndexFunc(protocols, func(p Protocol) bool { return p.Scheme == scheme })
	if i < 0 {
		return Protocol{}, false
	}
	return protocols[i], true
}

// Schemes are those of all protocols, for messages.
func Schemes() string {
	names := make([]string, len(protocols))
	for i, p := range protocols {
		names[i] = p.Scheme
	}
	return strings.Join(names, ", ")
}

// Protocol is that of the probe's URL; the zero value, without a scheme, for a command.
func (p Probe) Protocol() Protocol {
	known, _ := ProtocolOf(p.Scheme())
	return known
}
