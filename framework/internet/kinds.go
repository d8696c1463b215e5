package internet

import (
	"maps"
	"slices"
)

// Kind is what a service speaks.
type Kind string

// The kinds of services, explained in docs/hosts.md.
const (
	AMQP     Kind = "amqp"
	Banner   Kind = "banner"
	Connect  Kind = "connect"
	Echo     Kind = "echo"
	Either   Kind = "either"
	HTTP     Kind = "http"
	HTTPS    Kind = "https"
	Kafka    Kind = "kafka"
	MongoDB  Kind = "mongodb"
	MTLS     Kind = "mtls"
	MySQL    Kind = "mysql"
	Postgres Kind = "postgres"
	Redirect Kind = "redirect"
	Redis    Kind = "redis"
	SMTP     Kind = "smtp"
	UDPEcho  Kind = "udp-echo"
)

// traits of a kind.
type traits struct {
	serverFirst bool
	udp         bool
	web         bool // HTTP in some way
	tls         tlsUse
}

// tlsUse is when a kind speaks TLS.
type tlsUse int

const (
	tlsNever  tlsUse = iota
	tlsAlways        // without being told
	tlsFirst         // with tls: from the first byte on
	tlsInside        // with tls: when the client asks for it in the protocol
)

var kinds = map[Kind]traits{
	AMQP:     {tls: tlsFirst},
	Banner:   {tls: tlsFirst, serverFirst: true},
	Connect:  {tls: tlsFirst},
	Echo:     {tls: tlsFirst},
	Either:   {web: true, tls: tlsAlways},
	HTTP:     {web: true},
	HTTPS:    {web: true, tls: tlsAlways},
	Kafka:    {tls: tlsFirst},
	MongoDB:  {tls: tlsFirst},
	MTLS:     {web: true, tls: tlsAlways},
	MySQL:    {tls: tlsInside, serverFirst: true},
	Postgres: {tls: tlsInside},
	Redirect: {web: true},
	Redis:    {tls: tlsFirst},
	SMTP:     {tls: tlsInside, serverFirst: true},
	UDPEcho:  {udp: true},
}

// Kinds lists them all.
func Kinds() []Kind { return slices.Sorted(maps.Keys(kinds)) }

// Network is "udp" or "tcp".
func (k Kind) Network() string {
	if kinds[k].udp {
		return "udp"
	}
	return "tcp"
}

// ServerFirst says that the server speaks first: a client that waits for it says nothing before.
func (k Kind) ServerFirst() bool { return kinds[k].serverFirst }

// Greets says that the service says something to a client that has said nothing.
func (s Service) Greets() bool {
	return kinds[s.Kind].serverFirst && (!s.TLS || kinds[s.Kind].tls == tlsInside)
}

// Web says that the service speaks HTTP, plain or inside TLS.
func (k Kind) Web() bool { return kinds[k].web }
