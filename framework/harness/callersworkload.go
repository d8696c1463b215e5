package harness

import (
	"mesh-egress-conformance/framework/mesh"
	"mesh-egress-conformance/framework/upgrade"
)

// callersNamespace and callersName are the workload.
const callersNamespace, callersName = "egress-upgrade", "sleep"

// callerTargets are what the callers call.
var callerTargets = []upgrade.Target{
	{Name: "http", URL: "http://httpbin.org/headers", Host: "httpbin.org"},
	{Name: "tls", URL: "https://www.google.com/", Host: "www.google.com"},
	{Name: "held", URL: "tcp://tcp.example:9000", Host: "tcp.example", Held: true},
	{Name: "gateway", URL: "http://edition.cnn.com/politics", Host: "edition.cnn.com", Through: mesh.EgressGateway},
	{Name: "blocked-http", URL: "http://evil.example/", Host: "evil.example", Blocked: true},
	{Name: "blocked-tls", URL: "https://evil.example/", Host: "evil.example", Blocked: true},
}

// openSidecar opens the policy of the callers' namespace.
const openSidecar = `
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: open, namespace: ` + callersNamespace + `}
spec: {outboundTrafficPolicy: {mode: ALLOW_ANY}, egress: [{hosts: ["*/*"]}]}
`

// httpbinEntry is the rule of one of the targets.
const httpbinEntry = `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: httpbin, namespace: ` + callersNamespace + `}
spec:
  hosts: [httpbin.org]
  ports: [{number: 80, name: http-80, protocol: HTTP}]
  resolution: DNS
  exportTo: ["."]
`

// callersYAML is the workload with its rules; the verb is how many replicas it has.
const callersYAML = `
apiVersion: v1
kind: Namespace
metadata: {name: ` + callersNamespace + `, labels: {istio-injection: enabled}}
---` + httpbinEntry + `---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: google, namespace: ` + callersNamespace + `}
spec:
  hosts: [www.google.com]
  ports: [{number: 443, name: tls-443, protocol: TLS}]
  resolution: DNS
  exportTo: ["."]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: tcp, namespace: ` + callersNamespace + `}
spec:
  hosts: [tcp.example]
  addresses: ["198.51.100.50"]
  ports: [{number: 9000, name: tcp-9000, protocol: TCP}]
  resolution: STATIC
  endpoints: [{address: "198.51.100.50"}]
  exportTo: ["."]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: cnn, namespace: ` + callersNamespace + `}
spec:
  hosts: [edition.cnn.com]
  ports: [{number: 80, name: http-80, protocol: HTTP}]
  resolution: DNS
  exportTo: [".", istio-system]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: cnn, namespace: ` + callersNamespace + `}
spec:
  selector: {istio: egressgateway}
  servers: [{port: {number: 80, name: http-80, protocol: HTTP}, hosts: [edition.cnn.com]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: cnn, namespace: ` + callersNamespace + `}
spec:
  hosts: [edition.cnn.com]
  gateways: [mesh, cnn]
  http:
    - {match: [{gateways: [mesh], port: 80}], route: [{destination: {host: istio-egressgateway.istio-system.svc.cluster.local, port: {number: 80}}}]}
    - {match: [{gateways: [cnn], port: 80}], route: [{destination: {host: edition.cnn.com, port: {number: 80}}}]}
  exportTo: [".", istio-system]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: ` + callersName + `, namespace: ` + callersNamespace + `}
spec:
  replicas: %d
  selector: {matchLabels: {app: ` + callersName + `}}
  strategy: {rollingUpdate: {maxUnavailable: 0, maxSurge: 1}}
  template:
    metadata: {labels: {app: ` + callersName + `}}
    spec:
      terminationGracePeriodSeconds: 3
      containers:
        - name: ` + callersName + `
          image: docker.io/curlimages/curl:latest
          imagePullPolicy: IfNotPresent
          command: ["/bin/sleep", "infinity"]
          securityContext: {runAsNonRoot: true, runAsUser: 1000, allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}, seccompProfile: {type: RuntimeDefault}}
`
