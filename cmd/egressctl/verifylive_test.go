package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/spf13/cobra"

	"mesh-egress-conformance/framework/provider"
)

// small is a cluster that knows namespaces, and has one with the mesh settings; what its user may not do is all or nothing. It counts
// what would have changed it.
type small struct {
	t         *testing.T
	forbidden bool
	written   atomic.Int32
}

func (s *small) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	answers := map[string]string{
		"/version":           `{"gitVersion": "v1.35.0"}`,
		"/api":               `{"kind": "APIVersions", "versions": ["v1"]}`,
		"/apis":              `{"kind": "APIGroupList", "groups": []}`,
		"/api/v1":            `{"kind": "APIResourceList", "groupVersion": "v1", "resources": [{"name": "namespaces", "kind": "Namespace", "verbs": ["list"]}, {"name": "pods", "kind": "Pod", "namespaced": true, "verbs": ["list"]}]}`,
		"/api/v1/namespaces": `{"kind": "NamespaceList", "apiVersion": "v1", "metadata": {}, "items": [{"metadata": {"name": "shop", "uid": "u", "labels": {"istio-injection": "enabled"}}}]}`,
		"/api/v1/pods":       `{"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": [{"metadata": {"name": "cart", "namespace": "shop"}, "spec": {"containers": [{"name": "c"}]}}]}`,
		"/api/v1/namespaces/istio-system/configmaps/istio": `{"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "istio", "namespace": "istio-system"}, "data": {"mesh": "outboundTrafficPolicy: {mode: REGISTRY_ONLY}"}}`,
	}
	if strings.HasSuffix(r.URL.Path, "/selfsubjectaccessreviews") && r.Method == http.MethodPost {
		w.WriteHeader(http.StatusCreated)
		fmt.Fprintf(w, `{"kind": "SelfSubjectAccessReview", "apiVersion": "authorization.k8s.io/v1", "status": {"allowed": %t}}`, !s.forbidden)
		return
	}
	if r.Method != http.MethodGet {
		s.written.Add(1)
	}
	if answers[r.URL.Path] == "" {
		w.WriteHeader(http.StatusNotFound)
		_ = json.NewEncoder(w).Encode(map[string]any{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404})
		return
	}
	fmt.Fprint(w, answers[r.URL.Path])
}

// kubeconfig serves it, and says how it is reached.
func (s *small) kubeconfig() string {
	api := httptest.NewServer(s)
	s.t.Cleanup(api.Close)
	f := filepath.Join(s.t.TempDir(), "kubeconfig")
	text := fmt.Sprintf("apiVersion: v1\nkind: Config\ncurrent-context: prod\nclusters: [{name: c, cluster: {server: %q}}]\ncontexts: [{name: prod, context: {cluster: c}}]\n", api.URL)
	if err := os.WriteFile(f, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return f
}

func TestVerifyForbidden(t *testing.T) {
	s := &small{t: t, forbidden: true}
	var out, errs bytes.Buffer
	code := run([]string{"verify", "--kubeconfig", s.kubeconfig()}, &out, &errs)
	for _, want := range []string{"read cluster prod: this user may not", "list namespaces in the whole cluster", "list pods in the whole cluster", "get configmaps istio in namespace istio-system", "--print-role"} {
		if !strings.Contains(errs.String(), want) {
			t.Errorf("%q is not in %s", want, errs.String())
		}
	}
	if code != exitFault || s.written.Load() > 0 {
		t.Errorf("exit %d, %d writes", code, s.written.Load())
	}
}

// A cluster is what is verified; with files laid over it the files are, and it is what they are compared with.
func TestVerifyLive(t *testing.T) {
	entry := filepath.Join(t.TempDir(), "entry.yaml")
	if err := os.WriteFile(entry, []byte("apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: api, namespace: shop}\nspec: {hosts: [api.example], ports: [{number: 443, name: tls, protocol: TLS}]}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, x := range map[string]struct {
		args     []string
		watch    bool
		objects  int
		compared bool
	}{"a cluster": {}, "files over it": {args: []string{entry}, objects: 1, compared: true}, "files that are watched": {args: []string{entry}, watch: true, objects: 1}} {
		s := &small{t: t}
		o := &options{quiet: true, provider: provider.Auto, place: provider.Options{Kubeconfig: s.kubeconfig()}}
		v := &verifyFlags{o: o, watch: x.watch}
		cmd := &cobra.Command{}
		cmd.SetContext(t.Context())
		if err := v.take(cmd); err != nil {
			t.Fatal(err)
		}
		got := &verification{flags: v}
		var err error
		if got.now, err = v.reading(cmd, x.args); err != nil {
			t.Fatal(err)
		}
		if err := got.compare(t.Context(), x.args); err != nil {
			t.Fatal(err)
		}
		m := got.now.model
		if len(m.Objects) != x.objects || m.Mesh.Policy != "REGISTRY_ONLY" || m.Workloads[len(m.Workloads)-1].Label() != "shop/cart" {
			t.Errorf("%s: %v, %+v, %v", name, m.Objects, m.Mesh, m.Workloads)
		}
		if (got.before != nil) != x.compared || x.compared && (got.since != "cluster prod" || len(got.before.model.Objects) != 0) {
			t.Errorf("%s: compared with %q", name, got.since)
		}
		if v.isLive() || !strings.Contains(o.place.Kubeconfig, "kubeconfig") || s.written.Load() > 0 {
			t.Errorf("%s: the objects would be tried in the cluster that they are of", name)
		}
	}
}

// Whoever may not do what asking in place takes is told all of it before anything is made.
func TestInPlaceForbidden(t *testing.T) {
	s := &small{t: t, forbidden: true}
	var out, errs bytes.Buffer
	code := run([]string{"verify", "--kubeconfig", s.kubeconfig(), "--in-place"}, &out, &errs)
	for _, want := range []string{"list pods in the whole cluster", "create pods in the whole cluster", "delete pods in the whole cluster", "create configmaps", "get pods/log", "create pods/exec", "create namespaces", "--print-role --in-place", "nothing was made"} {
		if !strings.Contains(errs.String(), want) {
			t.Errorf("%q is not in %s", want, errs.String())
		}
	}
	if code != exitFault || s.written.Load() > 0 {
		t.Errorf("exit %d, %d writes", code, s.written.Load())
	}
}

// A cluster of which nothing can be asked is left alone.
func TestInPlaceNothing(t *testing.T) {
	s := &small{t: t}
	var out, errs bytes.Buffer
	code := run([]string{"verify", "--kubeconfig", s.kubeconfig(), "--in-place"}, &out, &errs)
	if code != exitFault || s.written.Load() > 0 || !strings.Contains(errs.String(), "nothing can be asked in place, and nothing was made") {
		t.Errorf("exit %d, %d writes: %s", code, s.written.Load(), errs.String())
	}
}

func TestPrintRole(t *testing.T) {
	var out, errs bytes.Buffer
	if code := run([]string{"verify", "--print-role"}, &out, &errs); code != exitOK || !strings.Contains(out.String(), "kind: ClusterRole") || strings.Contains(out.String(), "secrets") {
		t.Errorf("exit %d: %s%s", code, out.String(), errs.String())
	}
}
