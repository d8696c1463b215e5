package harness

import (
	"testing"

	"sigs.k8s.io/yaml"

	"mesh-egress-conformance/framework/egress"
)

// A stand-in to which a rule leads must be ready before anything is asked.
func TestCalled(t *testing.T) {
	const service = `{kind: Service, metadata: {name: cart, namespace: shop}, spec: {selector: {app: cart}}}`
	route := func(host string) string {
		return `{kind: VirtualService, metadata: {name: r, namespace: shop}, spec: {hosts: [api.example.com], http: [{route: [{destination: {host: ` + host + `}}]}]}}`
	}
	for name, x := range map[string]struct {
		objects []string
		want    bool
	}{
		"a Service that no rule names":   {[]string{service, route("api.example.com")}, false},
		"a route to the Service":         {[]string{service, route("cart")}, true},
		"by its whole name":              {[]string{service, route("cart.shop.svc.cluster.local")}, true},
		"to another of a longer name":    {[]string{service, route("carts")}, false},
		"a Service of other pods":        {[]string{`{kind: Service, metadata: {name: cart, namespace: shop}, spec: {selector: {app: other}}}`, route("cart")}, false},
		"a Service of another namespace": {[]string{`{kind: Service, metadata: {name: cart, namespace: bank}, spec: {selector: {app: cart}}}`, route("cart")}, false},
		"a Service without selector":     {[]string{`{kind: Service, metadata: {name: cart, namespace: shop}, spec: {}}`, route("cart")}, false},
		"two Services":                   {[]string{service, `{kind: Service, metadata: {name: cart-2, namespace: shop}, spec: {selector: {app: cart}, externalName: cart}}`}, false},
		"an entry of its pods":           {[]string{`{kind: ServiceEntry, metadata: {name: e, namespace: shop}, spec: {workloadSelector: {labels: {app: cart}}}}`}, true},
		"an entry of others":             {[]string{`{kind: ServiceEntry, metadata: {name: e, namespace: shop}, spec: {workloadSelector: {labels: {app: other}}}}`}, false},
	} {
		var objects []egress.Object
		for _, text := range x.objects {
			var o egress.Object
			if err := yaml.Unmarshal([]byte(text), &o); err != nil {
				t.Fatal(err)
			}
			objects = append(objects, o)
		}
		c := egress.Client{Name: "c", Namespace: "shop", StandIn: &egress.StandIn{Labels: map[string]string{"app": "cart", "v": "1"}}}
		if got := called(objects, c); got != x.want {
			t.Errorf("%s: %t", name, got)
		}
		c.StandIn.InPlace = true
		if called(objects, c) || called(objects, egress.Client{Namespace: "shop"}) {
			t.Errorf("%s: one that never becomes ready, or is no stand-in, is waited for", name)
		}
	}
}
