package probe

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"testing"
	"testing/synctest"
	"time"

	"mesh-egress-conformance/framework/probe/wire"
)

// halfOpen takes what is written, as a socket does whose other end has closed.
type halfOpen struct{ net.Conn }

func (halfOpen) Write(p []byte) (int, error) { return len(p), nil }

// A server that closes before the request is under way has given no answer, however early its end is noticed.
func TestClosedBeforeRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		tr := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
			return newAskingConn(halfOpen{near}).wait(), nil
		}}
		defer tr.CloseIdleConnections()
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) {
			far.Close()
			synctest.Wait() // the transport has read whatever it wants to read before it writes
		}})
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://a.example/", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := tr.RoundTrip(req)
		if err == nil {
			resp.Body.Close()
			t.Fatal("a closed connection gave an answer")
		}
		if got := codeOf(err); got != wire.ExitEmpty {
			t.Errorf("%v has code %d", err, got)
		}
	})
}

// A connection that waits for a request that never comes must still end with its owner.
func TestAskingConnCloses(t *testing.T) {
	near, far := net.Pipe()
	defer far.Close()
	c := newAskingConn(near).wait()
	done := make(chan error, 1)
	go func() {
		_, err := c.Read(make([]byte, 1))
		done <- err
	}()
	c.Close()
	if err := <-done; err == nil {
		t.Error("no error")
	}
}

// A client that does not trust a certificate ends the connection, so that the proxy on its way writes its log line.
func TestRejectedCertificateEndsConnection(t *testing.T) {
	srv := httptest.NewUnstartedServer(nil)
	ended := make(chan string, 8)
	srv.Config.ConnState = func(c net.Conn, s http.ConnState) {
		if s == http.StateClosed {
			ended <- c.RemoteAddr().String()
		}
	}
	srv.StartTLS()
	defer srv.Close()
	address := srv.Listener.Addr().String()
	for name, spec := range map[string]Spec{
		"https": {URL: "https://" + address + "/", Timeout: 2000},
	} {
		r := Run(t.Context(), spec, &Conns{})
		if r.ExitCode != wire.ExitCert {
			t.Errorf("%s: %+v", name, r)
		}
		<-ended // or the test's own time limit
	}
}

// A handshake that is broken off for any reason leaves no connection behind.
func TestBrokenHandshakeEndsConnection(t *testing.T) {
	for _, scheme := range []string{"https", "tls", "grpc", "wss", "keep"} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() {
			defer l.Close()
			c, err := l.Accept()
			if err != nil {
				ended <- err
				return
			}
			defer c.Close()
			if _, err := c.Write([]byte("this is not TLS at all")); err != nil {
				ended <- err
				return
			}
			_, err = io.Copy(io.Discard, c)
			ended <- err
		}()
		if r := Run(t.Context(), Spec{URL: scheme + "://" + l.Addr().String() + "/?tls=1&conn=a", Timeout: 2000}, &Conns{}); r.ExitCode != wire.ExitTLS {
			t.Errorf("%s: %+v", scheme, r)
		}
		<-ended
	}
}

// The server says that it closes after its answer: the next request needs another connection.
func TestKeepAfterClose(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Connection", "close") }))
	defer srv.Close()
	conns := &Conns{}
	spec := Spec{URL: "keep://" + srv.Listener.Addr().String() + "/?conn=a", Timeout: 2000}
	for i := range 3 {
		if r := Run(t.Context(), spec, conns); r.ExitCode != 0 || r.HTTPCode != http.StatusOK {
			t.Fatalf("request %d: %+v", i, r)
		}
	}
}

// echoing answers what it is sent, up to a number of times, and then closes.
func echoing(t *testing.T, times int, idle time.Duration) string {
	t.Helper()
	return serving(t, func(c net.Conn) {
		buf := make([]byte, 100)
		for range times {
			n, err := c.Read(buf)
			if err != nil {
				return
			}
			if _, err := c.Write(buf[:n]); err != nil {
				return
			}
		}
		if idle > 0 {
			_ = c.SetReadDeadline(time.Now().Add(idle))
			_, _ = io.Copy(io.Discard, c)
		}
	})
}

func TestHold(t *testing.T) {
	for name, x := range map[string]struct {
		address string
		hold    Hold
		exit    int
		held    string
		output  string
	}{
		"open, answered again":          {echoing(t, 9, 0), Hold{Pause: 20, Then: "b"}, 0, HeldOpen, "b"},
		"open, not used again":          {echoing(t, 9, 0), Hold{Pause: 20}, 0, HeldOpen, "a"},
		"cut in the pause":              {echoing(t, 1, time.Millisecond), Hold{Pause: 60_000, Then: "b"}, wire.ExitEmpty, HeldCut, "a"},
		"cut in the pause, not used":    {echoing(t, 1, time.Millisecond), Hold{Pause: 60_000}, wire.ExitEmpty, HeldCut, "a"},
		"no answer the second time":     {echoing(t, 1, time.Hour), Hold{Pause: 1, Then: "b"}, wire.ExitTimeout, "", "a"},
		"never answered at all":         {talker(t, ""), Hold{Pause: 1, Then: "b"}, wire.ExitEmpty, "", ""},
		"a name that nobody has opened": {echoing(t, 9, 0), Hold{Name: "x", Resume: true}, wire.ExitInternal, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			timeout := 2000
			if x.exit == wire.ExitTimeout {
				timeout = 100
			}
			r := Run(t.Context(), Spec{URL: "tcp://" + x.address, Send: "a", Hold: &x.hold, Timeout: timeout}, &Conns{})
			if x.held == HeldCut && r.Error != "" {
				r.ExitCode = wire.ExitEmpty // whether the end or the reset of a connection is seen is a matter of timing
			}
			if r.ExitCode != x.exit || r.Held != x.held || r.Output != x.output {
				t.Errorf("%+v, want exit %d, held %q, output %q", r, x.exit, x.held, x.output)
			}
		})
	}
}

// A connection that is opened by one attempt is used by the next ones, and stays known as cut once it is.
func TestHoldOverAttempts(t *testing.T) {
	conns := &Conns{}
	address := echoing(t, 3, 0)
	open := Run(t.Context(), Spec{URL: "tcp://" + address, Send: "a", Hold: &Hold{Name: "case-1", Open: true}, Timeout: 2000}, conns)
	if open.Held != "" || open.ExitCode != 0 {
		t.Fatalf("%+v", open)
	}
	for i, want := range []string{HeldOpen, HeldOpen, HeldCut, HeldCut} {
		r := Run(t.Context(), Spec{URL: "tcp://" + address, Hold: &Hold{Name: "case-1", Resume: true, Then: "b"}, Timeout: 2000}, conns)
		if r.Held != want || r.LocalPort != open.LocalPort {
			t.Errorf("attempt %d: %+v, want %s on port %d", i, r, want, open.LocalPort)
		}
	}
	if err := conns.Release("case-"); err != nil {
		t.Fatal(err)
	}
	if r := Run(t.Context(), Spec{URL: "tcp://" + address, Hold: &Hold{Name: "case-1", Resume: true}, Timeout: 2000}, conns); r.ExitCode != wire.ExitInternal {
		t.Errorf("a released connection is still held: %+v", r)
	}
	if err := conns.Release(""); err == nil {
		t.Error("everything was released")
	}
}

// TLS is held as plain bytes are, and a pause does not spoil it.
func TestHoldTLS(t *testing.T) {
	certs := httptest.NewTLSServer(nil)
	defer certs.Close()
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: certs.TLS.Certificates, MinVersion: tls.VersionTLS12})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = io.Copy(c, c)
	}()
	r := Run(t.Context(), Spec{URL: "tls://" + l.Addr().String(), Send: "a", Hold: &Hold{Pause: 20, Then: "b"}, Timeout: 2000}, &Conns{})
	if r.ExitCode != 0 || r.Held != HeldOpen || r.Output != "b" || r.LocalPort == 0 {
		t.Errorf("%+v", r)
	}
}

func TestPage(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/clusters" {
			http.NotFound(w, r)
			return
		}
		_, _ = io.WriteString(w, "a::added_via_api::true\na::10.0.0.1:80::health_flags::healthy\n")
	}))
	defer srv.Close()
	for name, x := range map[string]struct {
		page Page
		exit int
		out  string
	}{
		"all lines":   {Page{URL: srv.URL + "/clusters"}, 0, "a::added_via_api::true\na::10.0.0.1:80::health_flags::healthy\n"},
		"some lines":  {Page{URL: srv.URL + "/clusters", Lines: "health"}, 0, "a::10.0.0.1:80::health_flags::healthy\n"},
		"no page":     {Page{URL: srv.URL + "/x"}, wire.ExitStatus, ""},
		"nobody home": {Page{URL: "http://" + refusing(t) + "/"}, wire.ExitRefused, ""},
	} {
		if r := x.page.get(t.Context(), Response{}); r.ExitCode != x.exit || r.Stdout != x.out || r.Error != "" {
			t.Errorf("%s: %+v", name, r)
		}
	}
	if r := (&Page{URL: srv.URL, Lines: "("}).get(t.Context(), Response{}); r.Error == "" {
		t.Error("a broken expression was taken")
	}
}

// Attempts of one request are made one after another, and what there is no time for is left out.
func TestBatch(t *testing.T) {
	specs := []Spec{{URL: "tcp://" + talker(t, "hello"), Timeout: 2000}, {URL: "tcp://" + refusing(t), Timeout: 2000}, {URL: "gopher://x"}}
	var reports []Report
	r := batch(t.Context(), specs, &Conns{}, Response{})
	if err := json.Unmarshal([]byte(r.Stdout), &reports); err != nil || r.Error != "" || r.ExitCode != 0 {
		t.Fatalf("%+v %v", r, err)
	}
	if len(reports) != 3 || reports[0].Output != "hello" || reports[1].ExitCode != wire.ExitRefused || reports[2].ExitCode != wire.ExitUsage {
		t.Errorf("%+v", reports)
	}
}
