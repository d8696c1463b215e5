package html

// glossary explains what witnesses say. It is data: the script looks words up in it.
type glossary struct {
	// Fields are those of an access log line, in the order in which they are shown.
	Fields []term `json:"fields"`
	// Flags are Envoy's response flags, by their short name.
	Flags map[string]term `json:"flags"`
	// Details are reasons of a response code; what a line has may go on behind it.
	Details map[string]string `json:"details"`
	// Clusters are upstream clusters: a name, or the beginning of one with its bar.
	Clusters map[string]string `json:"clusters"`
	// Routes are names of routes that Istio gives.
	Routes map[string]string `json:"routes"`
	// Exits are curl's exit codes.
	Exits map[string]string `json:"exits"`
	// Arrival are the fields of an arrival, in the order in which they are shown.
	Arrival []term `json:"arrival"`
}

// term is a word with its meaning; Long is its other name.
type term struct {
	Name string `json:"name"`
	Long string `json:"long,omitempty"`
	Text string `json:"text"`
}

// words is the glossary. Fields and flags say in our words what Envoy's documentation says of the operators that Istio's
// JSON encoding uses ("Substitution Formatter", docs/root/configuration/advanced/substitution_formatter.rst; before 1.37
// "Access log usage"). Details are from "Response Code Details" there. Clusters and routes are Istio's (pilot/pkg/
// networking/util and core). Exit codes are from curl's manual page; framework/probe/wire has those the harness knows.
var words = glossary{
	Fields: []term{
		{"start_time", "", "when the request began, or the connection where it is TCP; clock of the proxy's node"},
		{"duration", "", "milliseconds from there to the last byte, or to the end of the connection"},
		{"method", "", "HTTP method; absent for TCP"},
		{"authority", "", "host that the client asked for: Host or :authority"},
		{"path", "", "path that the client asked for"},
		{"protocol", "", "protocol that the client spoke to the proxy"},
		{"response_code", "", "HTTP status that the client got; 0 where no response began, and for TCP"},
		{"response_flags", "", "what Envoy says went wrong; empty when nothing did"},
		{"response_code_details", "", "who set the status, and why"},
		{"route_name", "", "route that matched"},
		{"upstream_cluster", "", "where the proxy meant to send it: for Istio direction|port|subset|host"},
		{"upstream_host", "", "address that the proxy connected to"},
		{"upstream_local_address", "", "the proxy's own end of that connection; the next witness knows it by this"},
		{"upstream_transport_failure_reason", "", "why the connection failed, most often in the TLS handshake"},
		{"downstream_local_address", "", "address that the client had dialled, as it was before the redirection to the proxy"},
		{"downstream_remote_address", "", "the client's end of its connection; the line is the probe's by this"},
		{"requested_server_name", "", "server name (SNI) in the client's TLS hello"},
		{"request_id", "", "x-request-id of the request"},
	},
	Flags: map[string]term{
		"UH":    {"UH", "NoHealthyUpstream", "the cluster has no healthy host; BlackHoleCluster never has one"},
		"UF":    {"UF", "UpstreamConnectionFailure", "no connection to the upstream host, or its TLS handshake failed"},
		"UO":    {"UO", "UpstreamOverflow", "a limit of the circuit breaker was reached"},
		"NR":    {"NR", "NoRouteFound", "no route for the request, or no filter chain for the connection"},
		"URX":   {"URX", "UpstreamRetryLimitExceeded", "as many retries, or attempts to connect, as are allowed"},
		"NC":    {"NC", "NoClusterFound", "the route names a cluster that the proxy does not have"},
		"DT":    {"DT", "DurationTimeout", "the request or connection lasted longer than it may"},
		"DC":    {"DC", "DownstreamConnectionTermination", "the client closed its connection"},
		"LH":    {"LH", "FailedLocalHealthCheck", "the local service failed a health check"},
		"UT":    {"UT", "UpstreamRequestTimeout", "the upstream did not answer in time"},
		"LR":    {"LR", "LocalReset", "the proxy reset the connection"},
		"UR":    {"UR", "UpstreamRemoteReset", "the upstream reset the connection"},
		"UC":    {"UC", "UpstreamConnectionTermination", "the upstream closed the connection"},
		"DI":    {"DI", "DelayInjected", "delayed, as a fault injection orders"},
		"FI":    {"FI", "FaultInjected", "answered with the status that a fault injection orders"},
		"RL":    {"RL", "RateLimited", "refused by the rate limit of the proxy"},
		"UAEX":  {"UAEX", "UnauthorizedExternalService", "refused by the external authorization service"},
		"RLSE":  {"RLSE", "RateLimitServiceError", "refused because the rate limit service failed"},
		"IH":    {"IH", "InvalidEnvoyRequestHeaders", "a header that is checked strictly has an invalid value"},
		"SI":    {"SI", "StreamIdleTimeout", "nothing was sent for too long"},
		"DPE":   {"DPE", "DownstreamProtocolError", "the client's request breaks the HTTP protocol"},
		"UPE":   {"UPE", "UpstreamProtocolError", "the upstream's response breaks the HTTP protocol"},
		"UMSDR": {"UMSDR", "UpstreamMaxStreamDurationReached", "the request lasted longer upstream than a stream may"},
		"RFCF":  {"RFCF", "ResponseFromCacheFilter", "answered from a cache of the proxy"},
		"NFCF":  {"NFCF", "NoFilterConfigFound", "the configuration of a filter had not come in time"},
		"OM":    {"OM", "OverloadManagerTerminated", "ended by the proxy because it was overloaded"},
		"DF":    {"DF", "DnsResolutionFailed", "the proxy could not resolve the name"},
		"DO":    {"DO", "DropOverload", "dropped, as the endpoints' configuration orders for a part of the requests"},
		"DR":    {"DR", "DownstreamRemoteReset", "the client reset the HTTP/2 stream"},
		"UDO":   {"UDO", "UnconditionalDropOverload", "dropped, as the endpoints' configuration orders for all requests"},
	},
	Details: map[string]string{
		"via_upstream":                           "the upstream answered",
		"direct_response":                        "the proxy answered by itself, as the route orders (block_all answers 502)",
		"route_not_found":                        "no route matched",
		"cluster_not_found":                      "the route's cluster is not there",
		"no_healthy_upstream":                    "the cluster has no healthy host",
		"filter_chain_not_found":                 "no filter chain matched the connection",
		"upstream_reset_before_response_started": "the upstream's connection failed or ended before it answered; the reason is in braces",
		"upstream_reset_after_response_started":  "the upstream's connection ended within its answer",
		"upstream_response_timeout":              "the upstream did not answer in time",
		"response_timeout":                       "the upstream did not answer in time",
		"downstream_remote_disconnect":           "the client closed its connection",
		"downstream_local_disconnect":            "the proxy closed the client's connection",
		"fault_filter_abort":                     "a fault injection ordered the status",
		"rbac_access_denied":                     "an authorization policy refused it; its name is in brackets",
		"dns_resolution_failure":                 "the proxy could not resolve the name",
		"upgrade_failed":                         "the protocol upgrade is not allowed",
		"overload":                               "the proxy is overloaded",
	},
	Clusters: map[string]string{
		"BlackHoleCluster":          "Istio's cluster without hosts: what the registry does not know ends here (REGISTRY_ONLY)",
		"PassthroughCluster":        "Istio's cluster for what the registry does not know: to wherever the client had dialled (ALLOW_ANY)",
		"AllowAnyDynamicDNSCluster": "as PassthroughCluster, to what the requested name resolves to (ALLOW_ANY_DYNAMIC_DNS)",
		"outbound|":                 "a service of the registry, such as a ServiceEntry's host: outbound|port|subset|host",
		"inbound|":                  "the workload that the proxy stands beside",
	},
	Routes: map[string]string{
		"block_all":             "Istio's catch-all of REGISTRY_ONLY: answers 502",
		"allow_any":             "Istio's catch-all of ALLOW_ANY: leads to PassthroughCluster",
		"allow_any_dynamic_dns": "Istio's catch-all of ALLOW_ANY_DYNAMIC_DNS",
		"default":               "the route that Istio makes for a service without rules",
	},
	Exits: map[string]string{
		"0":  "success",
		"2":  "wrong usage",
		"6":  "the name did not resolve",
		"7":  "no connection",
		"16": "a fault of the HTTP/2 framing",
		"22": "an error status, where that was to be a failure (-f)",
		"28": "timeout",
		"35": "the TLS handshake failed; most often the connection was closed in it",
		"52": "closed without an answer",
		"55": "sending failed",
		"56": "receiving failed; most often the connection was reset",
		"60": "the server's certificate was not accepted",
		"92": "a fault of an HTTP/2 stream",
		"99": "a fault of the probe agent itself",
	},
	Arrival: []term{
		{"server", "", "host that owns the address, whatever the client called it"},
		{"peer", "", "the other end of the connection: that of the last proxy, or of the client itself"},
		{"local", "", "address at which it arrived"},
		{"time", "", "when, by the clock of the internet"},
		{"kind", "", "what arrived: tcp, tls, http, udp, dns, connect or icmp"},
		{"tls", "", "it came encrypted"},
		{"sni", "", "server name in the TLS hello"},
		{"alpn", "", "protocol agreed on in the TLS handshake"},
		{"clientCert", "", "subject of the client's certificate"},
		{"proto", "", "version of HTTP"},
		{"method", "", "HTTP method"},
		{"host", "", "Host or :authority of the request"},
		{"path", "", "path of the request"},
		{"status", "", "status that the destination answered with"},
		{"probeId", "", "id that the probe carries from end to end"},
		{"requestId", "", "x-request-id, which the sidecar's line has too"},
		{"attempt", "", "x-envoy-attempt-count: which attempt of the proxy it was"},
	},
}
