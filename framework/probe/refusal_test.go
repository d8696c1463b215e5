package probe

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"mesh-egress-conformance/framework/probe/wire"
)

// A proxy writes its line of a connection when that has ended, so one whose certificate is refused must not stay open.
func TestRefusedCertificateEndsConnection(t *testing.T) {
	ended := make(chan struct{}, 1)
	srv := httptest.NewUnstartedServer(http.NotFoundHandler())
	srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateClosed {
			ended <- struct{}{}
		}
	}
	srv.StartTLS()
	defer srv.Close()
	if r := try(t, Spec{URL: srv.URL}); r.ExitCode != wire.ExitCert {
		t.Fatalf("%+v", r)
	}
	<-ended
}

// A gRPC call that is refused has HTTP status 200, and the reason in its gRPC status.
func TestGRPCStatus(t *testing.T) {
	for _, status := range []string{"0", "14"} {
		srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/grpc")
			w.Header().Set("Grpc-Status", status)
		}))
		srv.Config.Protocols = new(http.Protocols)
		srv.Config.Protocols.SetUnencryptedHTTP2(true)
		srv.Start()
		r := try(t, Spec{URL: strings.Replace(srv.URL, "http", "grpc", 1) + "/svc/Call"})
		srv.Close()
		if r.ExitCode != 0 || r.HTTPCode != http.StatusOK || r.GRPC != status || !strings.Contains(r.Output, "grpc-status "+status) {
			t.Errorf("grpc-status %s: %+v", status, r)
		}
	}
}

// Every connection has ended when its attempt has, also where HTTP/2 still had something to tidy up.
func TestConnectionsEnd(t *testing.T) {
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Grpc-Status", "0") }))
	srv.Config.Protocols = new(http.Protocols)
	srv.Config.Protocols.SetUnencryptedHTTP2(true)
	var open sync.WaitGroup
	srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			open.Add(1)
		}
		if s == http.StateClosed {
			open.Done()
		}
	}
	srv.Start()
	for range 300 {
		if r := try(t, Spec{URL: strings.Replace(srv.URL, "http", "grpc", 1) + "/svc/Call", Timeout: 60_000}); r.ExitCode != 0 {
			t.Fatalf("%+v", r)
		}
	}
	ended := make(chan struct{})
	go func() { open.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(20 * time.Second): // much less than an attempt may take
		t.Error("a connection is still open")
	}
	srv.Close()
}
