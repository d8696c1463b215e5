package internet

import (
	"io"
	"net"
	"testing"
)

// Envoy keeps connections that it did not need. When the first request comes over one, readers have long gone on from the connection's
// own entry.
func TestRequestOverOldConnection(t *testing.T) {
	s, h, _ := start(t)
	c, err := net.Dial("tcp", addrOf(t, h, "httpbin.org"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "GET /headers HTTP/1.1\r\n"); err != nil { // the connection is accepted when this is read
		t.Fatal(err)
	}
	var next int64
	for next = 1; next == 1; {
		next = s.log.since(0).Next
	}
	bare := last(t, s, "httpbin.org")
	if bare.Kind != "tcp" {
		t.Fatalf("%+v", bare)
	}
	if _, err := io.WriteString(c, "Host: httpbin.org\r\nX-Egress-Probe: p-1\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	got := s.log.since(next)
	if len(got.Arrivals) != 1 || got.Arrivals[0].ProbeID != "p-1" || got.Arrivals[0].Seq != next || got.Next != next+1 {
		t.Errorf("a reader that has seen the connection is told %+v", got)
	}
	if all := s.log.since(0).Arrivals; len(all) != 1 || all[0].Seq != next {
		t.Errorf("a reader of everything is told %+v", all)
	}
	s.log.amend(bare.Seq, nil) // the entry that was taken away is nobody's any more
}
