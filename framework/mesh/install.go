// Package mesh installs Istio from its own charts, says when a change has reached the proxies, and
// reads their access logs.
package mesh

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/postrender"
	"helm.sh/helm/v3/pkg/release"
	"helm.sh/helm/v3/pkg/storage/driver"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/yaml"

	"mesh-egress-conformance/framework/components"
	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/fixture"
	"mesh-egress-conformance/framework/limits"
)

// SystemNamespace is where Istio and its gateways are installed.
const SystemNamespace = "istio-system"

// Gateway names, as in the charts' documentation.
const (
	IngressGateway = "istio-ingressgateway"
	EgressGateway  = "istio-egressgateway"
)

// Options for Install.
type Options struct {
	Module        string // folder of the Istio module, which holds the charts
	Base          string // folder of the module whose chart base is installed, with the CRDs of all versions that come; "" is Module
	Tag           string // tag of the Istio images
	OfficialProxy bool   // the proxy image has Istio's own filters
	Policy        egress.Policy
	TextLog       bool      // access logs are in Istio's text format in place of JSON
	EgressAccount string    // service account of the egress gateway; "" is the gateway's own name
	Log           io.Writer // what Helm says; nil drops it
	Hub           string    // registry that mirrors the official ones; "" is those
	Run           string    // run whose label every object carries; "" for none
	Limits        limits.Limits
	// Intend hears of the objects of a run before they are made; it is not nil where Run is set.
	Intend func(objs ...*fixture.Object) error
}

// Deviations are the differences between this installation and the charts' defaults that a reader
// of a report must know.
func Deviations(o Options) []string {
	d := []string{
		"istiod's readiness probe runs every second and without initial delay (no chart value; set by a Helm post-renderer)",
		"proxies flush their access log every 50 ms instead of every second, as " + o.logEncoding(),
		"resource requests are lowered to fit one small node",
	}
	if !o.OfficialProxy {
		d = append(d, "istiod runs with PILOT_ENABLE_ALPN_FILTER=false and PILOT_ENABLE_METADATA_EXCHANGE=false and without telemetry filters, which upstream Envoy lacks")
	}
	return d
}

// logEncoding is what Istio calls the format of access logs.
func (o Options) logEncoding() string {
	if o.TextLog {
		return "TEXT"
	}
	return "JSON"
}

type values = map[string]any

func istiodValues(o Options) values {
	v := values{
		"global": values{
			"hub": components.Mirrored(o.Hub, components.IstioHub), "tag": o.Tag,
			"proxy": values{"readinessPeriodSeconds": 1, "resources": requests("10m", "40Mi")},
		},
		"pilot": values{"autoscaleEnabled": false, "resources": requests("10m", "128Mi"), "env": values{}},
		"meshConfig": values{
			"accessLogFile": "/dev/stdout", "accessLogEncoding": o.logEncoding(),
			"defaultConfig":         values{"fileFlushInterval": "0.05s"},
			"outboundTrafficPolicy": values{"mode": string(o.Policy)},
		},
	}
	env := v["pilot"].(values)["env"].(values)
	if o.Run != "" { // istiod would make a GatewayClass, and gateways for whoever has asked for one
		env["PILOT_ENABLE_GATEWAY_API"] = "false"
	}
	if !o.OfficialProxy {
		v["telemetry"] = values{"enabled": false}
		for _, flag := range []string{"PILOT_ENABLE_ALPN_FILTER", "PILOT_ENABLE_METADATA_EXCHANGE", "PILOT_ENABLE_TELEMETRY_LABEL", "PILOT_ENDPOINT_TELEMETRY_LABEL"} {
			env[flag] = "false"
		}
	}
	return v
}

func requests(cpu, memory string) values {
	return values{"requests": values{"cpu": cpu, "memory": memory}}
}

func gatewayValues(o Options, name string) values {
	v := values{
		"name": name, "labels": values{"istio": strings.TrimPrefix(name, "istio-"), "app": name},
		"service":                       values{"type": "ClusterIP"},
		"autoscaling":                   values{"enabled": false},
		"resources":                     requests("10m", "40Mi"),
		"imagePullPolicy":               "IfNotPresent",
		"terminationGracePeriodSeconds": 1,
	}
	if name == EgressGateway && o.EgressAccount != "" {
		v["serviceAccount"] = values{"name": o.EgressAccount}
	}
	return v
}

// Installer installs the charts of one Istio version.
type Installer struct {
	opts   Options
	getter *restGetter
	ns     string
	charts map[string]func() (*chart.Chart, error)
}

// Charts of the control plane and of gateways, as folders of the Istio module.
const (
	baseChart    = "base"
	istiodChart  = "istio-control/istio-discovery"
	gatewayChart = "gateway"
)

// NewInstaller returns an installer for a cluster and begins to load the charts, so that they are
// there when the API server is.
func NewInstaller(cfg *rest.Config, o Options) *Installer {
	i := &Installer{opts: o, getter: &restGetter{cfg: cfg, ns: SystemNamespace}, ns: SystemNamespace, charts: map[string]func() (*chart.Chart, error){}}
	for _, dir := range []string{istiodChart, baseChart, gatewayChart} {
		module := o.Module
		if dir == baseChart && o.Base != "" {
			module = o.Base
		}
		load := sync.OnceValues(func() (*chart.Chart, error) { return loadChart(filepath.Join(module, "manifests/charts", dir)) })
		i.charts[dir] = load
		go func() { _, _ = load() }() // whoever needs the chart gets the error
	}
	return i
}

// ControlPlane installs CRDs and istiod, side by side: istiod waits for its CRDs by itself. It does
// not wait for istiod to be ready.
func (i *Installer) ControlPlane(ctx context.Context) error {
	var wg sync.WaitGroup
	var base, istiod error
	wg.Go(func() {
		istiod = i.chart(ctx, istiodRelease, istiodChart, istiodValues(i.opts), renderers{eagerProbe{}, i.label()})
	})
	wg.Go(func() { base = i.chart(ctx, "istio-base", baseChart, values{}, renderers{i.label()}) })
	wg.Wait()
	return errors.Join(base, istiod)
}

// Gateways installs both gateways, side by side, unless they are installed. istiod must be ready: its webhook
// completes them.
func (i *Installer) Gateways(ctx context.Context) error {
	var wg sync.WaitGroup
	names := []string{IngressGateway, EgressGateway}
	errs := make([]error, len(names))
	for n, name := range names {
		wg.Go(func() {
			there, err := i.installed(name)
			if errs[n] = err; err == nil && !there {
				errs[n] = i.chart(ctx, name, gatewayChart, gatewayValues(i.opts, name), nil)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (i *Installer) chart(ctx context.Context, release, dir string, v values, post postrender.PostRenderer) error {
	ch, err := i.charts[dir]()
	if err != nil {
		return err
	}
	cfg, err := i.helm(release)
	if err != nil {
		return err
	}
	in := action.NewInstall(cfg)
	// Helm takes over what carries the name of its release. In a cluster of somebody else's, an object of an earlier
	// Istio must not be taken for this run's.
	if i.opts.Run != "" {
		release += "-" + i.opts.Run
	}
	in.ReleaseName, in.Namespace, in.CreateNamespace = release, i.ns, i.opts.Run == ""
	in.DisableOpenAPIValidation = true // the API server validates; a second opinion costs a second
	in.Timeout = i.opts.Limits.OrDefault().Cluster.Chart
	if post != nil {
		in.PostRenderer = post
	}
	if _, err := in.RunWithContext(ctx, ch, v); err != nil {
		return fmt.Errorf("install chart %s as %s: %w", dir, release, err)
	}
	return nil
}

// helm is a connection for one release.
func (i *Installer) helm(release string) (*action.Configuration, error) {
	cfg := new(action.Configuration)
	debug := func(format string, a ...any) {
		if i.opts.Log != nil {
			fmt.Fprintf(i.opts.Log, time.Now().UTC().Format("15:04:05.000 ")+release+" "+format+"\n", a...)
		}
	}
	if err := cfg.Init(i.getter, i.ns, "secret", debug); err != nil {
		return nil, fmt.Errorf("prepare Helm: %w", err)
	}
	return cfg, nil
}

// installed says whether a release is there. What is left of one whose installation was cut off is removed: Helm
// would refuse its name.
func (i *Installer) installed(name string) (bool, error) {
	cfg, err := i.helm(name)
	if err != nil {
		return false, err
	}
	have, err := action.NewGet(cfg).Run(name)
	switch {
	case errors.Is(err, driver.ErrReleaseNotFound):
		return false, nil
	case err == nil && have.Info.Status == release.StatusDeployed:
		return true, nil
	case err == nil:
		_, err = action.NewUninstall(cfg).Run(name)
	}
	if err != nil {
		return false, fmt.Errorf("remove what is left of %s, whose installation was cut off: %w", name, err)
	}
	return false, nil
}

func loadChart(dir string) (*chart.Chart, error) {
	ch, err := loader.LoadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("load Istio's chart %s: %w", dir, err)
	}
	return ch, nil
}

// eagerProbe makes istiod's readiness probe start at once and run every second. The chart has no
// value for it, and the default costs up to three seconds of every start. Reports tell of it (Deviations), so a chart
// in which it cannot be done is an error.
type eagerProbe struct{}

// Run is a Helm post-renderer.
func (eagerProbe) Run(in *bytes.Buffer) (*bytes.Buffer, error) {
	docs, found := strings.Split(in.String(), "\n---\n"), false
	for i, doc := range docs {
		if !strings.Contains("\n"+doc, "\nkind: Deployment\n") {
			continue
		}
		var o unstructured.Unstructured
		if err := yaml.Unmarshal([]byte(doc), &o.Object); err != nil {
			return nil, fmt.Errorf("read the chart's Deployment of istiod: %w", err)
		}
		if !hasten(&o) {
			continue
		}
		b, err := yaml.Marshal(o.Object)
		if err != nil {
			return nil, fmt.Errorf("change the chart's Deployment of istiod: %w", err)
		}
		if found = true; !strings.HasSuffix(doc, "\n") {
			b = bytes.TrimSuffix(b, []byte("\n"))
		}
		docs[i] = string(b)
	}
	if !found {
		return nil, errors.New("make istiod's readiness probe run every second: the chart renders no Deployment with a readiness probe of a container \"discovery\"; this version of Istio needs another way")
	}
	return bytes.NewBufferString(strings.Join(docs, "\n---\n")), nil
}

// hasten changes the readiness probes of istiod's containers in a Deployment, and says whether there were any.
func hasten(o *unstructured.Unstructured) bool {
	path := []string{"spec", "template", "spec", "containers"}
	containers, _, err := unstructured.NestedSlice(o.Object, path...)
	if err != nil {
		return false
	}
	found := false
	for _, c := range containers {
		c, _ := c.(map[string]any)
		probe, ok := c["readinessProbe"].(map[string]any)
		if c["name"] != "discovery" || !ok {
			continue
		}
		probe["initialDelaySeconds"], probe["periodSeconds"], found = int64(0), int64(1), true
	}
	return found && unstructured.SetNestedSlice(o.Object, containers, path...) == nil
}

// renderers are post-renderers one after another.
type renderers []postrender.PostRenderer

// Run is a Helm post-renderer.
func (r renderers) Run(in *bytes.Buffer) (*bytes.Buffer, error) {
	var err error
	for _, next := range r {
		if in, err = next.Run(in); err != nil {
			return nil, err
		}
	}
	return in, nil
}

// runLabel marks every object as a run's; "" marks none.
type runLabel struct {
	run    string
	intend func(...*fixture.Object) error
}

func (i *Installer) label() runLabel { return runLabel{i.opts.Run, i.opts.Intend} }

// Run is a Helm post-renderer.
func (l runLabel) Run(in *bytes.Buffer) (*bytes.Buffer, error) {
	if l.run == "" {
		return in, nil
	}
	var out bytes.Buffer
	for _, doc := range strings.Split(in.String(), "\n---\n") {
		var o unstructured.Unstructured
		if err := yaml.Unmarshal([]byte(doc), &o.Object); err != nil {
			return nil, fmt.Errorf("read what a chart renders: %w", err)
		}
		if len(o.Object) == 0 {
			continue
		}
		fixture.RunOwner(l.run).Mark(&o)
		if err := l.intend(&o); err != nil {
			return nil, err
		}
		b, err := yaml.Marshal(o.Object)
		if err != nil {
			return nil, fmt.Errorf("label what a chart renders: %w", err)
		}
		fmt.Fprintf(&out, "---\n%s", b)
	}
	return &out, nil
}

// restGetter hands Helm our own REST config, which may dial a unix socket.
type restGetter struct {
	cfg *rest.Config
	ns  string

	mu   sync.Mutex
	disc discovery.CachedDiscoveryInterface
}

func (g *restGetter) ToRESTConfig() (*rest.Config, error) { return rest.CopyConfig(g.cfg), nil }

func (g *restGetter) ToDiscoveryClient() (discovery.CachedDiscoveryInterface, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.disc == nil {
		d, err := discovery.NewDiscoveryClientForConfig(g.cfg)
		if err != nil {
			return nil, err
		}
		g.disc = memory.NewMemCacheClient(d)
	}
	return g.disc, nil
}

func (g *restGetter) ToRESTMapper() (meta.RESTMapper, error) {
	d, err := g.ToDiscoveryClient()
	if err != nil {
		return nil, err
	}
	return restmapper.NewDeferredDiscoveryRESTMapper(d), nil
}

func (g *restGetter) ToRawKubeConfigLoader() clientcmd.ClientConfig {
	return clientcmd.NewDefaultClientConfig(*clientcmdapi.NewConfig(),
		&clientcmd.ConfigOverrides{Context: clientcmdapi.Context{Namespace: g.ns}})
}
