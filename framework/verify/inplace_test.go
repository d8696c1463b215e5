package verify

import (
	"slices"
	"strings"
	"testing"

	"mesh-egress-conformance/framework/manifest"
)

// inPlaceModel is the model of a cluster that has the objects of a text.
func inPlaceModel(t *testing.T, text string) (*Model, *manifest.Set) {
	t.Helper()
	set := manifest.Read(t.Context(), []string{"-"}, manifest.Options{Stdin: strings.NewReader(text)})
	return NewModel(set, ModelOptions{InPlace: true}), set
}

// A class is asked in place unless a pod with its labels would touch something else, or cannot be had.
func TestUntouched(t *testing.T) {
	object := func(api, kind, name, spec string) string {
		return "---\napiVersion: " + api + "\nkind: " + kind + "\nmetadata: {name: " + name + ", namespace: shop}\nspec: {" + spec + "}\n"
	}
	const pdb, hpa = "policy/v1", "autoscaling/v2"
	for name, x := range map[string]struct{ text, want string }{
		"a workload":                    {cart, ""},
		"a Service":                     {cart + object("v1", "Service", "cart", "selector: {app: cart}"), ""},
		"a headless Service":            {cart + object("v1", "Service", "cart", "clusterIP: None, selector: {app: cart}"), ""},
		"of pods that are not ready":    {cart + object("v1", "Service", "cart", "publishNotReadyAddresses: true, selector: {app: cart}"), "publishNotReadyAddresses"},
		"of others that are not":        {cart + object("v1", "Service", "cart", "publishNotReadyAddresses: true, selector: {app: other}"), ""},
		"a budget":                      {cart + object(pdb, "PodDisruptionBudget", "b", "selector: {matchLabels: {app: cart}}"), "PodDisruptionBudget shop/b selects it"},
		"a budget of all":               {cart + object(pdb, "PodDisruptionBudget", "b", "selector: {}"), "PodDisruptionBudget"},
		"a budget of none":              {cart + object(pdb, "PodDisruptionBudget", "b", "minAvailable: 1"), ""},
		"a budget by an expression":     {cart + object(pdb, "PodDisruptionBudget", "b", "selector: {matchExpressions: [{key: app, operator: In, values: [cart]}]}"), "PodDisruptionBudget"},
		"a budget of others":            {cart + object(pdb, "PodDisruptionBudget", "b", "selector: {matchExpressions: [{key: app, operator: NotIn, values: [cart]}]}"), ""},
		"a budget that cannot be read":  {cart + object(pdb, "PodDisruptionBudget", "b", "selector: {matchExpressions: [{key: app, operator: Like}]}"), "PodDisruptionBudget"},
		"an autoscaler":                 {cart + object(hpa, "HorizontalPodAutoscaler", "h", "scaleTargetRef: {kind: Deployment, name: cart}"), "HorizontalPodAutoscaler shop/h scales it"},
		"an autoscaler of others":       {cart + object(hpa, "HorizontalPodAutoscaler", "h", "scaleTargetRef: {kind: Deployment, name: other}"), ""},
		"of another kind of its name":   {cart + object(hpa, "HorizontalPodAutoscaler", "h", "scaleTargetRef: {kind: StatefulSet, name: cart}"), ""},
		"that counts pods of its label": {cart + object(hpa, "HorizontalPodAutoscaler", "h", "scaleTargetRef: {kind: Queue, name: q}") + object("q.example/v1", "Queue", "q", "selector: {matchLabels: {app: cart}}"), "HorizontalPodAutoscaler"},
		"host network":                  {deployment("shop", "cart", "app: cart", "", "hostNetwork: true, "), "hostNetwork"},
		"ambient":                       {"---\napiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {istio.io/dataplane-mode: ambient}}\n" + cart, "ambient"},
		"out of ambient mode":           {"---\napiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {istio.io/dataplane-mode: ambient}}\n" + deployment("shop", "cart", "app: cart, istio.io/dataplane-mode: none", "", ""), ""},
		"a sidecar of its own":          {object("apps/v1", "Deployment", "cart", "template: {metadata: {labels: {app: cart}}, spec: {containers: [{name: c, image: x}, {name: istio-proxy, image: x}]}}"), "in its own template"},
		"pods that keep apart": {
			deployment("shop", "cart", "app: cart", "", "affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {app: cart}}}]}}, "), "keeps its own pods away",
		},
		"pods that would like to": {
			deployment("shop", "cart", "app: cart", "", "affinity: {podAntiAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, podAffinityTerm: {topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {app: cart}}}}]}}, "), "",
		},
		"pods that spread": {
			deployment("shop", "cart", "app: cart", "", "topologySpreadConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app: cart}}}], "), "topologySpreadConstraints",
		},
	} {
		m, set := inPlaceModel(t, x.text)
		got, err := m.InPlace(set, m.Classes(false), Logs{Written: true})
		why := ""
		for _, k := range m.Mistakes {
			why += k.What
		}
		if (x.want == "") != (err == nil) || (x.want == "") != (len(got) == 1) || x.want == "" && why != "" || !strings.Contains(why, x.want) {
			t.Errorf("%s: %d classes, %q, %v; want %q", name, len(got), why, err, x.want)
		}
		if err != nil && !strings.Contains(err.Error(), "nothing was made") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Where the first of a class cannot be asked, another one answers for all.
func TestAbleMember(t *testing.T) {
	m, set := inPlaceModel(t, nsShop+deployment("shop", "a", "app: a", "", "")+deployment("shop", "b", "app: b", "", "")+"---\napiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {name: a, namespace: shop}\nspec: {selector: {matchLabels: {app: a}}}\n")
	got, err := m.InPlace(set, m.Classes(false), Logs{Written: true})
	if err != nil || len(got) != 1 || got[0].Label() != "shop/b" || len(got[0].Members) != 2 || len(m.Mistakes) > 0 {
		t.Errorf("%v %v %v", got, err, m.Mistakes)
	}
	c := m.InPlaceClients(got)[0]
	if c.Namespace != "shop" || !c.StandIn.InPlace || c.StandIn.Labels["app"] != "b" || len(c.StandIn.NamespaceLabels) > 0 {
		t.Errorf("%+v", c)
	}
}

// In place nobody stands for what nobody has written, and nothing is assumed or left out.
func TestInPlaceModel(t *testing.T) {
	m, _ := inPlaceModel(t, nsShop+deployment("shop", "cart", "app: cart, istio.io/rev: canary", "", "")+"---\napiVersion: v1\nkind: Namespace\nmetadata: {name: empty}\n"+
		"---\napiVersion: gateway.networking.k8s.io/v1\nkind: BackendTLSPolicy\nmetadata: {name: b, namespace: shop}\n---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: n, namespace: shop}\n")
	if len(m.Workloads) != 1 || len(m.Assumed)+len(m.Ignored)+len(m.Mistakes)+len(m.Notices) > 0 {
		t.Errorf("%v %v %v %v %v", m.Workloads, m.Assumed, m.Ignored, m.Mistakes, m.Notices)
	}
	if rev := m.InPlaceClients(m.Classes(false))[0].StandIn.Labels["istio.io/rev"]; rev != "canary" {
		t.Errorf("it is bound to revision %q", rev)
	}
}

func TestLogs(t *testing.T) {
	telemetry := func(namespace, spec string) string {
		name := "t-" + namespace
		if strings.HasPrefix(spec, "selector") {
			name = "of-some"
		}
		return "---\napiVersion: telemetry.istio.io/v1\nkind: Telemetry\nmetadata: {name: " + name + ", namespace: " + namespace + "}\nspec: {" + spec + "}\n"
	}
	own := func(logging string) string { return telemetry("shop", "accessLogging: [{"+logging+"}]") }
	mesh := Logs{Written: true, Providers: []string{"envoy"}}
	for name, x := range map[string]struct {
		logs Logs
		text string
		want bool
	}{
		"of the mesh":                 {mesh, "", true},
		"none":                        {Logs{Providers: []string{"envoy"}}, "", false},
		"a Telemetry":                 {Logs{Providers: []string{"envoy"}}, own("providers: [{name: envoy}]"), true},
		"of the root namespace":       {Logs{Providers: []string{"envoy"}}, telemetry(RootNamespace, "accessLogging: [{providers: [{name: envoy}]}]"), true},
		"of another namespace":        {Logs{Providers: []string{"envoy"}}, telemetry("pay", "accessLogging: [{providers: [{name: envoy}]}]"), false},
		"of another provider":         {mesh, own("providers: [{name: otel}]"), false},
		"of the provider above":       {mesh, own("match: {mode: CLIENT_AND_SERVER}"), true},
		"disabled":                    {mesh, own("disabled: true"), false},
		"some of it":                  {mesh, own(`filter: {expression: "response.code >= 400"}`), false},
		"of what is called":           {mesh, own("match: {mode: SERVER}, providers: [{name: envoy}]"), false},
		"of the workload":             {mesh, own("disabled: true") + telemetry("shop", "selector: {matchLabels: {app: cart}}, accessLogging: [{providers: [{name: envoy}]}]"), true},
		"of another workload":         {mesh, own("disabled: true") + telemetry("shop", "selector: {matchLabels: {app: pay}}, accessLogging: [{providers: [{name: envoy}]}]"), false},
		"a Telemetry of something":    {mesh, telemetry("shop", "metrics: [{}]"), true},
		"of the namespace, and above": {mesh, telemetry(RootNamespace, "accessLogging: [{disabled: true}]") + own("providers: [{name: envoy}]"), true},
	} {
		m, set := inPlaceModel(t, cart+x.text)
		got, err := m.InPlace(set, m.Classes(false), x.logs)
		if (err == nil) != x.want || (len(got) == 1) != x.want {
			t.Errorf("%s: %v, %v", name, got, err)
		}
		if err != nil && (!strings.Contains(err.Error(), "kind: Telemetry") || !strings.Contains(err.Error(), "Nothing was made")) {
			t.Errorf("%s: it does not say what to do: %v", name, err)
		}
	}
	// Where some sidecars write none, the others are asked.
	m, set := inPlaceModel(t, cart+deployment("pay", "pay", "app: pay", "", "")+own("disabled: true"))
	got, err := m.InPlace(set, m.Classes(false), mesh)
	if err != nil || len(got) != 1 || got[0].Label() != "pay/pay" || len(m.Mistakes) != 1 || !strings.Contains(m.Mistakes[0].What, "no access log that can be read (Telemetry shop/t-shop)") {
		t.Errorf("%v %v %v", got, err, m.Mistakes)
	}
	if !slices.ContainsFunc(m.unasked, func(w Workload) bool { return w.Label() == "shop/cart" }) {
		t.Error("nobody knows that it was not asked")
	}
}
