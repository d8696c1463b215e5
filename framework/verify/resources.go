package verify

import (
	"slices"

	"mesh-egress-conformance/framework/manifest"
)

// Resource is a kind of objects that is read of a cluster.
type Resource struct {
	Group, Kind string
	// Name is the kind in paths and roles.
	Name string
	// Labels select the objects that are read; "" takes all.
	Labels string
}

// others are EndpointSlices that were not made of a Service's pods (kubernetes/kubernetes, staging/src/k8s.io/endpointslice: the
// controller labels its own).
const others = "endpointslice.kubernetes.io/managed-by!=endpointslice-controller.k8s.io"

const (
	networking = "networking.istio.io"
	security   = "security.istio.io"
	gatewayAPI = "gateway.networking.k8s.io"
)

// Resources are the kinds that matter of a cluster, apart from the ConfigMaps of ConfigMaps, which are read by name. Of the kinds that
// matter in files these are left out: Secrets, and ServiceAccounts, which come with the stand-ins; Endpoints, which EndpointSlices
// mirror; what an operator was told of the mesh, since istiod's ConfigMaps have what has come of it; roles, which a reader has no need to
// see: all proxies are assumed to get their certificates; Ingresses and autoscalers.
func Resources() []Resource {
	return []Resource{
		{"", "Namespace", "namespaces", ""},
		{"", "Service", "services", ""},
		{"", "Pod", "pods", ""},
		{"apps", "DaemonSet", "daemonsets", ""},
		{"apps", "Deployment", "deployments", ""},
		{"apps", "ReplicaSet", "replicasets", ""},
		{"apps", "StatefulSet", "statefulsets", ""},
		{"batch", "CronJob", "cronjobs", ""},
		{"batch", "Job", "jobs", ""},
		{"discovery.k8s.io", "EndpointSlice", "endpointslices", others},
		{"networking.k8s.io", "NetworkPolicy", "networkpolicies", ""},
		{networking, "DestinationRule", "destinationrules", ""},
		{networking, "EnvoyFilter", "envoyfilters", ""},
		{networking, "Gateway", "gateways", ""},
		{networking, "ProxyConfig", "proxyconfigs", ""},
		{networking, "ServiceEntry", "serviceentries", ""},
		{networking, "Sidecar", "sidecars", ""},
		{networking, "VirtualService", "virtualservices", ""},
		{networking, "WorkloadEntry", "workloadentries", ""},
		{networking, "WorkloadGroup", "workloadgroups", ""},
		{security, "AuthorizationPolicy", "authorizationpolicies", ""},
		{security, "PeerAuthentication", "peerauthentications", ""},
		{security, "RequestAuthentication", "requestauthentications", ""},
		{"telemetry.istio.io", "Telemetry", "telemetries", ""},
		{"extensions.istio.io", "WasmPlugin", "wasmplugins", ""},
		{gatewayAPI, "BackendTLSPolicy", "backendtlspolicies", ""},
		{gatewayAPI, "Gateway", "gateways", ""},
		{gatewayAPI, "GRPCRoute", "grpcroutes", ""},
		{gatewayAPI, "HTTPRoute", "httproutes", ""},
		{gatewayAPI, "ReferenceGrant", "referencegrants", ""},
		{gatewayAPI, "TCPRoute", "tcproutes", ""},
		{gatewayAPI, "TLSRoute", "tlsroutes", ""},
	}
}

// DefaultConfigMaps are those in RootNamespace that an installation without a revision has: the mesh configuration, and the values by
// which sidecars are injected.
func DefaultConfigMaps() []string { return []string{meshConfigMap, injectorConfigMap} }

// ConfigMaps are those in RootNamespace that may have mesh settings: of an installation without a revision, and of each revision whose
// istiod is among the objects of a cluster.
func ConfigMaps(objects []manifest.Object) []string {
	out := DefaultConfigMaps()
	for _, x := range objects {
		rev := text(x, "metadata", "labels", revisionLabel)
		if !isIstiod(x) || x.Namespace() != RootNamespace || rev == "" || rev == "default" {
			continue
		}
		for _, name := range DefaultConfigMaps() {
			if name += "-" + rev; !slices.Contains(out, name) {
				out = append(out, name)
			}
		}
	}
	return out
}

// isIstiod says whether a workload is a control plane of Istio's.
func isIstiod(x manifest.Object) bool {
	return x.Kind() == "Deployment" && text(x, "spec", "template", "metadata", "labels", "app") == "istiod"
}
