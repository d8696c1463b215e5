package egress

import "fmt"

// Injection says how a client gets its sidecar.
type Injection string

// The kinds of injection.
const (
	AutoInjection   Injection = "auto"   // the webhook, by the namespace's label
	ManualInjection Injection = "manual" // istioctl kube-inject, as in Istio's documents
	NoInjection     Injection = "none"   // a control client
	// LabelledInjection leaves it to the labels of a stand-in's namespace and pod. Once the pod is there, it is known.
	LabelledInjection Injection = "labelled"
)

// Client is a pod from which probes start: data, like a case.
type Client struct {
	Name        string            `json:"name"`
	Namespace   string            `json:"namespace"`
	Manifest    string            `json:"manifest"`  // file below samples/
	Workload    string            `json:"workload"`  // value of the app label of its pod
	Container   string            `json:"container"` // the container in which commands run; "" for a client that is only called
	Injection   Injection         `json:"injection"`
	Annotations map[string]string `json:"annotations,omitempty"` // of the pod template
	// Values are laid over those that Istio was installed with, for the manual injection of this client alone.
	Values  Object `json:"values,omitempty"`
	User    int64  `json:"user,omitempty"`    // uid of its process; 0 leaves the manifest's
	Escapes bool   `json:"escapes,omitempty"` // it has a sidecar, and its traffic goes around it
	// Init makes its container an init container, which never ends: its pod does not become ready.
	Init bool `json:"init,omitempty"`
	// DualStack gives its pod addresses of both families, where the cluster can; without, it has IPv4 alone.
	DualStack bool `json:"dualStack,omitempty"`
	// Service keeps the Service that the manifest has. A client that is not called needs none, and its start
	// does not change anybody's endpoints then.
	Service bool `json:"service,omitempty"`
	// Hollow keeps the Service too, without endpoints: it selects no pod. A sidecar that sees nothing but its own namespace
	// has the listener of its port then, which decides how HTTP is blocked.
	Hollow   bool   `json:"-"`
	ReadyURL string `json:"readyURL,omitempty"` // must answer to the control client before cases use it
	// Revision names the istiod that injects and serves it; "" is the default one.
	Revision string `json:"revision,omitempty"`
	// StandIn is what the client takes over from a workload of somebody's; nil for a client of the harness's own.
	StandIn *StandIn `json:"standIn,omitempty"`
	// Istiod is what Revision names, as whoever reads clients has found it; nil for the default one.
	Istiod *Revision `json:"-"`
}

// StandIn is what a client takes over from the workload that it stands in for.
type StandIn struct {
	Labels          map[string]string `json:"labels,omitempty"`          // of its pod
	NamespaceLabels map[string]string `json:"namespaceLabels,omitempty"` // of its namespace
	ServiceAccount  string            `json:"serviceAccount,omitempty"`
	Ports           []ContainerPort   `json:"ports,omitempty"`
	Group           int64             `json:"group,omitempty"` // gid of its process; 0 leaves the manifest's
	// Proxy is what decides about the injection of its pod besides its labels and annotations. A stand-in that differs in it alone
	// is another one.
	Proxy string `json:"proxy,omitempty"`
	// InPlace makes it a short-lived guest beside the workload itself: a bare pod in a namespace that is there, which no controller
	// adopts and which never becomes ready, with a service account that is there.
	InPlace bool `json:"inPlace,omitempty"`
}

// ContainerPort is a port that a workload says that it serves. Services may name it.
type ContainerPort struct {
	Name     string `json:"name,omitempty"`
	Port     int    `json:"port"`
	Protocol string `json:"protocol,omitempty"` // "" is TCP
}

// ControlClient is the name of the client without sidecar that proves targets reachable.
const ControlClient = "control"

// DualStackClass is the runtime class of pods with addresses of both families.
const DualStackClass = "dual-stack"

// Captured says whether the client has a sidecar.
func (c Client) Captured() bool { return c.Injection != NoInjection }

// NativeSidecarAnnotation asks the injection of a pod for a native sidecar, an init container that goes on, or for none.
const NativeSidecarAnnotation = "sidecar.istio.io/nativeSidecar"

// Proxied says whether a proxy runs beside the client: one with a sidecar that is no native one starts after all init
// containers.
func (c Client) Proxied() bool {
	return c.Captured() && (!c.Init || c.Annotations[NativeSidecarAnnotation] != "false")
}

// Serves says whether the client has a Service.
func (c Client) Serves() bool { return c.Service || c.Container == "" }

// Default fills in what a description leaves out: a sleep pod of its own, injected by the webhook.
func (c *Client) Default() {
	if c.Manifest == "" {
		c.Manifest = "sleep/sleep.yaml"
	}
	if c.Namespace == "" {
		c.Namespace = "egress-" + c.Name
	}
	if c.Workload == "" {
		c.Workload = "sleep"
	}
	if c.Container == "" && c.Manifest == "sleep/sleep.yaml" {
		c.Container = "sleep"
	}
	if c.Injection == "" {
		c.Injection = AutoInjection
	}
}

// Check finds mistakes in a client.
func (c Client) Check() error {
	switch {
	case !nameRE.MatchString(c.Name):
		return fmt.Errorf("client %q: name must be lower-case words joined by dashes", c.Name)
	case c.Namespace == "" || c.Manifest == "" || c.Workload == "":
		return fmt.Errorf("client %q: namespace, manifest and workload must be set", c.Name)
	case c.Init && (c.Container == "" || c.Serves()):
		return fmt.Errorf("client %q: init: it needs a container, and its pod, which does not become ready, no Service", c.Name)
	case c.Init && c.Captured() && c.Annotations[NativeSidecarAnnotation] == "":
		return fmt.Errorf("client %q: init: annotate it with %s, true or false: whether its sidecar runs beside it depends on that", c.Name, NativeSidecarAnnotation)
	case c.Init && !c.Proxied() && c.Captured() && !c.Escapes:
		return fmt.Errorf("client %q: init: its sidecar does not run yet, and its traffic goes around it: escapes must be set", c.Name)
	case len(c.Values) > 0 && c.Injection != ManualInjection:
		return fmt.Errorf("client %q: values are for injection manual: istiod's webhook has its own", c.Name)
	case c.Revision != "" && c.Injection == NoInjection:
		return fmt.Errorf("client %q: revision: without a sidecar it is served by no istiod", c.Name)
	case c.Injection == LabelledInjection && (c.StandIn == nil || c.Init || c.Revision != ""):
		return fmt.Errorf("client %q: injection %s is for the stand-in of a workload", c.Name, LabelledInjection)
	case c.Injection == LabelledInjection:
		return nil
	case c.Injection != AutoInjection && c.Injection != ManualInjection && c.Injection != NoInjection:
		return fmt.Errorf("client %q: injection %q is not auto, manual or none", c.Name, c.Injection)
	}
	return nil
}
