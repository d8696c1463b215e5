package pods

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/fixture"
	"mesh-egress-conformance/framework/procgroup"
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
	cmd := exec.CommandContext(ctx, p.istioctl, "kube-inject", "--kubeconfig", p.kubecfg, "-f", "-")
	if c.Revision != "" {
		cmd.Args = append(cmd.Args, "--revision", c.Revision)
	}
	if len(c.Values) > 0 {
		files, err := p.localInjection(ctx, c.Revision, c.Values)
		if err != nil {
			return nil, err
		}
		stop, err := handOver(cmd, files)
		if err != nil {
			return nil, fmt.Errorf("hand the injection template to istioctl: %w", err)
		}
		defer stop()
	}
	cmd.Stdin = &in
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	if err := procgroup.Run(cmd); err != nil {
		return nil, fmt.Errorf("istioctl kube-inject: %w: %s", err, strings.TrimSpace(stderr.String()))
	}
	return fixture.Parse(ctx, out.Bytes())
}

// option is a flag of a command that names a file, and the file's content.
type option struct {
	flag    string
	content []byte
}

// handOver gives a command files through pipes (/dev/fd/3 and so on), so that nothing is left on the disk, however
// this process ends. stop closes the pipes once the command has ended.
func handOver(cmd *exec.Cmd, files []option) (stop func(), err error) {
	var open []*os.File
	stop = func() {
		for _, f := range open {
			f.Close()
		}
	}
	for _, o := range files {
		read, write, err := os.Pipe()
		if err != nil {
			stop()
			return nil, err
		}
		open = append(open, read, write)
		cmd.ExtraFiles = append(cmd.ExtraFiles, read)
		cmd.Args = append(cmd.Args, o.flag, fmt.Sprintf("/dev/fd/%d", 2+len(cmd.ExtraFiles)))
		go func() { // more than a pipe holds
			_, _ = write.Write(o.content) // whoever does not read it says why
			write.Close()
		}()
	}
	return stop, nil
}

// injector is the ConfigMap with the template that istiod's webhook uses, and the values that Istio was
// installed with.
const injector = "istio-sidecar-injector"

// injectorOf is that of a revision; "" for the default one.
func injectorOf(revision string) string {
	if revision == "" {
		return injector
	}
	return injector + "-" + revision
}

// localInjection reads template and values, changes the values, and returns the options with which istioctl uses
// them (Istio, "Installing the Sidecar", manual injection).
func (p *Pods) localInjection(ctx context.Context, revision string, change egress.Object) ([]option, error) {
	cm, err := p.cs.CoreV1().ConfigMaps("istio-system").Get(ctx, injectorOf(revision), metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("read the injection template: %w", err)
	}
	var values egress.Object
	if err := json.Unmarshal([]byte(cm.Data["values"]), &values); err != nil {
		return nil, fmt.Errorf("read the values in ConfigMap %s: %w", cm.Name, err)
	}
	changed, err := json.Marshal(overlay(values, change))
	if err != nil {
		return nil, err
	}
	return []option{{"--injectConfigFile", []byte(cm.Data["config"])}, {"--valuesFile", changed}}, nil
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
