package pods

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/fixture"
	"mesh-egress-conformance/framework/kube"
)

// Customization is what client pods need on a cluster whose DNS, images and trust are not the harness's: they bring
// their own. A nil *Customization is a cluster of the harness, where all of that is in place.
type Customization struct {
	DNS      string            // address of the name server that knows the hermetic internet; "" keeps the cluster's
	CA       []byte            // bundle that clients and proxies trust; nil keeps the images' own
	Agent    string            // file of the probe agent, copied into each client
	Image    string            // image of the clients, with a shell and curl; "" keeps the manifest's
	Inject   map[string]string // label of a namespace whose pods get sidecars
	AnyUser  bool              // the cluster chooses the pods' user (OpenShift)
	Policies func(namespace string) []*fixture.Object
}

// Where the clients find what they bring.
const (
	trustName   = "egress-trust"
	trustFile   = "ca.crt"
	trustPath   = "/egress/trust"
	agentVolume = "egress-probe"
	agentPath   = "/egress/probe"
)

// command is the probe agent's in a client's container.
func (z *Customization) command() []string {
	if z == nil {
		return []string{"egressprobe", "agent"}
	}
	return []string{agentPath + "/egressprobe", "agent"}
}

// objects are what a client's namespace holds besides the client.
func (z *Customization) objects(namespace string) []*fixture.Object {
	if z == nil {
		return nil
	}
	var out []*fixture.Object
	if z.CA != nil {
		out = append(out, &fixture.Object{Object: map[string]any{
			"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": trustName, "namespace": namespace}, "data": map[string]any{trustFile: string(z.CA)},
		}})
	}
	if z.Policies != nil {
		out = append(out, z.Policies(namespace)...)
	}
	return out
}

// customize gives a client's Deployment its DNS, trust, image and a place for the agent.
func (z *Customization) customize(o *fixture.Object, c egress.Client) error {
	if z == nil {
		return nil
	}
	template := []string{"spec", "template"}
	get := func(path ...string) []any {
		v, _, _ := unstructured.NestedSlice(o.Object, append(template, path...)...) // an empty one is made
		return v
	}
	set := func(v any, path ...string) error {
		if err := unstructured.SetNestedField(o.Object, v, append(template, path...)...); err != nil {
			return fmt.Errorf("customize %s: %w", fixture.Describe(o), err)
		}
		return nil
	}
	volumes := append(get("spec", "volumes"), map[string]any{"name": agentVolume, "emptyDir": map[string]any{}})
	mounts := []any{map[string]any{"name": agentVolume, "mountPath": agentPath}}
	var env []any
	if z.CA != nil {
		volumes = append(volumes, map[string]any{"name": trustName, "configMap": map[string]any{"name": trustName}})
		mounts = append(mounts, map[string]any{"name": trustName, "mountPath": trustPath})
		for _, v := range []string{"SSL_CERT_FILE", "CURL_CA_BUNDLE"} {
			env = append(env, map[string]any{"name": v, "value": trustPath + "/" + trustFile})
		}
		if c.Captured() { // the proxy's own trust store, replaced for TLS origination
			vol, err := json.Marshal([]any{map[string]any{"name": trustName + "-proxy", "configMap": map[string]any{"name": trustName}}})
			if err != nil {
				return err
			}
			mount, err := json.Marshal([]any{map[string]any{"name": trustName + "-proxy", "mountPath": "/etc/ssl/certs/ca-certificates.crt", "subPath": trustFile}})
			if err != nil {
				return err
			}
			for k, v := range map[string]string{"sidecar.istio.io/userVolume": string(vol), "sidecar.istio.io/userVolumeMount": string(mount)} {
				if err := set(v, "metadata", "annotations", k); err != nil {
					return err
				}
			}
		}
	}
	containers := get("spec", "containers")
	for _, x := range containers {
		k, ok := x.(map[string]any)
		if !ok || k["name"] != c.Container {
			continue
		}
		have, _ := k["volumeMounts"].([]any)
		k["volumeMounts"] = append(have, mounts...)
		vars, _ := k["env"].([]any)
		k["env"] = append(vars, env...)
		if z.Image != "" {
			k["image"] = z.Image
		}
		if s, ok := k["securityContext"].(map[string]any); ok && z.AnyUser && c.User == 0 {
			delete(s, "runAsUser")
		}
	}
	if err := set(containers, "spec", "containers"); err != nil {
		return err
	}
	if err := set(volumes, "spec", "volumes"); err != nil {
		return err
	}
	if z.DNS == "" {
		return nil
	}
	if err := set("None", "spec", "dnsPolicy"); err != nil {
		return err
	}
	return set(map[string]any{
		"nameservers": []any{z.DNS},
		"searches":    []any{c.Namespace + ".svc.cluster.local", "svc.cluster.local", "cluster.local"},
		"options":     []any{map[string]any{"name": "ndots", "value": "5"}},
	}, "spec", "dnsConfig")
}

// installAgent copies the agent into a running client.
func (p *Pods) installAgent(ctx context.Context, c egress.Client, pod string) error {
	if p.custom == nil || c.Container == "" {
		return nil
	}
	f, err := os.Open(p.custom.Agent)
	if err != nil {
		return fmt.Errorf("copy the probe agent into %s/%s: %w", c.Namespace, pod, err)
	}
	defer f.Close()
	_, err = kube.Exec(ctx, p.cfg, p.cs, c.Namespace, pod, c.Container, f, "/bin/sh", "-c", "cat >"+agentPath+"/part && chmod 755 "+agentPath+"/part && mv "+agentPath+"/part "+agentPath+"/egressprobe")
	if err != nil {
		return fmt.Errorf("copy the probe agent into %s/%s: %w", c.Namespace, pod, err)
	}
	return nil
}
