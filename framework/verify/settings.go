package verify

import (
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/manifest"
)

// Settings are those of the mesh.
type Settings struct {
	// Config is the part of the mesh configuration that decides about egress.
	Config map[string]any
	// Policy is the mesh's outbound policy, which Config has too.
	Policy egress.Policy
	// Pods are annotations of every pod that has none of its own: what the installation says of all sidecars.
	Pods map[string]string
	// Where is the place of the object that has them; "" where they are Istio's defaults.
	Where string
	File  string
	Line  int
}

// exportTo is what the mesh says of entries that do not say to which namespaces they are exported; nil is all.
func (s Settings) exportTo() []string { return texts(s.Config["defaultServiceExportTo"]) }

// meshFields are the parts of the mesh configuration that decide about egress.
var meshFields = []string{
	"outboundTrafficPolicy", "defaultServiceExportTo", "defaultVirtualServiceExportTo", "defaultDestinationRuleExportTo", "enableAutoMtls", "protocolDetectionTimeout",
	"connectTimeout", "tcpKeepalive", "h2UpgradePolicy", "localityLbSetting", "serviceSettings", "meshMTLS", "tlsDefaults", "dnsRefreshRate", "pathNormalization",
	"verifyCertificateAtClient", "proxyHttpPort", "hboneIdleTimeout",
}

// notTaken are parts that would matter, and that the dry mesh cannot take over, with what it has itself.
var notTaken = map[string]any{"discoverySelectors": nil, "rootNamespace": RootNamespace, "trustDomain": "cluster.local", "trustDomainAliases": nil, "caCertificates": nil}

// ofSidecars are an installation's values about all sidecars, with the annotation of a pod that says the same of one.
var ofSidecars = map[string]string{
	"excludeIPRanges": "traffic.sidecar.istio.io/excludeOutboundIPRanges", "includeIPRanges": "traffic.sidecar.istio.io/includeOutboundIPRanges",
	"excludeOutboundPorts": "traffic.sidecar.istio.io/excludeOutboundPorts", "includeOutboundPorts": "traffic.sidecar.istio.io/includeOutboundPorts",
}

// The ConfigMaps of an installation: those of a revision end in its name.
const (
	meshConfigMap     = "istio"
	injectorConfigMap = "istio-sidecar-injector"
)

// settings takes an object that may have mesh settings, and says whether it has.
func (b *builder) settings(x manifest.Object) bool {
	switch {
	case hasSettings(x):
		b.meshed = append(b.meshed, x)
	case isInjectors(x):
		b.injectors = append(b.injectors, x)
	default:
		return false
	}
	return true
}

// hasSettings says whether an object, of a kind that can, has mesh settings.
func hasSettings(x manifest.Object) bool {
	if x.Kind() != "ConfigMap" {
		return true
	}
	ofMesh := x.Name() == meshConfigMap || strings.HasPrefix(x.Name(), meshConfigMap+"-")
	return ofMesh && strings.TrimSpace(text(x, "data", "mesh")) != ""
}

// isInjectors says whether an object is the ConfigMap in which the charts hand their values to the injection webhook.
func isInjectors(x manifest.Object) bool {
	ofInjector := x.Name() == injectorConfigMap || strings.HasPrefix(x.Name(), injectorConfigMap+"-")
	return x.Kind() == "ConfigMap" && ofInjector && text(x, "data", "values") != ""
}

// injected are the values by which sidecars are injected beside a ConfigMap with the mesh configuration: of the same revision.
func (b *builder) injected(mesh manifest.Object) (values map[string]any) {
	for _, x := range b.injectors {
		if strings.TrimPrefix(x.Name(), injectorConfigMap) != strings.TrimPrefix(mesh.Name(), meshConfigMap) {
			continue
		}
		if err := yaml.Unmarshal([]byte(text(x, "data", "values")), &values); err != nil {
			b.mistake(x, x.LineAt("data", "values"), "the values of the injection webhook cannot be read: %v", err)
		}
		return values
	}
	return nil
}

// meshSettings reads the mesh settings: those of a file of their own, or of the first object that has any.
func (b *builder) meshSettings() {
	s := &b.m.Settings().Config
	*s = map[string]any{}
	from := b.meshed
	if b.o.MeshConfig != nil {
		from = []manifest.Object{*b.o.MeshConfig}
	}
	if len(from) == 0 {
		b.assume("no mesh settings are in the input (ConfigMap istio, IstioOperator, Istio, --mesh-config): Istio's defaults, among them outboundTrafficPolicy ALLOW_ANY")
	} else {
		for _, x := range from[1:] {
			b.mistake(x, x.Line, "%s has mesh settings, and so has %s: the first one is taken", x, from[0].Where())
		}
		b.takeSettings(from[0])
	}
	policy, _ := (*s)["outboundTrafficPolicy"].(map[string]any)
	mode, _ := policy["mode"].(string)
	if mode == "" {
		mode = string(egress.AllowAny)
		if len(from) > 0 {
			b.assume("the mesh settings say nothing of outboundTrafficPolicy: ALLOW_ANY, as Istio has it by default")
		}
		(*s)["outboundTrafficPolicy"] = map[string]any{"mode": mode}
	}
	b.m.Mesh.Policy = egress.Policy(mode)
}

// Settings are the mesh's, to be completed.
func (m *Model) Settings() *Settings { return &m.Mesh }

func (b *builder) takeSettings(x manifest.Object) {
	config, values := b.settingsOf(x)
	b.m.Mesh.Where, b.m.Mesh.File, b.m.Mesh.Line = x.Where(), x.File, x.Line
	for _, k := range meshFields {
		if v, ok := config[k]; ok {
			b.m.Mesh.Config[k] = v
		}
	}
	for _, k := range sortedKeys(notTaken) {
		if v, ok := config[k]; ok && v != notTaken[k] {
			b.notice(x, x.Line, "the dry mesh does not take over %s of the mesh settings", k)
		}
	}
	if proxy, _ := config["defaultConfig"].(map[string]any); proxy != nil {
		kept := map[string]any{}
		for _, k := range ofProxy {
			if v, ok := proxy[k]; ok {
				kept[k] = v
			}
		}
		if len(kept) > 0 {
			b.m.Mesh.Config["defaultConfig"] = kept
		}
	}
	b.m.Mesh.Pods = map[string]string{}
	proxy, _ := at(values, "global", "proxy").(map[string]any)
	for k, annotation := range ofSidecars {
		if v, _ := proxy[k].(string); v != "" && v != "*" {
			b.m.Mesh.Pods[annotation] = v
		}
	}
	if env, _ := at(values, "pilot", "env").(map[string]any); len(env) > 0 {
		b.notice(x, x.Line, "the dry mesh does not take over values.pilot.env")
	}
	if on, _ := at(values, "sidecarInjectorWebhook", "enableNamespacesByDefault").(bool); on {
		b.notice(x, x.Line, "sidecarInjectorWebhook.enableNamespacesByDefault is not taken over: label the namespaces")
	}
}

func at(v map[string]any, path ...string) any { return manifest.Object{Fields: v}.At(path...) }

// settingsOf finds the mesh configuration and the chart's values in an object, whichever kind it is.
func (b *builder) settingsOf(x manifest.Object) (config, values map[string]any) {
	get := func(path ...string) map[string]any {
		m, _ := x.At(path...).(map[string]any)
		return m
	}
	switch x.Kind() {
	case "ConfigMap":
		text, _ := x.At("data", "mesh").(string)
		if err := yaml.Unmarshal([]byte(text), &config); err != nil {
			b.mistake(x, x.LineAt("data", "mesh"), "the mesh configuration cannot be read: %v", err)
		}
		return config, b.injected(x)
	case "IstioOperator":
		if profile, _ := x.At("spec", "profile").(string); !slices.Contains([]string{"", "default", "minimal", "empty", "demo"}, profile) {
			b.notice(x, x.LineAt("spec", "profile"), "profile %s is not read: only what the object itself says", profile)
		}
		return get("spec", "meshConfig"), get("spec", "values")
	case "Istio":
		return get("spec", "values", "meshConfig"), get("spec", "values")
	}
	// A file of its own: values of the charts, or the mesh configuration itself.
	if get("meshConfig") != nil {
		return get("meshConfig"), x.Fields
	}
	if mesh, ok := x.Fields["mesh"].(string); ok {
		if err := yaml.Unmarshal([]byte(mesh), &config); err != nil {
			b.mistake(x, x.LineAt("mesh"), "the mesh configuration cannot be read: %v", err)
		}
		return config, nil
	}
	return x.Fields, nil
}
