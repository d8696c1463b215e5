package egress

import (
	"errors"
	"testing"
)

// disagrees stands for an observation that proves nothing.
const disagrees = Outcome(0)

func check(t *testing.T, o Observation, want Outcome) {
	t.Helper()
	got, err := Classify(o)
	if got != want {
		t.Errorf("got %s (%v), want %s", got, err, want)
	}
	if (err != nil) != (want == disagrees) || (err != nil && !errors.Is(err, ErrDisagree)) {
		t.Errorf("unexpected error %v", err)
	}
}

// Only an arrival proves that an attempt was led elsewhere; then it does not matter what the client made of the answer.
func TestLedElsewhere(t *testing.T) {
	const other = "www.example"
	mesh := []AccessLog{passed("outbound|443||x")}
	for name, c := range map[string]struct {
		o    Observation
		want Outcome
	}{
		"answered":                          {Observation{Target: other, Client: client(0, 200), Captured: true, Mesh: mesh, Arrivals: viaProxy}, Led},
		"answered through passthrough":      {Observation{Target: other, Client: client(0, 200), Captured: true, Mesh: []AccessLog{passed("PassthroughCluster")}, Arrivals: viaProxy}, Led},
		"the certificate is not accepted":   {Observation{Target: other, Client: client(60, 0), Captured: true, Mesh: mesh, Arrivals: viaProxy}, Led},
		"the handshake fails":               {Observation{Target: other, Client: client(35, 0), Captured: true, Mesh: mesh, Arrivals: viaProxy}, Led},
		"the other host does not answer":    {Observation{Target: other, Client: client(28, 0), Captured: true, Mesh: mesh, Arrivals: viaProxy}, Led},
		"the other host's error":            {Observation{Target: other, Client: client(0, 503), Captured: true, Mesh: mesh, Arrivals: viaProxy}, Led},
		"without a sidecar":                 {Observation{Target: other, Client: client(60, 0), Arrivals: direct}, Led},
		"where it is meant to go":           {Observation{Target: server, Client: client(0, 200), Captured: true, Mesh: mesh, Arrivals: viaProxy}, OK},
		"there, certificate not accepted":   {Observation{Target: server, Client: client(60, 0), Captured: true, Mesh: mesh, Arrivals: viaProxy}, CERT},
		"anywhere":                          {Observation{Target: Anywhere, Client: client(0, 200), Captured: true, Mesh: mesh, Arrivals: viaProxy}, OK},
		"the proxy failed on the way":       {Observation{Target: other, Client: client(0, 503), Captured: true, Mesh: []AccessLog{line("outbound|443||x", 503, "UF", "")}, Arrivals: viaProxy}, S503UF},
		"nothing of it arrived":             {Observation{Target: other, Client: client(60, 0), Captured: true, Mesh: mesh}, disagrees},
		"another connection's arrival":      {Observation{Target: other, Client: client(0, 200), Captured: true, Mesh: mesh, Arrivals: []Arrival{{Server: server, Peer: "10.244.0.12:40001", Local: dest}}}, disagrees},
		"blocked, says the sidecar":         {Observation{Target: other, Client: client(35, 0), Captured: true, Mesh: []AccessLog{hole}, Arrivals: viaProxy}, disagrees},
		"no line, an arrival of its own id": {Observation{Target: other, ID: "p-1", Client: client(60, 0), Captured: true, Arrivals: []Arrival{{Server: server, Peer: up, Local: dest, ProbeID: "p-1"}}}, disagrees},
		"the destination does not tell":     {Observation{Target: other, Blind: true, Client: client(0, 200), Captured: true, Mesh: mesh}, OK},
	} {
		t.Run(name, func(t *testing.T) { check(t, c.o, c.want) })
	}
}

// TLS within TLS is what the destination received, and never what a failed handshake looks like.
func TestDoubleTLS(t *testing.T) {
	mesh := []AccessLog{passed("outbound|443||x")}
	within := []Arrival{{Server: server, Peer: up, Local: dest, Kind: "tls", TLS: true, DoubleTLS: true}}
	handshake := []Arrival{{Server: server, Peer: up, Local: dest, Kind: "tls", TLS: true}}
	for name, c := range map[string]struct {
		o    Observation
		want Outcome
	}{
		"the client's handshake fails":       {Observation{Client: client(35, 0), Captured: true, Mesh: mesh, Arrivals: within}, DoubleTLS},
		"the client times out":               {Observation{Client: client(28, 0), Captured: true, Answered: true, Mesh: mesh, Arrivals: within}, DoubleTLS},
		"through passthrough":                {Observation{Client: client(35, 0), Captured: true, Mesh: []AccessLog{passed("PassthroughCluster")}, Arrivals: within}, DoubleTLS},
		"at another host":                    {Observation{Target: "www.example", Client: client(35, 0), Captured: true, Mesh: mesh, Arrivals: within}, Led},
		"the server understands it":          {Observation{Client: client(0, 200), Captured: true, Mesh: mesh, Arrivals: within}, OK},
		"the handshake fails, or is slow":    {Observation{Client: client(35, 0), Captured: true, Mesh: mesh, Arrivals: handshake}, disagrees},
		"another connection's":               {Observation{Client: client(35, 0), Captured: true, Mesh: mesh, Arrivals: []Arrival{{Server: server, Peer: "10.244.0.12:40001", Local: dest, TLS: true, DoubleTLS: true}}}, disagrees},
		"blocked, says the sidecar":          {Observation{Client: client(35, 0), Captured: true, Mesh: []AccessLog{hole}, Arrivals: within}, disagrees},
		"the destination does not tell":      {Observation{Blind: true, Client: client(35, 0), Captured: true, Mesh: mesh}, disagrees},
		"a client that has no sidecar of it": {Observation{Client: client(35, 0), Arrivals: within}, disagrees},
	} {
		t.Run(name, func(t *testing.T) { check(t, c.o, c.want) })
	}
}

// A timeout is the mesh's doing only where the client has a sidecar and the control client was answered, and where no
// witness says that the question went by another way.
func TestStalled(t *testing.T) {
	mesh := []AccessLog{line("outbound|443||x", 0, "DC", "")}
	sent := passed("outbound|443||x")
	sent.ResponseCode, sent.ResponseFlags = 0, "DC"
	for name, c := range map[string]struct {
		o    Observation
		want Outcome
	}{
		"the sidecar holds it":              {Observation{Answered: true, Client: client(28, 0), Captured: true, Mesh: mesh}, Stall},
		"it arrived, and no answer came":    {Observation{Answered: true, Target: server, Client: client(28, 0), Captured: true, Mesh: []AccessLog{sent}, Arrivals: viaProxy}, Stall},
		"nobody saw it":                     {Observation{Answered: true, Client: client(28, 0), Captured: true}, Stall},
		"at a gateway":                      {Observation{Answered: true, Client: client(28, 0), Captured: true, Mesh: []AccessLog{sent}, Hops: []Hop{{Gateway: "g", Line: &mesh[0]}}}, Stall},
		"at a gateway that says nothing":    {Observation{Answered: true, Client: client(28, 0), Captured: true, Mesh: []AccessLog{sent}, Hops: []Hop{{Gateway: "g"}}}, disagrees},
		"the control client waits too":      {Observation{Client: client(28, 0), Captured: true, Mesh: mesh}, disagrees},
		"it never had a connection":         {Observation{Answered: true, Client: ClientWitness{ExitCode: 28}, Captured: true}, TMO},
		"that, and no line":                 {Observation{Client: client(28, 0), Captured: true}, TMO},
		"the client has no sidecar":         {Observation{Answered: true, Client: client(28, 0)}, TMO},
		"it arrived past the sidecar":       {Observation{Answered: true, Client: client(28, 0), Captured: true, Arrivals: direct}, disagrees},
		"no line, and nobody to ask":        {Observation{Answered: true, Blind: true, Client: client(28, 0), Captured: true}, TMO},
		"blocked, says the sidecar":         {Observation{Answered: true, Client: client(28, 0), Captured: true, Mesh: []AccessLog{hole}}, disagrees},
		"the route's timeout":               {Observation{Answered: true, Client: client(0, 504), Captured: true, Mesh: []AccessLog{line("outbound|80||x", 504, "UT", "")}}, S504UT},
		"two lines that say different ways": {Observation{Answered: true, Client: client(28, 0), Captured: true, Mesh: []AccessLog{mesh[0], sent, hole}}, disagrees},
	} {
		t.Run(name, func(t *testing.T) { check(t, c.o, c.want) })
	}
}

// A proxy answers a gRPC call with HTTP status 200 and says in the gRPC status why it refuses it.
func TestGRPC(t *testing.T) {
	call := func(status string) ClientWitness {
		c := client(0, 200)
		c.GRPC = status
		return c
	}
	refused := func(flags, route, details string) []AccessLog {
		l := line("outbound|80||x", 200, flags, route)
		l.ResponseDetails = details
		return []AccessLog{l}
	}
	answer := passed("outbound|80||x")
	answer.ResponseDetails = "via_upstream"
	for name, c := range map[string]struct {
		o    Observation
		want Outcome
	}{
		"answered":                       {Observation{Client: call("0"), Captured: true, Mesh: []AccessLog{answer}, Arrivals: viaProxy}, OK},
		"the server's own error":         {Observation{Client: call("14"), Captured: true, Mesh: []AccessLog{answer}, Arrivals: viaProxy}, OK},
		"no healthy upstream":            {Observation{Client: call("14"), Captured: true, Mesh: refused("UH", "", "no_healthy_upstream")}, S503UH},
		"upstream failure":               {Observation{Client: call("14"), Captured: true, Mesh: refused("URX,UF", "", "")}, S503UF},
		"no route":                       {Observation{Client: call("12"), Captured: true, Mesh: refused("NR", "", "route_not_found")}, S404NR},
		"timeout of the route":           {Observation{Client: call("4"), Captured: true, Mesh: refused("UT", "", "response_timeout")}, S504UT},
		"rbac":                           {Observation{Client: call("7"), Captured: true, Mesh: refused("", "", "rbac_access_denied_matched_policy[none]")}, S403RBAC},
		"an abort that a rule orders":    {Observation{Client: call("14"), Captured: true, Mesh: refused("FI", "", "fault_filter_abort")}, Self},
		"blocked":                        {Observation{Client: call("14"), Captured: true, Mesh: refused("", "block_all", "direct_response")}, B502},
		"blocked, but the call succeeds": {Observation{Client: call("0"), Captured: true, Mesh: refused("", "block_all", "direct_response")}, disagrees},
		"blocked, with another status":   {Observation{Client: call("5"), Captured: true, Mesh: refused("", "block_all", "direct_response")}, disagrees},
		"refused, but the call succeeds": {Observation{Client: call("0"), Captured: true, Mesh: refused("UF", "", "")}, disagrees},
		"refused, but it is no gRPC":     {Observation{Client: client(0, 200), Captured: true, Mesh: refused("UF", "", "")}, disagrees},
		"a status that nobody explains":  {Observation{Client: call("14"), Captured: true}, disagrees},
		"a status without an arrival":    {Observation{Client: call("14"), Captured: true, Mesh: []AccessLog{answer}}, disagrees},
	} {
		t.Run(name, func(t *testing.T) { check(t, c.o, c.want) })
	}
	for _, status := range []int{400, 401, 403, 404, 429, 500, 502, 503, 504} {
		if !call(grpcOf(status)).Says(status) || call("0").Says(status) || !call(grpcOf(status)).Refused() {
			t.Errorf("HTTP status %d as gRPC status %s", status, grpcOf(status))
		}
	}
	if !call("0").Says(200) || call("0").Refused() || client(0, 200).Says(503) {
		t.Error("a call that succeeded")
	}
}

// The way leads from gateway to gateway; the last one's line decides, and each must have one.
func TestHops(t *testing.T) {
	const gate, second = "10.244.0.20:8443", "10.244.0.21:8443"
	toGateway, onward, out := passed("outbound|443||first"), passed("outbound|443||second"), passed("outbound|443||x")
	toGateway.UpstreamHost, onward.UpstreamHost = gate, second
	onward.UpstreamLocal, out.UpstreamLocal = "10.244.0.20:50000", "10.244.0.21:50000"
	arrival := []Arrival{{Server: server, Peer: "10.244.0.21:50000", Local: dest}}
	blocked := hole
	for name, c := range map[string]struct {
		hops     []Hop
		client   ClientWitness
		arrivals []Arrival
		want     Outcome
	}{
		"two gateways":                        {[]Hop{{"a", &onward}, {"b", &out}}, client(0, 200), arrival, OK},
		"the second blocks":                   {[]Hop{{"a", &onward}, {"b", &blocked}}, client(35, 0), nil, BRST},
		"the second has no line":              {[]Hop{{"a", &onward}, {"b", nil}}, client(0, 200), arrival, disagrees},
		"the first has no line":               {[]Hop{{"a", nil}}, client(0, 200), arrival, disagrees},
		"blocks, but it arrived":              {[]Hop{{"a", &onward}, {"b", &blocked}}, client(35, 0), arrival, disagrees},
		"nothing arrived from the second":     {[]Hop{{"a", &onward}, {"b", &out}}, client(0, 200), viaProxy, disagrees},
		"a gateway that nobody knows follows": {[]Hop{{"a", &onward}}, client(0, 200), arrival, disagrees},
	} {
		t.Run(name, func(t *testing.T) {
			check(t, Observation{Client: c.client, Captured: true, Mesh: []AccessLog{toGateway}, Hops: c.hops, Arrivals: c.arrivals}, c.want)
		})
	}
}
