package pods

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/fixture"
)

// inject adds the sidecar with istioctl, as Istio's documents do for clusters without a webhook.
func (p *Pods) inject(ctx context.Context, c egress.Client, objs []*fixture.Object) ([]*fixture.Object, error) {
	var in bytes.Buffer
	for _, o := range objs {
		b, err := o.MarshalJSON()
		if err != nil {
			return nil, err
		}
		in.WriteString("---\n")
		in.Write(b)
		in.WriteByte('\n')
	}
	args := []string{"kube-inject", "--kubeconfig", p.kubecfg, "-f", "-"}
	if len(c.Values) > 0 {
		dir, err := os.MkdirTemp("", "egress-inject-")
		if err != nil {
			return nil, fmt.Errorf("make a folder for the injection template: %w", err)
		}
		defer os.RemoveAll(dir)
		more, err := p.localInjection(ctx, dir, c.Values)
		if err != nil {
			return nil, err
		}
		args = append(args, more...)
	}
	cmd := exec.CommandContext(ctx, p.istioctl, args...)
	cmd.Stdin = &in
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("istioctl kube-inject: %w: %s", err, strings.TrimSpace(stderr.String()))
	}
	return fixture.Parse(ctx, out.Bytes())
}

// injector is the ConfigMap with the template that istiod's webhook uses, and the values that Istio was
// installed with.
const injector = "istio-sidecar-injector"

// localInjection copies template and values into a folder, the values changed, and returns the arguments with
// which istioctl uses the copies (Istio, "Installing the Sidecar", manual injection).
func (p *Pods) localInjection(ctx context.Context, dir string, change egress.Object) ([]string, error) {
	cm, err := p.cs.CoreV1().ConfigMaps("istio-system").Get(ctx, injector, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("read the injection template: %w", err)
	}
	var values egress.Object
	if err := json.Unmarshal([]byte(cm.Data["values"]), &values); err != nil {
		return nil, fmt.Errorf("read the values in ConfigMap %s: %w", injector, err)
	}
	changed, err := json.Marshal(overlay(values, change))
	if err != nil {
		return nil, err
	}
	template, value := filepath.Join(dir, "template.yaml"), filepath.Join(dir, "values.json")
	for file, content := range map[string][]byte{template: []byte(cm.Data["config"]), value: changed} {
		if err := os.WriteFile(file, content, 0o600); err != nil {
			return nil, fmt.Errorf("copy the injection template: %w", err)
		}
	}
	return []string{"--injectConfigFile", template, "--valuesFile", value}, nil
}

// overlay returns values with others laid over them, as Helm does it.
func overlay(under, over egress.Object) egress.Object {
	out := maps.Clone(under)
	if out == nil {
		out = egress.Object{}
	}
	for k, v := range over {
		a, _ := out[k].(egress.Object)
		if b, ok := v.(egress.Object); ok {
			v = overlay(a, b)
		}
		out[k] = v
	}
	return out
}
