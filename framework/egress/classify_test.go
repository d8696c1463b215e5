package egress

import (
	"errors"
	"testing"
)

const (
	pod    = "10.244.0.12:11000"
	up     = "10.244.0.12:40000"
	dest   = "198.51.100.10:80"
	server = "httpbin.org"
)

func client(exit, code int) ClientWitness {
	return ClientWitness{ExitCode: exit, HTTPCode: code, Local: pod, Remote: dest}
}

func shell(exit int) ClientWitness { return ClientWitness{Shell: true, ExitCode: exit, Local: pod} }

func line(cluster string, code int, flags, route string) AccessLog {
	return AccessLog{DownstreamRemote: pod, DownstreamLocal: dest, UpstreamCluster: cluster, ResponseCode: code, ResponseFlags: flags, RouteName: route}
}

func passed(cluster string) AccessLog {
	l := line(cluster, 200, "", "")
	l.UpstreamLocal, l.UpstreamHost = up, dest
	return l
}

var (
	viaProxy = []Arrival{{Seq: 1, Server: server, Peer: up, Local: dest}}
	direct   = []Arrival{{Seq: 1, Server: server, Peer: pod, Local: dest}}
	hole     = line("BlackHoleCluster", 0, "UH", "")
	block    = line("", 502, "", "block_all")
)

func TestClassify(t *testing.T) {
	const disagrees = Outcome(0)
	for name, c := range map[string]struct {
		o    Observation
		want Outcome
	}{
		"ok":                             {Observation{Client: client(0, 200), Captured: true, Mesh: []AccessLog{passed("outbound|80||httpbin.org")}, Arrivals: viaProxy}, OK},
		"ok, error of the site":          {Observation{Client: client(0, 404), Captured: true, Mesh: []AccessLog{passed("outbound|80||httpbin.org")}, Arrivals: viaProxy}, OK},
		"passthrough":                    {Observation{Client: client(0, 200), Captured: true, Mesh: []AccessLog{passed("PassthroughCluster")}, Arrivals: viaProxy}, Pass},
		"direct, no sidecar":             {Observation{Client: client(0, 200), Arrivals: direct}, Direct},
		"direct, not captured":           {Observation{Client: client(0, 200), Captured: true, Arrivals: direct}, Direct},
		"blind, ok":                      {Observation{Blind: true, Client: client(0, 200), Captured: true, Mesh: []AccessLog{passed("outbound|80||httpbin.org")}}, OK},
		"blind, passthrough":             {Observation{Blind: true, Client: client(0, 200), Captured: true, Mesh: []AccessLog{passed("PassthroughCluster")}}, Pass},
		"blind, error":                   {Observation{Blind: true, Client: client(0, 503), Captured: true, Mesh: []AccessLog{passed("outbound|80||httpbin.org")}}, disagrees},
		"blind, direct":                  {Observation{Blind: true, Client: client(0, 200)}, Direct},
		"blind, certificate":             {Observation{Blind: true, Client: client(60, 0)}, CERT},
		"blind, timeout":                 {Observation{Blind: true, Client: client(28, 0)}, TMO},
		"blind, blocked":                 {Observation{Blind: true, Client: client(35, 0), Captured: true, Mesh: []AccessLog{hole}}, BRST},
		"blind, unseen":                  {Observation{Blind: true, Client: client(35, 0), Captured: true}, disagrees},
		"blocked http":                   {Observation{Client: client(0, 502), Captured: true, Mesh: []AccessLog{block}}, B502},
		"blocked tls":                    {Observation{Client: client(35, 0), Captured: true, Mesh: []AccessLog{hole}}, BRST},
		"blocked plain":                  {Observation{Client: client(52, 0), Captured: true, Mesh: []AccessLog{hole}}, BRST},
		"blocked reset":                  {Observation{Client: client(56, 0), Captured: true, Mesh: []AccessLog{hole}}, BRST},
		"blocked pipeline":               {Observation{Client: shell(1), Captured: true, Mesh: []AccessLog{hole}}, BRST},
		"no healthy upstream":            {Observation{Client: client(0, 503), Captured: true, Mesh: []AccessLog{line("outbound|80||x", 503, "UH", "")}}, S503UH},
		"upstream failure":               {Observation{Client: client(0, 503), Captured: true, Mesh: []AccessLog{line("outbound|80||x", 503, "URX,UF", "")}}, S503UF},
		"upstream failure, tcp":          {Observation{Client: client(35, 0), Captured: true, Mesh: []AccessLog{line("outbound|443||x", 0, "UF", "")}}, S503UF},
		"no cluster, by the Gateway API": {Observation{Client: client(0, 500), Captured: true, Mesh: []AccessLog{{ResponseCode: 500, ResponseFlags: "NC", ResponseDetails: "cluster_not_found"}}}, S503NC},
		"no cluster":                     {Observation{Client: client(0, 503), Captured: true, Mesh: []AccessLog{line("", 503, "NC", "")}}, S503NC},
		"overflow":                       {Observation{Client: client(0, 503), Captured: true, Mesh: []AccessLog{line("outbound|80||x", 503, "UO", "")}}, S503UO},
		"no route":                       {Observation{Client: client(0, 404), Captured: true, Mesh: []AccessLog{line("", 404, "NR", "")}}, S404NR},
		"timeout of the route":           {Observation{Client: client(0, 504), Captured: true, Mesh: []AccessLog{line("outbound|80||x", 504, "UT", "")}}, S504UT},
		"rbac":                           {Observation{Client: client(0, 403), Captured: true, Mesh: []AccessLog{{ResponseCode: 403, ResponseDetails: "rbac_access_denied_matched_policy[none]"}}}, S403RBAC},
		"no upgrade":                     {Observation{Client: client(0, 403), Captured: true, Mesh: []AccessLog{{ResponseCode: 403, ResponseDetails: "upgrade_failed"}}}, S403UPG},
		"client timeout":                 {Observation{Client: client(28, 0)}, TMO},
		"refused":                        {Observation{Client: client(7, 0)}, REF},
		"no such name":                   {Observation{Client: client(6, 0), Captured: true}, DNSX},
		"certificate, direct":            {Observation{Client: client(60, 0), Arrivals: direct}, CERT},
		"certificate, via mesh":          {Observation{Client: client(60, 0), Captured: true, Mesh: []AccessLog{passed("outbound|443||x")}, Arrivals: viaProxy}, CERT},
		"inbound line ignored":           {Observation{Client: client(0, 502), Captured: true, Mesh: []AccessLog{line("inbound|8080||", 502, "", ""), block}}, B502},

		"answer from nowhere":                {Observation{Client: client(0, 200), Captured: true}, disagrees},
		"answer, no arrival":                 {Observation{Client: client(0, 200), Captured: true, Mesh: []AccessLog{passed("outbound|80||x")}}, disagrees},
		"answer, arrival of another port":    {Observation{Client: client(0, 200), Captured: true, Mesh: []AccessLog{passed("outbound|80||x")}, Arrivals: []Arrival{{Peer: up, Local: "198.51.100.10:443"}}}, disagrees},
		"blocked but arrived":                {Observation{Client: client(35, 0), Captured: true, Mesh: []AccessLog{hole}, Arrivals: viaProxy}, disagrees},
		"502 but arrived":                    {Observation{Client: client(0, 502), Captured: true, Mesh: []AccessLog{block}, Arrivals: viaProxy}, disagrees},
		"blocked, client says 200":           {Observation{Client: client(0, 200), Captured: true, Mesh: []AccessLog{hole}}, disagrees},
		"block_all, client says 200":         {Observation{Client: client(0, 200), Captured: true, Mesh: []AccessLog{block}}, disagrees},
		"502 of the destination":             {Observation{Client: client(0, 502), Captured: true, Mesh: []AccessLog{line("outbound|80||x", 502, "", "default")}}, disagrees},
		"failed, nobody saw it":              {Observation{Client: client(35, 0), Captured: true}, disagrees},
		"failed behind an allowing sidecar":  {Observation{Client: client(52, 0), Captured: true, Mesh: []AccessLog{passed("outbound|80||x")}, Arrivals: viaProxy}, disagrees},
		"timeout behind the sidecar":         {Observation{Client: client(28, 0), Captured: true, Mesh: []AccessLog{passed("outbound|80||x")}}, disagrees},
		"dns failure but arrived":            {Observation{Client: client(6, 0), Arrivals: direct}, disagrees},
		"two lines that differ":              {Observation{Client: client(0, 200), Captured: true, Mesh: []AccessLog{passed("outbound|80||x"), hole}, Arrivals: viaProxy}, disagrees},
		"line of a client without a sidecar": {Observation{Client: client(0, 502), Mesh: []AccessLog{block}}, disagrees},
		"unknown cluster":                    {Observation{Client: client(0, 200), Captured: true, Mesh: []AccessLog{passed("prometheus_stats")}, Arrivals: viaProxy}, disagrees},
		"flag says failure, client says 200": {Observation{Client: client(0, 200), Captured: true, Mesh: []AccessLog{line("outbound|80||x", 503, "UF", "")}}, disagrees},
		"no upstream connection in the line": {Observation{Client: client(0, 200), Captured: true, Mesh: []AccessLog{line("outbound|80||x", 200, "", "")}}, disagrees},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Classify(c.o)
			if got != c.want {
				t.Errorf("got %s (%v), want %s", got, err, c.want)
			}
			if (err != nil) != (c.want == disagrees) || (err != nil && !errors.Is(err, ErrDisagree)) {
				t.Errorf("unexpected error %v", err)
			}
		})
	}
}

// Without any witness but the client, nothing may be called blocked.
func TestNeverBlockedByOneWitness(t *testing.T) {
	for exit := range 100 {
		for _, code := range []int{0, 200, 403, 404, 500, 502, 503, 504} {
			for _, captured := range []bool{false, true} {
				got, err := Classify(Observation{Client: client(exit, code), Captured: captured})
				if err == nil && got&^(TMO|REF|DNSX|CERT) != 0 {
					t.Errorf("exit %d status %d captured %t: %s with one witness", exit, code, captured, got)
				}
			}
		}
	}
}

// Where the destination does not tell, the sidecar's line says where the attempt arrived, and how.
func TestReachedBlind(t *testing.T) {
	encrypted := passed("outbound|80||httpbin.org")
	encrypted.UpstreamHost = "198.51.100.10:443"
	hop := passed("outbound|80||istio-egressgateway.istio-system.svc.cluster.local")
	for name, x := range map[string]struct {
		o         Observation
		reached   string
		encrypted bool
	}{
		"plain":             {Observation{Blind: true, Client: client(0, 200), Captured: true, Mesh: []AccessLog{passed("outbound|80||httpbin.org")}}, dest, false},
		"encrypted":         {Observation{Blind: true, Client: client(0, 200), Captured: true, Mesh: []AccessLog{encrypted}}, "198.51.100.10:443", true},
		"plain at 443":      {Observation{Blind: true, Client: client(0, 400), Captured: true, Mesh: []AccessLog{encrypted}}, "198.51.100.10:443", false},
		"through a gateway": {Observation{Blind: true, Client: client(0, 200), Captured: true, Mesh: []AccessLog{hop}, Hops: []Hop{{Gateway: "g", Line: &encrypted}}}, "198.51.100.10:443", true},
		"no sidecar":        {Observation{Blind: true, Client: client(0, 200)}, dest, false},
		"blocked":           {Observation{Blind: true, Client: client(0, 502), Captured: true, Mesh: []AccessLog{block}}, "", false},
		"seen, not blind":   {Observation{Client: client(0, 200), Captured: true, Mesh: []AccessLog{encrypted}}, "", false},
	} {
		if got := x.o.Reached(); got != x.reached {
			t.Errorf("%s: reached %q, wanted %q", name, got, x.reached)
		}
		if got := x.o.Encrypted(); got != x.encrypted {
			t.Errorf("%s: encrypted %t", name, got)
		}
	}
}
