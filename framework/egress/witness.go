package egress

import (
	"net/http"
	"net/netip"
	"time"
)

// ClientWitness is what the client saw.
type ClientWitness struct {
	Command  string `json:"command"`
	Shell    bool   `json:"shell,omitempty"` // a document's command: exit code is the shell's, no HTTP status
	Raw      bool   `json:"raw,omitempty"`   // a protocol without HTTP status
	ExitCode int    `json:"exitCode"`
	HTTPCode int    `json:"httpCode"`
	// GRPC is the gRPC status of the answer, such as "14"; "" where there is none. A proxy that refuses a gRPC call
	// answers with HTTP status 200 and says here why.
	GRPC   string        `json:"grpcStatus,omitempty"`
	Local  string        `json:"local"` // ip:port of the client's connection
	Remote string        `json:"remote,omitempty"`
	Stdout string        `json:"stdout,omitempty"`
	Stderr string        `json:"stderr,omitempty"`
	Took   time.Duration `json:"took"`
	// Held is what became of a connection that was answered and then held: "open" or "cut"; "" for any other attempt.
	Held string `json:"held,omitempty"`
}

// Refused says whether the answer that the client got is an error, by HTTP's or gRPC's status.
func (c ClientWitness) Refused() bool { return c.HTTPCode >= 400 || c.GRPC != "" && c.GRPC != grpcOK }

// Says whether the client's answer has an HTTP status, or the gRPC status that a proxy gives in its place.
func (c ClientWitness) Says(status int) bool {
	return c.HTTPCode == status || c.GRPC != "" && c.GRPC != grpcOK && c.HTTPCode == http.StatusOK && c.GRPC == grpcOf(status)
}

// grpcOK is the gRPC status of a call that succeeded.
const grpcOK = "0"

// grpcOf is the gRPC status that stands for an HTTP status (grpc.io, "HTTP to gRPC Status Code Mapping"), as Envoy
// gives it to gRPC clients.
func grpcOf(status int) string {
	switch status {
	case http.StatusBadRequest:
		return "13" // INTERNAL
	case http.StatusUnauthorized:
		return "16" // UNAUTHENTICATED
	case http.StatusForbidden:
		return "7" // PERMISSION_DENIED
	case http.StatusNotFound:
		return "12" // UNIMPLEMENTED
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return "14" // UNAVAILABLE
	}
	return "2" // UNKNOWN
}

// AccessLog is one line of an Envoy access log; field names are those of Istio's JSON encoding.
type AccessLog struct {
	StartTime        string `json:"start_time"`
	Duration         int64  `json:"duration"` // milliseconds from the start to the line
	Method           string `json:"method,omitempty"`
	Authority        string `json:"authority,omitempty"`
	Path             string `json:"path,omitempty"`
	Protocol         string `json:"protocol,omitempty"`
	ResponseCode     int    `json:"response_code"`
	ResponseFlags    string `json:"response_flags"`
	ResponseDetails  string `json:"response_code_details,omitempty"`
	RouteName        string `json:"route_name,omitempty"`
	UpstreamCluster  string `json:"upstream_cluster,omitempty"`
	UpstreamHost     string `json:"upstream_host,omitempty"`
	UpstreamLocal    string `json:"upstream_local_address,omitempty"`
	UpstreamFailure  string `json:"upstream_transport_failure_reason,omitempty"`
	DownstreamLocal  string `json:"downstream_local_address,omitempty"`
	DownstreamRemote string `json:"downstream_remote_address,omitempty"`
	SNI              string `json:"requested_server_name,omitempty"`
	RequestID        string `json:"request_id,omitempty"`
}

// Start is when the request or connection began, by the clock of the proxy's machine, in whole milliseconds; the zero
// time where the line does not say it.
func (l AccessLog) Start() time.Time {
	t, err := time.Parse(time.RFC3339, l.StartTime)
	if err != nil {
		return time.Time{}
	}
	return t
}

// Held says whether the proxy was at work on the request or connection at a moment of the same clock. Start and
// duration are cut to whole milliseconds, so the end may be two later.
func (l AccessLog) Held(t time.Time) bool {
	start := l.Start()
	return !start.IsZero() && !t.Before(start) && !t.After(start.Add(time.Duration(l.Duration+2)*time.Millisecond))
}

// Lines are those of a proxy's access log that are asked for.
type Lines struct {
	// From is the other end of their connections, as ip:port; "" for any.
	From string
	// Match says of a line whether it is meant; nil for every line.
	Match func(AccessLog) bool
}

// Have says whether a line is one of them.
func (q Lines) Have(l AccessLog) bool {
	return (q.From == "" || l.DownstreamRemote == q.From) && (q.Match == nil || q.Match(l))
}

// Arrival is one request or connection that reached a host of the internet.
type Arrival struct {
	Seq        int64             `json:"seq"`
	Time       time.Time         `json:"time"`
	Server     string            `json:"server"` // the host that owns the address, whatever the client called it
	Peer       string            `json:"peer"`   // ip:port of the other side
	Local      string            `json:"local"`  // ip:port at which it arrived
	Kind       string            `json:"kind"`   // tcp, tls, http, udp, dns, connect
	TLS        bool              `json:"tls,omitempty"`
	DoubleTLS  bool              `json:"doubleTLS,omitempty"` // what came within the TLS was a handshake of TLS
	SNI        string            `json:"sni,omitempty"`
	ALPN       string            `json:"alpn,omitempty"`
	ClientCert string            `json:"clientCert,omitempty"`
	Proto      string            `json:"proto,omitempty"`
	Method     string            `json:"method,omitempty"`
	Host       string            `json:"host,omitempty"`
	Path       string            `json:"path,omitempty"`
	Status     int               `json:"status,omitempty"`
	ProbeID    string            `json:"probeId,omitempty"`
	RequestID  string            `json:"requestId,omitempty"`
	Attempt    string            `json:"attempt,omitempty"` // x-envoy-attempt-count
	Extra      map[string]string `json:"extra,omitempty"`
}

// Control is what the control client, which has no sidecar, found at the same target in the same window.
type Control struct {
	Reached bool          `json:"reached"` // the destination's log has its connection; on the live internet, it got an answer
	Detail  string        `json:"detail"`
	Client  ClientWitness `json:"client"`
	Arrival *Arrival      `json:"arrival,omitempty"`
}

// Hop is a gateway to which the proxy before it held the connection, known by the address of its pod.
type Hop struct {
	Gateway string     `json:"gateway"`
	Line    *AccessLog `json:"line,omitempty"` // the gateway's line of that connection; nil where it has none
}

// Observation is one probe seen by all witnesses.
type Observation struct {
	ID  string `json:"id"`
	DNS bool   `json:"dns,omitempty"` // a DNS question: the client alone is its witness
	// Target is the host at which the attempt must arrive, by the name that arrivals have; Anywhere or "" for any.
	Target   string        `json:"target,omitempty"`
	Client   ClientWitness `json:"client"`
	Captured bool          `json:"captured"`       // the client has a sidecar
	Mesh     []AccessLog   `json:"mesh"`           // lines of this connection
	Hops     []Hop         `json:"hops,omitempty"` // the gateways by which it went, one after another
	Arrivals []Arrival     `json:"arrivals"`       // of this probe, at any host
	// Blind says that the destination is a host of the live internet, which does not tell what arrived: client
	// and sidecar are the only witnesses, and the control client decides between blocked and unreachable.
	Blind bool `json:"blind,omitempty"`
	// Answered says that the control client got an answer of the target in the same phase, over a connection.
	Answered bool `json:"controlAnswered,omitempty"`
	// Counters of the sidecar, and by how much they grew with this attempt.
	Counters map[string]int64 `json:"counters,omitempty"`
}

// AddrIn reports whether an ip:port lies in a CIDR.
func AddrIn(addr, cidr string) bool {
	ap, err := netip.ParseAddrPort(addr)
	if err != nil {
		return false
	}
	p, err := netip.ParsePrefix(cidr)
	return err == nil && p.Masked().Contains(ap.Addr().Unmap())
}
