package egress

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"mesh-egress-conformance/framework/probe/wire"
)

// ErrDisagree marks an observation whose witnesses contradict each other or are incomplete: proof of
// nothing.
var ErrDisagree = errors.New("the witnesses do not agree")

// ErrUnseen is the ErrDisagree of a failed attempt that left no trace but its failure, as a connection does
// that meets a listener while Envoy replaces it.
var ErrUnseen = fmt.Errorf("%w: the client failed and neither sidecar nor destination saw it", ErrDisagree)

func disagree(format string, a ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrDisagree}, a...)...)
}

// Clusters and routes by which Istio names its own decisions.
const (
	blackHole   = "BlackHoleCluster"
	passthrough = "PassthroughCluster"
	dynamicDNS  = "AllowAnyDynamicDNSCluster" // outbound policy ALLOW_ANY_DYNAMIC_DNS
	blockAll    = "block_all"
)

// Classify turns what the witnesses saw into an outcome. It returns ErrDisagree when they
// contradict each other: then nothing is proven, and the caller must not call it blocked.
func Classify(o Observation) (Outcome, error) {
	if o.Client.Held != "" {
		return held(o)
	}
	if o.DNS && o.Client.ExitCode == 0 {
		return Named, nil
	}
	if o.Client.ExitCode == wire.ExitDNS && !o.Client.Shell {
		return onlyClient(o, DNSX)
	}
	line, err := decisive(o.Mesh)
	if err != nil {
		return 0, err
	}
	if line == nil {
		return withoutProxy(o)
	}
	if !o.Captured {
		return 0, disagree("a client without sidecar appears in a sidecar's access log")
	}
	for _, h := range o.Hops {
		if h.Line == nil {
			return 0, disagree("it was sent to the gateway %s, which has no line of it", h.Gateway)
		}
		line = h.Line
	}
	return throughProxy(o, *line)
}

// decisive picks the line that tells the outbound decision; several lines must say the same.
func decisive(lines []AccessLog) (*AccessLog, error) {
	var pick *AccessLog
	for i := range lines {
		l := &lines[i]
		if strings.HasPrefix(l.UpstreamCluster, "inbound|") {
			continue
		}
		if pick != nil && (pick.UpstreamCluster != l.UpstreamCluster || pick.ResponseCode != l.ResponseCode) {
			return nil, disagree("two access log lines for one probe: %s %d and %s %d", pick.UpstreamCluster, pick.ResponseCode, l.UpstreamCluster, l.ResponseCode)
		}
		pick = l
	}
	return pick, nil
}

func withoutProxy(o Observation) (Outcome, error) {
	a := arrivedFrom(o.Arrivals, o.Client.Local, o.Client.Remote)
	if o.elsewhere(a) {
		return Led, nil
	}
	switch o.Client.ExitCode {
	case wire.ExitTimeout:
		// No line and no arrival: what the control client's answer came by did not carry this client's question. Without a
		// connection it was not the mesh that held it: a question to DNS may have been lost.
		if o.Captured && o.Client.Local != "" && o.Answered && !o.Blind && len(o.Arrivals) == 0 {
			return Stall, nil
		}
		return onlyClient(o, TMO)
	case wire.ExitRefused:
		return onlyClient(o, REF)
	}
	switch {
	case o.Blind && answered(o.Client, nil):
		return Direct, nil
	case o.Blind && o.Client.ExitCode == wire.ExitCert:
		return CERT, nil
	case a == nil && answered(o.Client, nil):
		return 0, disagree("the client got an answer (%d) that no sidecar passed and no destination gave", o.Client.HTTPCode)
	case a == nil && len(o.Arrivals) > 0:
		return 0, disagree("the client failed (exit %d), no sidecar saw it, and it arrived at %s by a connection (%s) that is not the client's", o.Client.ExitCode, o.Arrivals[0].Server, o.Arrivals[0].Peer)
	case a == nil && closed(o.Client.ExitCode):
		return 0, fmt.Errorf("%w (exit %d)", ErrUnseen, o.Client.ExitCode)
	case a == nil:
		return 0, disagree("the client failed (exit %d) and neither sidecar nor destination saw it", o.Client.ExitCode)
	case o.Client.ExitCode == wire.ExitCert:
		return CERT, nil
	case !answered(o.Client, a):
		return 0, disagree("the connection arrived at %s but the client got no answer (exit %d)", a.Server, o.Client.ExitCode)
	}
	return Direct, nil
}

// elsewhere says whether an arrival proves that the attempt was led to another host than its target. Whose arrival it
// is, is known by its connection, so it does not matter what the client made of the answer.
func (o Observation) elsewhere(a *Arrival) bool {
	return a != nil && o.Target != "" && o.Target != Anywhere && a.Server != o.Target
}

func throughProxy(o Observation, l AccessLog) (Outcome, error) {
	switch {
	case l.UpstreamCluster == blackHole:
		return blocked(o, BRST)
	case l.RouteName == blockAll && (l.ResponseCode == 502 || l.ResponseDetails == "direct_response"):
		return blocked(o, B502) // 502; to a gRPC client 200 with status 14
	}
	if out := byFlags(l, o.Client); out != 0 {
		return failed(o, out)
	}
	if l.UpstreamHost == "" && (l.ResponseDetails == "direct_response" || l.ResponseDetails == "fault_filter_abort") && o.Client.HTTPCode == l.ResponseCode {
		return blocked(o, Self)
	}
	a := arrivedFrom(o.Arrivals, l.UpstreamLocal, l.UpstreamHost)
	if o.elsewhere(a) {
		return Led, nil
	}
	if a != nil && a.DoubleTLS && o.Client.ExitCode != 0 {
		return DoubleTLS, nil
	}
	switch o.Client.ExitCode {
	case wire.ExitTimeout:
		if o.Answered {
			return Stall, nil
		}
		return 0, disagree("the client timed out while the sidecar sent it to %s, and the control client got no answer either", l.UpstreamCluster)
	case wire.ExitCert:
		if !o.Blind && a == nil {
			return 0, disagree("the client rejected a certificate of no known host")
		}
		return CERT, nil
	}
	if !answered(o.Client, a) {
		return 0, disagree("the sidecar passed it to %s but the client failed (exit %d, status %d)", l.UpstreamCluster, o.Client.ExitCode, o.Client.HTTPCode)
	}
	if l.UpstreamLocal == "" {
		return 0, disagree("the sidecar's line names no upstream connection (cluster %q, flags %q)", l.UpstreamCluster, l.ResponseFlags)
	}
	if a == nil && !o.Blind {
		return 0, disagree("the sidecar used connection %s, which arrived at no known host", l.UpstreamLocal)
	}
	if o.Blind && l.Method != "" && l.ResponseDetails != "via_upstream" {
		return 0, disagree("the sidecar does not say that the answer came from upstream (details %q)", l.ResponseDetails)
	}
	switch {
	case l.UpstreamCluster == passthrough, l.UpstreamCluster == dynamicDNS:
		return Pass, nil
	case strings.HasPrefix(l.UpstreamCluster, "outbound"):
		return OK, nil
	}
	return 0, disagree("the sidecar used the unknown cluster %q", l.UpstreamCluster)
}

// blocked demands that the client failed as well and that nothing arrived anywhere.
func blocked(o Observation, out Outcome) (Outcome, error) {
	if len(o.Arrivals) > 0 {
		return 0, disagree("the sidecar says blocked but it arrived at %s", o.Arrivals[0].Server)
	}
	c := o.Client
	switch {
	case out == Self, out == B502 && c.Says(http.StatusBadGateway), out == BRST && c.HTTPCode == 0 && closed(c.ExitCode):
		return out, nil
	case c.Shell: // a pipeline's exit code may hide curl's; sidecar and destination have spoken
		return out, nil
	}
	return 0, disagree("the sidecar says blocked (%s) but the client saw exit %d, status %d", out, c.ExitCode, c.HTTPCode)
}

// closed lists the ways in which curl reports a connection that was closed on it; which one depends
// on timing and protocol, so the code is evidence and not the verdict.
func closed(exit int) bool {
	switch exit {
	case wire.ExitTLS, wire.ExitEmpty, wire.ExitReceive, wire.ExitSend, wire.ExitHTTP2, wire.ExitStream:
		return true
	}
	return false
}

var flagOutcomes = []struct {
	flag string
	out  Outcome
}{
	{"UH", S503UH},
	{"UF", S503UF},
	{"NC", S503NC},
	{"UO", S503UO},
	{"NR", S404NR},
	{"UT", S504UT},
	{"UC", S503UC},
	{"DF", S503DF},
}

func byFlags(l AccessLog, c ClientWitness) Outcome {
	// A refused gRPC call has HTTP status 200, in the proxy's line too.
	says := func(status int) bool {
		return l.ResponseCode == status || l.ResponseCode == http.StatusOK && c.GRPC != "" && c.GRPC != grpcOK
	}
	for _, f := range flagOutcomes {
		for _, have := range strings.Split(l.ResponseFlags, ",") {
			// A TCP line has no response code; the flag alone tells.
			if have == f.flag && (says(outcomes[f.out].status) || l.ResponseCode == 0) {
				return f.out
			}
			// A route of the Gateway API has 500 for it: cluster_not_found_response_code (Istio's route conversion).
			if f.out == S503NC && have == f.flag && says(http.StatusInternalServerError) && l.ResponseDetails == "cluster_not_found" {
				return f.out
			}
		}
	}
	switch {
	case says(http.StatusForbidden) && strings.HasPrefix(l.ResponseDetails, "rbac_access_denied"):
		return S403RBAC
	case l.ResponseCode == http.StatusForbidden && l.ResponseDetails == "upgrade_failed":
		return S403UPG
	}
	return 0
}

// failed demands that the client did not get an answer of the destination.
func failed(o Observation, out Outcome) (Outcome, error) {
	switch c := o.Client; {
	case c.GRPC == grpcOK:
		return 0, disagree("the sidecar says %s but the client's gRPC call succeeded", out)
	case c.HTTPCode >= 200 && c.HTTPCode < 400 && !c.Refused():
		return 0, disagree("the sidecar says %s but the client got %d", out, c.HTTPCode)
	}
	return out, nil
}

// onlyClient is for failures before any sidecar or destination is involved.
func onlyClient(o Observation, out Outcome) (Outcome, error) {
	if len(o.Arrivals) > 0 {
		return 0, disagree("the client says %s but it arrived at %s", out, o.Arrivals[0].Server)
	}
	return out, nil
}

// answered says whether the client got an answer of some server: an HTTP status that is no gateway
// error, unless the destination itself gave it. A command or a raw protocol, which have no status,
// count by their exit code.
func answered(c ClientWitness, a *Arrival) bool {
	switch {
	case c.ExitCode != 0:
		return false
	case c.Shell, c.Raw:
		return true
	}
	return c.HTTPCode > 0 && (c.HTTPCode < 500 || a != nil && a.Status == c.HTTPCode)
}

// arrivedFrom finds the arrival of the connection between two ip:port. Both ends count: the kernel
// gives the same client port to connections with different destinations. An unknown destination
// matches any.
func arrivedFrom(as []Arrival, peer, local string) *Arrival {
	for i := range as {
		if as[i].Peer == peer && (local == "" || as[i].Local == local) {
			return &as[i]
		}
	}
	return nil
}

// Explains says whether an arrival belongs to the observation: by its connection, or by the probe's id.
func (o Observation) Explains(a Arrival) bool {
	if a.ProbeID != "" && a.ProbeID == o.ID {
		return true
	}
	one := []Arrival{a}
	return a.Peer != "" && slices.ContainsFunc(o.Connections(), func(c Connection) bool { return arrivedFrom(one, c.Local, c.Remote) != nil })
}

// Connection is one of an attempt's, by both its ends as ip:port; "" where an end is not known.
type Connection struct{ Local, Remote string }

// Connections are those by which the attempt may have arrived: the client's own, and those on which its sidecar and the gateways have
// sent it on, by their logs.
func (o Observation) Connections() []Connection {
	out := []Connection{{o.Client.Local, o.Client.Remote}}
	for _, l := range o.Mesh {
		out = append(out, Connection{l.UpstreamLocal, l.UpstreamHost})
	}
	for _, h := range o.Hops {
		if h.Line != nil {
			out = append(out, Connection{h.Line.UpstreamLocal, h.Line.UpstreamHost})
		}
	}
	return out
}

// Reception is the arrival that an outcome rests on; nil for outcomes without one. Where a connection
// carried several requests, it is the probe's own.
func (o Observation) Reception() *Arrival {
	peer, local := o.Client.Local, o.Client.Remote
	if l := o.Last(); l != nil {
		peer, local = l.UpstreamLocal, l.UpstreamHost
	}
	found := arrivedFrom(o.Arrivals, peer, local)
	if found == nil {
		return nil
	}
	for i := range o.Arrivals {
		if a := &o.Arrivals[i]; a.Peer == found.Peer && a.ProbeID == o.ID {
			return a
		}
	}
	return found
}

// Reached is the address at which the attempt arrived, as ip:port; "" where it did not. Where the destination
// does not tell, it is the one to which the sidecar, or a client without one, held its connection.
func (o Observation) Reached() string {
	if a := o.Reception(); a != nil {
		return a.Local
	}
	switch l := o.Last(); {
	case !o.Blind:
		return ""
	case l == nil && !o.Captured:
		return o.Client.Remote
	case l == nil || l.UpstreamLocal == "":
		return ""
	default:
		return l.UpstreamHost
	}
}

// Encrypted says whether the destination received TLS. Where it does not tell, an answer at port 443 counts:
// real hosts answer plain text there with status 400.
func (o Observation) Encrypted() bool {
	if a := o.Reception(); a != nil || !o.Blind {
		return a != nil && a.TLS
	}
	return strings.HasSuffix(o.Reached(), ":443") && o.Client.ExitCode == 0 && (o.Client.Raw || o.Client.Shell || o.Client.HTTPCode != http.StatusBadRequest)
}

// Caused counts the arrivals that the attempt caused: by its id where the protocol carries one.
func (o Observation) Caused() int {
	n := 0
	for _, a := range o.Arrivals {
		if a.ProbeID == o.ID {
			n++
		}
	}
	if n == 0 {
		n = len(o.Arrivals)
	}
	return n
}

// Line is the sidecar's line that an outcome rests on; nil without one.
func (o Observation) Line() *AccessLog {
	l, err := decisive(o.Mesh)
	if err != nil {
		return nil
	}
	return l
}

// Last is the line of the proxy that was the last on the way: the sidecar's, or that of the last gateway. It is nil
// where that proxy has no line.
func (o Observation) Last() *AccessLog {
	if len(o.Hops) > 0 {
		return o.GatewayLine()
	}
	return o.Line()
}

// GatewayLine is the line of the last gateway on the way; nil where there was none, or where it has no line.
func (o Observation) GatewayLine() *AccessLog {
	if n := len(o.Hops); n > 0 {
		return o.Hops[n-1].Line
	}
	return nil
}
