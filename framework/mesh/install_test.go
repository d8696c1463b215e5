package mesh

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
)

const istiodDeployment = `apiVersion: apps/v1
kind: Deployment
metadata:
  name: istiod
spec:
  template:
    spec:
      containers:
        - name: discovery
          readinessProbe:
            httpGet:
              path: /ready
              port: 8080
            initialDelaySeconds: 7
            periodSeconds: 30
            timeoutSeconds: 5
`

// However the chart words it, the probe is changed; a chart without it is an error, since reports tell of the change.
func TestEagerProbe(t *testing.T) {
	other := "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: istio\n"
	for name, x := range map[string]struct {
		in string
		ok bool
	}{
		"among others":       {"---\n# Source: a\n" + other + "\n---\n# Source: b\n" + istiodDeployment + "\n---\n" + other, true},
		"alone":              {istiodDeployment, true},
		"another container":  {strings.ReplaceAll(istiodDeployment, "discovery", "other"), false},
		"no readiness probe": {strings.ReplaceAll(istiodDeployment, "readinessProbe", "livenessProbe"), false},
		"no Deployment":      {other, false},
	} {
		out, err := eagerProbe{}.Run(bytes.NewBufferString(x.in))
		if !x.ok {
			if err == nil || !strings.Contains(err.Error(), "readiness probe") {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got := out.String()
		for _, want := range []string{"initialDelaySeconds: 0\n", "periodSeconds: 1\n", "timeoutSeconds: 5\n", "path: /ready\n"} {
			if strings.Count(got, want) != 1 {
				t.Errorf("%s: %q is missing in\n%s", name, want, got)
			}
		}
		if strings.Count(got, "kind: ConfigMap") != strings.Count(x.in, "kind: ConfigMap") || strings.Count(got, "\n---\n") != strings.Count(x.in, "\n---\n") {
			t.Errorf("%s: other documents have changed:\n%s", name, got)
		}
	}
}

func TestInstalledForReaders(t *testing.T) {
	for name, x := range map[string]struct {
		o       Options
		log     string
		account any
	}{
		"for cases":        {Options{}, "JSON", nil},
		"for Istio's docs": {Options{TextLog: true, EgressAccount: "its-own"}, "TEXT", values{"name": "its-own"}},
	} {
		if got := istiodValues(x.o)["meshConfig"].(values)["accessLogEncoding"]; got != x.log {
			t.Errorf("%s: access log %v", name, got)
		}
		if got := strings.Join(Deviations(x.o), "; "); !strings.Contains(got, "as "+x.log) {
			t.Errorf("%s: a reader is told %q", name, got)
		}
		if got := gatewayValues(x.o, EgressGateway)["serviceAccount"]; !reflect.DeepEqual(got, x.account) {
			t.Errorf("%s: egress gateway with service account %v", name, got)
		}
		if got := gatewayValues(x.o, IngressGateway)["serviceAccount"]; got != nil {
			t.Errorf("%s: ingress gateway with service account %v", name, got)
		}
	}
}
