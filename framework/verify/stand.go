package verify

import (
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/input"
	"mesh-egress-conformance/framework/manifest"
)

// credential is a Secret that a rule names, where a proxy that follows the rule looks for it.
type credential struct{ namespace, name string }

// credentials are those that gateways and DestinationRules of the model name.
func (m *Model) credentials() []credential {
	var wanted []credential
	add := func(namespace, name string) {
		if p := (credential{namespace, strings.TrimSuffix(name, "-cacert")}); name != "" && !strings.Contains(name, "://") && !slices.Contains(wanted, p) {
			wanted = append(wanted, p)
		}
	}
	spaces := []string{RootNamespace} // where gateways are
	for _, x := range m.Objects {
		if len(templates[x.Kind()]) > 0 {
			spaces = append(spaces, x.Namespace())
		}
	}
	for _, x := range m.Objects {
		for _, name := range credentialNames(x.Fields["spec"]) {
			for _, ns := range append([]string{x.Namespace()}, spaces...) {
				add(ns, name)
			}
		}
	}
	return wanted
}

// Secrets are the model's credentials with certificates that work in place of the team's own: placeholders, which the internet's
// certificates take the place of.
func (m *Model) Secrets() []egress.Object {
	var out []egress.Object
	for _, p := range m.credentials() {
		if m.withheld(p.namespace) {
			continue
		}
		out = append(out, egress.Object{
			"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"name": p.name, "namespace": p.namespace},
			"stringData": map[string]any{"tls.crt": "${CLIENT_CERT}", "tls.key": "${CLIENT_KEY}", "ca.crt": "${INTERNET_CA}"},
		})
	}
	return out
}

// credentialNames are the names of Secrets in a spec.
func credentialNames(v any) []string {
	var out []string
	switch v := v.(type) {
	case map[string]any:
		for _, k := range sortedKeys(v) {
			if name, ok := v[k].(string); ok && k == "credentialName" {
				out = append(out, name)
				continue
			}
			out = append(out, credentialNames(v[k])...)
		}
	case []any:
		for _, x := range v {
			out = append(out, credentialNames(x)...)
		}
	}
	return out
}

// Applied are the objects as data.
func (m *Model) Applied() []egress.Object {
	out := make([]egress.Object, len(m.Objects))
	for i, x := range m.Objects {
		out[i] = x.Fields
	}
	return out
}

// GatewayAPI says whether some object is of the Gateway API.
func (m *Model) GatewayAPI() bool {
	return slices.ContainsFunc(m.Objects, func(x manifest.Object) bool { return x.Group() == "gateway.networking.k8s.io" })
}

// Refused notes an object, by its place, that the API server or a webhook did not take.
func (m *Model) Refused(i int, err error) {
	x := m.Objects[i]
	if m.refused == nil {
		m.refused = map[string]bool{}
	}
	m.refused[x.String()] = true
	m.Mistakes = append(m.Mistakes, input.Mistake{File: x.File, Line: x.Line, What: fmt.Sprintf("%s is refused: %v", x, root(err))})
}

// root is the innermost reason of an error.
func root(err error) error {
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return err
		}
		err = next
	}
}

// Unstarted notes a class whose stand-in did not start.
func (m *Model) Unstarted(c Class, err error) {
	w := c.Members[0]
	m.unasked = append(m.unasked, c.Members...)
	m.Mistakes = append(m.Mistakes, input.Mistake{File: cmp.Or(w.File, "assumed"), Line: w.Line, What: fmt.Sprintf("the stand-in of %s did not start, and is not asked: %v", w.Label(), err)})
}

// Apart gives those clients of a former version that a later one has in another way names of their own, in their classes too. It
// returns those that the later version does not have. Where both have a client alike, one pod answers for both, unless the mesh or a
// ProxyConfig sets its proxy otherwise: what is set there counts when a pod starts.
func (m *Model) Apart(classes []Class, later *Model, laterClients []egress.Client) []egress.Client {
	var out []egress.Client
	proxies := reflect.DeepEqual(m.ofProxies(), later.ofProxies())
	for i, k := range m.Clients(classes) {
		at := slices.IndexFunc(laterClients, func(x egress.Client) bool { return x.Name == k.Name })
		if at >= 0 && proxies && reflect.DeepEqual(k, laterClients[at]) {
			continue
		}
		if at >= 0 {
			k.Name, k.Workload = k.Name+"-before", k.Workload+"-before"
			classes[i].Client = k.Name
		}
		out = append(out, k)
	}
	return out
}

// ofProxies is all that proxies take over when their pods start, and that is not said by the pods themselves.
func (m *Model) ofProxies() []any {
	out := []any{m.Mesh.Config["defaultConfig"]}
	for _, x := range m.Objects {
		if x.Kind() == "ProxyConfig" {
			out = append(out, x.Fields)
		}
	}
	return out
}
