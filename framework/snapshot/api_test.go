package snapshot

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	authv1 "k8s.io/api/authorization/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"mesh-egress-conformance/framework/kube"
	"mesh-egress-conformance/framework/verify"
)

// api is an API server that has some objects, and notes what it is asked.
type api struct {
	t *testing.T
	// lacking are kinds, as Kind.group, that it does not have.
	lacking []string
	// versions are those of a group, in the server's order; a kind is in all of them but for what only has.
	versions map[string][]string
	only     map[string]string // the one version that has a kind, by Kind.group
	// forbidden are what its user may not do, as says has it.
	forbidden []string
	// expire is after how many pages of a list it has forgotten it, once; 0 for never.
	expire int

	mu      sync.Mutex
	objects map[string][]map[string]any // by path of their list
	asked   []string                    // METHOD path?query, discovery left out
	expired bool
}

// newAPI has the objects of a text.
func newAPI(t *testing.T, text string) *api {
	t.Helper()
	a := &api{t: t, objects: map[string][]map[string]any{}, only: map[string]string{}, versions: map[string][]string{"": {"v1"}}}
	for doc := range strings.SplitSeq(text, "\n---\n") {
		var o map[string]any
		if err := yaml.Unmarshal([]byte(doc), &o); err != nil {
			t.Fatalf("%v in %s", err, doc)
		}
		a.add(o)
	}
	return a
}

// resources are all that it has, Secrets among them.
func (a *api) resources() []verify.Resource {
	all := slices.Concat(verify.Resources(), verify.InPlaceResources())
	all = append(all, verify.Resource{Kind: "Secret", Name: "secrets"}, verify.Resource{Kind: "ConfigMap", Name: "configmaps"})
	return slices.DeleteFunc(all, func(r verify.Resource) bool { return slices.Contains(a.lacking, r.Kind+"."+r.Group) })
}

func (a *api) add(o map[string]any) {
	kind := fmt.Sprint(o["kind"])
	group, _, found := strings.Cut(fmt.Sprint(o["apiVersion"]), "/")
	if !found {
		group = ""
	}
	i := slices.IndexFunc(a.resources(), func(r verify.Resource) bool { return r.Kind == kind && r.Group == group })
	if i < 0 {
		a.t.Fatalf("no resource for %v", o)
	}
	meta := o["metadata"].(map[string]any)
	name := a.resources()[i].Name
	if meta["uid"] == nil {
		meta["uid"] = fmt.Sprintf("%s %v/%v", kind, meta["namespace"], meta["name"])
	}
	meta["resourceVersion"], meta["managedFields"] = "7", []any{map[string]any{"manager": "kubectl"}}
	key := group + "/" + name
	a.objects[key] = append(a.objects[key], o)
}

func (a *api) versionsOf(group string) []string {
	if v := a.versions[group]; v != nil {
		return v
	}
	return []string{"v1"}
}

func (a *api) start() *rest.Config {
	s := httptest.NewServer(a)
	a.t.Cleanup(s.Close)
	return &rest.Config{Host: s.URL, QPS: -1, ContentConfig: rest.ContentConfig{ContentType: "application/json"}}
}

func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	switch {
	case r.URL.Path == "/api":
		reply(w, map[string]any{"kind": "APIVersions", "versions": []string{"v1"}})
	case r.URL.Path == "/apis":
		reply(w, map[string]any{"kind": "APIGroupList", "apiVersion": "v1", "groups": a.groups()})
	case parts[0] == "api" && len(parts) == 2:
		reply(w, a.list("", parts[1]))
	case parts[0] == "apis" && len(parts) == 3:
		reply(w, a.list(parts[1], parts[2]))
	default:
		a.mu.Lock()
		defer a.mu.Unlock()
		q := r.URL.Query()
		q.Del("timeout")
		a.asked = append(a.asked, strings.TrimSuffix(r.Method+" "+r.URL.Path+"?"+q.Encode(), "?"))
		if strings.HasSuffix(r.URL.Path, "/selfsubjectaccessreviews") && r.Method == http.MethodPost {
			a.review(w, r)
			return
		}
		if parts[0] == "api" {
			a.objectsOf(w, "", parts[2:], r.URL.Query())
			return
		}
		a.objectsOf(w, parts[1], parts[3:], r.URL.Query())
	}
}

func (a *api) groups() []any {
	var out []any
	seen := map[string]bool{}
	for _, r := range a.resources() {
		if r.Group == "" || seen[r.Group] {
			continue
		}
		seen[r.Group] = true
		var versions []any
		for _, v := range a.versionsOf(r.Group) {
			versions = append(versions, map[string]any{"groupVersion": r.Group + "/" + v, "version": v})
		}
		out = append(out, map[string]any{"name": r.Group, "versions": versions, "preferredVersion": versions[0]})
	}
	return out
}

// list are the kinds of a version.
func (a *api) list(group, version string) any {
	resources := []any{}
	for _, r := range a.resources() {
		if only := a.only[r.Kind+"."+r.Group]; r.Group == group && (only == "" || only == version) {
			resources = append(resources, map[string]any{"name": r.Name, "kind": r.Kind, "namespaced": r.Kind != "Namespace", "verbs": []string{"get", "list"}},
				map[string]any{"name": r.Name + "/status", "kind": r.Kind, "namespaced": true, "verbs": []string{"get"}})
		}
	}
	return map[string]any{"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": strings.TrimPrefix(group+"/"+version, "/"), "resources": resources}
}

func (a *api) review(w http.ResponseWriter, r *http.Request) {
	var x authv1.SelfSubjectAccessReview
	if err := json.NewDecoder(r.Body).Decode(&x); err != nil {
		a.t.Error(err)
	}
	x.Status.Allowed = !slices.Contains(a.forbidden, kube.Permission(*x.Spec.ResourceAttributes))
	reply(w, x)
}

// objectsOf answers [namespaces NS] RESOURCE [NAME].
func (a *api) objectsOf(w http.ResponseWriter, group string, path []string, q url.Values) {
	namespace := ""
	if len(path) > 2 && path[0] == "namespaces" {
		namespace, path = path[1], path[2:]
	}
	var all []any
	for _, o := range a.objects[group+"/"+path[0]] {
		meta := o["metadata"].(map[string]any)
		if namespace != "" && meta["namespace"] != namespace {
			continue
		}
		if len(path) == 2 && meta["name"] == path[1] {
			reply(w, o)
			return
		}
		item := map[string]any{}
		for k, v := range o {
			if group != "" || k != "kind" && k != "apiVersion" { // which lists of Kubernetes' own kinds do not repeat
				item[k] = v
			}
		}
		all = append(all, item)
	}
	if len(path) == 2 {
		fail(w, http.StatusNotFound, "NotFound")
		return
	}
	a.page(w, group, path[0], all, q)
}

func (a *api) page(w http.ResponseWriter, group, name string, all []any, q url.Values) {
	from, _ := strconv.Atoi(q.Get("continue"))
	limit, err := strconv.Atoi(q.Get("limit"))
	if err != nil || limit < 1 {
		a.t.Errorf("a list of %s without a limit: %v", name, q)
		limit = len(all)
	}
	if a.expire > 0 && !a.expired && from >= a.expire*limit {
		a.expired = true
		fail(w, http.StatusGone, "Expired")
		return
	}
	i := slices.IndexFunc(a.resources(), func(r verify.Resource) bool { return r.Group == group && r.Name == name })
	meta := map[string]any{}
	end := min(from+limit, len(all))
	if end < len(all) {
		meta["continue"] = strconv.Itoa(end)
	}
	reply(w, map[string]any{"kind": a.resources()[i].Kind + "List", "apiVersion": strings.TrimPrefix(group+"/"+a.versionsOf(group)[0], "/"), "metadata": meta, "items": all[from:end]})
}

func reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

func fail(w http.ResponseWriter, code int, reason string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	reply(w, map[string]any{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code})
}
