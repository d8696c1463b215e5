package probe

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"mesh-egress-conformance/framework/probe/wire"
)

func try(t *testing.T, s Spec) Report {
	t.Helper()
	s.Timeout = 2000
	return Run(context.Background(), s, &Conns{}) //nolint:usetesting // bounded by its own timeout
}

// refusing is an address at which nobody listens.
func refusing(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// serving serves each connection by itself, until the test ends.
func serving(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				serve(c)
			}()
		}
	}()
	return l.Addr().String()
}

// talker accepts connections, says something, and closes.
func talker(t *testing.T, says string) string {
	t.Helper()
	return serving(t, func(c net.Conn) {
		_, _ = c.Write([]byte(says))
		// A connection that is closed with unread data is reset; this one shall end.
		_ = c.(*net.TCPConn).CloseWrite()
		_, _ = io.Copy(io.Discard, c)
	})
}

func TestExitCodes(t *testing.T) {
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }))
	defer plain.Close()
	secure := httptest.NewTLSServer(plain.Config.Handler)
	defer secure.Close()
	plainAddr, secureAddr := plain.Listener.Addr().String(), secure.Listener.Addr().String()
	silent := talker(t, "")
	sent := make(chan int64, 10)
	quiet := serving(t, func(c net.Conn) { // says nothing, and notes what it is told
		n, _ := io.Copy(io.Discard, c)
		sent <- n
	})
	for name, x := range map[string]struct {
		spec         Spec
		exit, status int
		output       string
	}{
		"http":                    {Spec{URL: "http://" + plainAddr + "/"}, 0, 418, ""},
		"http at another address": {Spec{URL: "http://nobody.invalid/", Connect: plainAddr}, 0, 418, ""},
		"http refused":            {Spec{URL: "http://" + refusing(t) + "/"}, wire.ExitRefused, 0, ""},
		"http closed":             {Spec{URL: "http://" + silent + "/"}, wire.ExitEmpty, 0, ""},
		"no such name":            {Spec{URL: "http://nobody.invalid/"}, wire.ExitDNS, 0, ""},
		"unknown certificate":     {Spec{URL: "https://" + secureAddr + "/"}, wire.ExitCert, 0, ""},
		"no TLS":                  {Spec{URL: "https://" + plainAddr + "/"}, wire.ExitTLS, 0, ""},
		"tls":                     {Spec{URL: "tls://" + secureAddr, SNI: "x.example"}, 0, 0, "certificate of"},
		"tls closed":              {Spec{URL: "tls://" + silent}, wire.ExitTLS, 0, ""},
		"tcp banner":              {Spec{URL: "tcp://" + talker(t, "hello")}, 0, 0, "hello"},
		"tcp closed":              {Spec{URL: "tcp://" + silent}, wire.ExitEmpty, 0, ""},
		"tcp refused":             {Spec{URL: "tcp://" + refusing(t)}, wire.ExitRefused, 0, ""},
		"bare":                    {Spec{URL: "tcp://" + quiet, Bare: true}, 0, 0, ""},
		"bare, and greeted":       {Spec{URL: "tcp://" + talker(t, "hello"), Bare: true}, 0, 0, "hello"},
		"bare, and closed":        {Spec{URL: "tcp://" + silent, Bare: true}, wire.ExitEmpty, 0, ""},
		"bare, and refused":       {Spec{URL: "tcp://" + refusing(t), Bare: true}, wire.ExitRefused, 0, ""},
		"keep":                    {Spec{URL: "keep://" + plainAddr + "/?conn=a"}, 0, 418, ""},
		"websocket refused":       {Spec{URL: "ws://" + plainAddr + "/"}, 0, 418, ""},
		"unknown scheme":          {Spec{URL: "gopher://x"}, wire.ExitUsage, 0, ""},
		"no URL":                  {Spec{URL: "http://%zz"}, wire.ExitUsage, 0, ""},
	} {
		r := try(t, x.spec)
		if r.ExitCode != x.exit || r.HTTPCode != x.status || !strings.Contains(r.Output, x.output) {
			t.Errorf("%s: %+v, want exit %d, status %d", name, r, x.exit, x.status)
		}
		if r.ExitCode == 0 && (r.LocalPort == 0 || r.RemotePort == 0) {
			t.Errorf("%s: the connection's ends are not reported: %+v", name, r)
		}
	}
	if n := <-sent; n != 0 {
		t.Errorf("a bare connection has carried %d bytes", n)
	}
}

// The kept connection must really be the same one.
func TestKeep(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer srv.Close()
	conns := &Conns{}
	spec := Spec{URL: "keep://" + srv.Listener.Addr().String() + "/?conn=a", Timeout: 2000}
	a, b := Run(t.Context(), spec, conns), Run(t.Context(), spec, conns)
	if a.ExitCode != 0 || b.ExitCode != 0 || a.LocalPort != b.LocalPort {
		t.Errorf("%+v %+v", a, b)
	}
	spec.URL += "b"
	if c := Run(t.Context(), spec, conns); c.LocalPort == a.LocalPort {
		t.Errorf("%+v", c)
	}
}

func FuzzDNSAnswer(f *testing.F) {
	f.Add([]byte{0x12, 0x34, 0x81, 0x83, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Add(append(dnsQuery("a.example", 1), 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4, 1, 2, 3, 4))
	f.Fuzz(func(t *testing.T, b []byte) {
		code, records, err := dnsAnswer(b, 1)
		if err == nil && (code == "" || len(records) > len(b)) {
			t.Errorf("%x: %q %v", b, code, records)
		}
	})
}

func TestDNSAnswer(t *testing.T) {
	m := dnsQuery("a.example", 1)
	m[2], m[3] = 0x81, 0x80
	binary.BigEndian.PutUint16(m[6:], 1)
	m = append(m, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4, 198, 51, 100, 10)
	code, records, err := dnsAnswer(m, 1)
	if err != nil || code != "NOERROR" || len(records) != 1 || records[0] != "198.51.100.10" {
		t.Errorf("%s %v %v", code, records, err)
	}
	if _, _, err := dnsAnswer(m[:len(m)-2], 1); err == nil {
		t.Error("a cut answer was read")
	}
}

// A command that has ended well has ended, whatever it has left running holds its output open.
func TestLeavesSomethingRunning(t *testing.T) {
	old := drain
	drain = 10 * time.Millisecond
	defer func() { drain = old }()
	for script, want := range map[string]int{"sleep 1 & echo done": 0, "sleep 1 & echo done; exit 7": 7} {
		r := handle(t.Context(), Request{Script: script, Timeout: 60000}, nil)
		if r.Error != "" || r.ExitCode != want || r.Stdout != "done\n" {
			t.Errorf("%s: %+v", script, r)
		}
	}
}
