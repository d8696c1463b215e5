package egress

import (
	"slices"
	"strings"
	"testing"
)

func TestProtocols(t *testing.T) {
	if !slices.IsSortedFunc(Protocols(), func(a, b Protocol) int { return strings.Compare(a.Scheme, b.Scheme) }) {
		t.Error("the table is not sorted by scheme")
	}
	for _, p := range Protocols() {
		switch {
		case p.Web && !p.Status, p.GRPC && !p.Status, p.CarriesID && !p.Status:
			t.Errorf("%s: only HTTP has what it claims", p.Scheme)
		case p.Keeps && !p.CarriesID:
			t.Errorf("%s: attempts on one connection are told apart by their ids", p.Scheme)
		case p.Stream && (p.Port == "") != p.NeedsPort:
			t.Errorf("%s: a URL has a port, or the protocol has one", p.Scheme)
		case p.TLS && !p.Stream, p.Question && p.Stream:
			t.Errorf("%s: is it a connection?", p.Scheme)
		}
	}
}

func TestProtocolOfProbe(t *testing.T) {
	for url, want := range map[string]string{"https://a.example/": "https", "tcp://a.example:5": "tcp", "gopher://a.example": "", "": ""} {
		if got := (Probe{URL: url}).Protocol().Scheme; got != want {
			t.Errorf("%q: %q, wanted %q", url, got, want)
		}
	}
	for url, raw := range map[string]bool{"https://a.example/": false, "grpc://a.example/": false, "tls://a.example": true, "dns:///a.example": true, "": false} {
		if got := (Probe{URL: url}).Raw(); got != raw {
			t.Errorf("%q: raw %t", url, got)
		}
	}
}
