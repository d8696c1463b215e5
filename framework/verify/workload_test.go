package verify

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/validation"
)

// What runs as the sidecar's user or group goes past it: the container's own wins over the pod's.
func TestRunAs(t *testing.T) {
	for name, x := range map[string]struct {
		pod         string
		containers  []string
		user, group int64
	}{
		"nobody says":                  {"", []string{""}, 0, 0},
		"the pod's user":               {"runAsUser: 1337", []string{""}, 1337, 0},
		"the pod's group":              {"runAsGroup: 1337", []string{""}, 0, 1337},
		"the container's group":        {"", []string{"runAsGroup: 1337"}, 0, 1337},
		"the container has another":    {"runAsUser: 1337, runAsGroup: 1337", []string{"runAsUser: 1000, runAsGroup: 1000"}, 0, 0},
		"another user and its group":   {"runAsUser: 1337, runAsGroup: 1337", []string{"runAsUser: 1000"}, 0, 1337},
		"one of two containers":        {"", []string{"runAsUser: 1000", "runAsUser: 1337"}, 1337, 0},
		"the first of two":             {"", []string{"runAsUser: 1337", "runAsUser: 1000"}, 1337, 0},
		"another number":               {"runAsUser: 13370, runAsGroup: 0", []string{""}, 0, 0},
		"the sidecar's own, beside it": {"", []string{"", "runAsUser: 1337"}, 0, 0},
	} {
		var b strings.Builder
		for i, c := range x.containers {
			called := "app"
			if i == 1 && strings.HasPrefix(name, "the sidecar") {
				called = "istio-proxy"
			}
			b.WriteString("{name: " + called + ", image: x, securityContext: {" + c + "}}, ")
		}
		m := modelOf(t, nsShop+"---\napiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: shop}\nspec: {securityContext: {"+x.pod+"}, containers: ["+b.String()+"]}\n")
		w := m.Workloads[1] // behind elsewhere/any
		if k := m.Clients(m.Classes(true))[1]; w.User != x.user || w.Group != x.group || k.User != x.user || k.StandIn.Group != x.group || k.Escapes != (x.user+x.group > 0) {
			t.Errorf("%s: %+v, stand-in %+v", name, w, k)
		}
	}
}

// The cluster's own namespaces have no sidecars, and no workload is assumed in them.
func TestUninjected(t *testing.T) {
	service := "---\napiVersion: v1\nkind: Service\nmetadata: {name: s, namespace: NS}\nspec: {ports: [{port: 80}]}\n"
	for namespace, want := range map[string]string{"kube-system": "", "kube-public": "", "local-path-storage": "", "kube-tools": "kube-tools/agent", "istio-system": "istio-system/agent"} {
		for _, more := range []string{"", strings.ReplaceAll(service, "NS", namespace)} {
			m := modelOf(t, strings.Replace(deployment(namespace, "agent", "app: agent", "", ""), "Deployment", "DaemonSet", 1)+more)
			var got []string
			for _, w := range m.Workloads {
				if w.Namespace != StrangerNamespace {
					got = append(got, w.Label())
				}
			}
			assumed := strings.Contains(strings.Join(m.Assumed, "\n"), "namespace "+namespace)
			if strings.Join(got, " ") != want || assumed != (namespace == "kube-tools") || (want == "") != strings.Contains(m.Notices.Error(), "have no sidecar") {
				t.Errorf("%s: %v\n%v\n%v", namespace, got, m.Assumed, m.Notices)
			}
		}
	}
}

func TestNameOfDeployment(t *testing.T) {
	for in, want := range map[string]string{
		"cart": "cart", "Cart.v1_a": "cart-v1-a", strings.Repeat("a", 49) + "-b": strings.Repeat("a", 49), strings.Repeat("a", 60): strings.Repeat("a", 50),
		"---": "workload", "": "workload", "--" + strings.Repeat("a", 48) + ".-b": strings.Repeat("a", 48),
	} {
		if got := dns1123(in); got != want || len(validation.IsDNS1123Label(got)) > 0 {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// A gateway's pod needs its service account, and nothing else of the input makes it.
func TestGatewayAccount(t *testing.T) {
	gateway := func(name, spec string) string {
		return deployment("shop", name, "inject.istio.io/templates: gateway", "", spec)
	}
	m := modelOf(t, nsShop+gateway("a", "serviceAccountName: out, ")+gateway("b", "serviceAccountName: out, ")+gateway("c", ""))
	var got []string
	for _, x := range m.Objects {
		got = append(got, x.String()+" "+x.Where())
	}
	if len(got) != 4 || got[0] != "ServiceAccount shop/out standard input:6" || !strings.HasPrefix(got[1], "Deployment shop/a") {
		t.Errorf("%q", got)
	}
}

// A sidecar is injected by the ProxyConfigs that are there then, so stand-ins of two versions that differ in them are two.
func TestProxyConfigs(t *testing.T) {
	config := func(namespace, spec string) string {
		return "---\napiVersion: networking.istio.io/v1beta1\nkind: ProxyConfig\nmetadata: {name: p, namespace: " + namespace + "}\nspec: {" + spec + "}\n"
	}
	const env = "environmentVariables: {ISTIO_META_DNS_CAPTURE: 'true'}"
	was := modelOf(t, nsShop+cart)
	for name, x := range map[string]struct {
		text string
		same bool
	}{
		"none":                 {"", true},
		"of its namespace":     {config("shop", env), false},
		"of the mesh":          {config("istio-system", env), false},
		"of another namespace": {config("pay", env), true},
		"that selects it":      {config("shop", "selector: {matchLabels: {app: cart}}, "+env), false},
		"that selects another": {config("shop", "selector: {matchLabels: {app: bank}}, "+env), true},
	} {
		m := modelOf(t, nsShop+cart+x.text)
		of := func(m *Model) string {
			for _, w := range m.Workloads {
				if w.Name == "cart" {
					return w.client("c", m.Mesh).StandIn.Proxy
				}
			}
			return "no workload"
		}
		if (of(m) == of(was)) != x.same {
			t.Errorf("%s: %q", name, of(m))
		}
	}
	m := modelOf(t, nsShop+cart+config("shop", "image: {imageType: distroless}, concurrency: 1"))
	if m.Objects[0].At("spec", "image") != nil || !strings.Contains(m.Notices.Error(), "the image is left out") || m.Objects[0].At("spec", "concurrency") == nil {
		t.Errorf("%v %v", m.Objects, m.Notices)
	}
}
