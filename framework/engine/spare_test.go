package engine

import (
	"testing"

	"mesh-egress-conformance/framework/egress"
)

// A connection that Envoy opened and never used proves nothing, where another probe was led to that server.
func TestSpare(t *testing.T) {
	used := egress.Arrival{Seq: 1, Server: "multi.example", Peer: clientIP + ":40001", Local: siteAddr, Kind: "http"}
	for name, x := range map[string]struct {
		a      egress.Arrival
		joined map[int64]bool
		want   bool
	}{
		"never used":           {egress.Arrival{Seq: 2, Server: "multi.example", Local: siteAddr, Kind: "tcp"}, map[int64]bool{1: true}, true},
		"never used, in TLS":   {egress.Arrival{Seq: 2, Server: "multi.example", Local: siteAddr, Kind: "tls"}, map[int64]bool{1: true}, true},
		"used":                 {egress.Arrival{Seq: 2, Server: "multi.example", Local: siteAddr, Kind: "http"}, map[int64]bool{1: true}, false},
		"at another port":      {egress.Arrival{Seq: 2, Server: "multi.example", Local: "198.51.100.10:5432", Kind: "tcp"}, map[int64]bool{1: true}, false},
		"at another server":    {egress.Arrival{Seq: 2, Server: "evil.example", Local: siteAddr, Kind: "tcp"}, map[int64]bool{1: true}, false},
		"nobody was led there": {egress.Arrival{Seq: 2, Server: "multi.example", Local: siteAddr, Kind: "tcp"}, nil, false},
	} {
		if got := spare(x.a, clientIP, []egress.Arrival{used, x.a}, x.joined); got != x.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
