package probe

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

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
