package existing

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mesh-egress-conformance/framework/cluster"
)

func kubeconfig(t *testing.T, server string) string {
	t.Helper()
	f := filepath.Join(t.TempDir(), "config")
	text := fmt.Sprintf("apiVersion: v1\nkind: Config\ncurrent-context: here\nclusters: [{name: c, cluster: {server: %q}}]\ncontexts: [{name: here, context: {cluster: c}}]\n", server)
	if err := os.WriteFile(f, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestOpen(t *testing.T) {
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/version" {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"major":"1","minor":"36","gitVersion":"v1.36.3"}`)
	}))
	defer api.Close()
	c, err := New(kubeconfig(t, api.URL), "").Open(t.Context(), "any")
	if err != nil {
		t.Fatal(err)
	}
	if f := c.Facts(); f.Kubernetes != "v1.36.3" || !f.Foreign || c.Name() != "here" {
		t.Errorf("%s %+v", c.Name(), f)
	}
	if mine, yours := c.RESTConfig(), c.RESTConfig(); mine == yours {
		t.Error("callers share one configuration")
	}
}

func TestOpenFails(t *testing.T) {
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	for name, x := range map[string]struct {
		p    *Provider
		want string
	}{
		"no file":         {New(filepath.Join(t.TempDir(), "none"), ""), "no such file"},
		"unknown context": {New(kubeconfig(t, gone.URL), "there"), `"there"`},
		"nobody there":    {New(kubeconfig(t, gone.URL), ""), "is the cluster up"},
	} {
		_, err := x.p.Open(t.Context(), "")
		if err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: %v, wanted %q", name, err, x.want)
		}
	}
	p := New("", "")
	if _, err := p.Up(t.Context(), cluster.Options{}); err == nil {
		t.Error("it makes a cluster")
	}
	if err := p.Down(t.Context(), "x"); err == nil || !strings.Contains(err.Error(), "egressctl clean") {
		t.Errorf("down: %v", err)
	}
}
