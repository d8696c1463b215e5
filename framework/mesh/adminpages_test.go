package mesh

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

func TestFetchLines(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/clusters" {
			http.NotFound(w, r)
			return
		}
		_, _ = io.WriteString(w, "a::added_via_api::true\na::10.0.0.1:80::weight::1\n")
	}))
	defer srv.Close()
	for name, x := range map[string]struct{ path, lines, out, err string }{
		"all":      {"/clusters", "", "a::added_via_api::true\na::10.0.0.1:80::weight::1\n", ""},
		"some":     {"/clusters", "weight", "a::10.0.0.1:80::weight::1\n", ""},
		"no page":  {"/x", "", "", "404"},
		"no regex": {"/clusters", "(", "", "error parsing regexp"},
	} {
		out, err := fetchLines(t.Context(), srv.Client(), srv.URL+x.path, x.lines)
		if out != x.out || (err == nil) != (x.err == "") || err != nil && !strings.Contains(err.Error(), x.err) {
			t.Errorf("%s: %q, %v", name, out, err)
		}
	}
}

// A pod that cannot be reached is asked anew the next time, and nothing is opened after the end.
func TestAdminPagesForget(t *testing.T) {
	a := NewAdminPages(Way{Config: &rest.Config{Host: "http://127.0.0.1:1"}, Clientset: nobody(t)})
	for range 2 {
		if _, err := a.Page(t.Context(), "ns", "pod", "/clusters", ""); err == nil || !strings.Contains(err.Error(), "ask the proxy of ns/pod for /clusters") {
			t.Error(err)
		}
		if len(a.open) != 0 {
			t.Error("a port-forward that does not work is remembered")
		}
	}
	a.Close()
	a.Close()
	if _, err := a.Page(t.Context(), "ns", "pod", "/clusters", ""); err == nil || !strings.Contains(err.Error(), "the session is over") {
		t.Error(err)
	}
}

// nobody is a cluster that nobody answers for.
func nobody(t *testing.T) kubernetes.Interface {
	t.Helper()
	cs, err := kubernetes.NewForConfig(&rest.Config{Host: "http://127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	return cs
}
