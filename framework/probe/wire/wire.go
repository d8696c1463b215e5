// Package wire has what the program in the client pods, the destination and the harness must say alike: exit codes
// and the header that carries a probe's id. It imports nothing, because the program in the pods is built from it too.
package wire

// ProbeHeader carries a probe's id to the destination's log. It is evidence beside the connection's
// address, never instead of it.
const ProbeHeader = "X-Egress-Probe"

// Exit codes of curl, from its manual page ("EXIT CODES"). The probe agent uses them too, so that both kinds of
// attempt are read alike.
const (
	ExitUsage    = 2
	ExitDNS      = 6  // the name did not resolve
	ExitRefused  = 7  // no connection
	ExitHTTP2    = 16 // a fault of the HTTP/2 framing
	ExitTimeout  = 28
	ExitTLS      = 35 // the TLS handshake failed
	ExitEmpty    = 52 // closed without an answer
	ExitSend     = 55
	ExitReceive  = 56
	ExitCert     = 60 // the server's certificate was not accepted
	ExitStream   = 92 // a fault of an HTTP/2 stream
	ExitInternal = 99 // the probe agent's own: curl has no such code
)
