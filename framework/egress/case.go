package egress

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Policy is the mesh's outbound traffic policy (meshConfig.outboundTrafficPolicy.mode).
type Policy string

// The policies.
const (
	RegistryOnly Policy = "REGISTRY_ONLY"
	AllowAny     Policy = "ALLOW_ANY"
)

// Feature is something that a cluster, mesh or internet may or may not have.
type Feature string

// The features that the harness itself knows how to provide or find.
const (
	IstioFilters   Feature = "istio-filters"
	Hermetic       Feature = "hermetic"
	EgressGateway  Feature = "egress-gateway"
	IngressGateway Feature = "ingress-gateway"
	MeshConfig     Feature = "mesh-config"
	Credential     Feature = "client-credential"
	TPROXY         Feature = "tproxy"
	GatewayAPI     Feature = "gateway-api"
	NFTables       Feature = "nftables"
	NetworkPolicy  Feature = "network-policy"
	IPv6           Feature = "ipv6"
)

// features are all that cases may need, with what each means.
var features = map[Feature]string{
	IstioFilters:   "Istio's own build of Envoy, which only the official proxy image has",
	Hermetic:       "an internet whose arrival log can be read",
	EgressGateway:  "an egress gateway",
	IngressGateway: "an ingress gateway",
	MeshConfig:     "leave to change mesh-wide settings",
	GatewayAPI:     "the CRDs of the Gateway API",
	NetworkPolicy:  "something that enforces NetworkPolicies",
	IPv6:           "pods with IPv6 addresses",
	TPROXY:         "a kernel with the TPROXY target",
	NFTables:       "a proxy image with nft",
	Credential:     "a client certificate of the internet's CA, and leave to let sidecars read Secrets",
}

// Meaning says what a feature is.
func (f Feature) Meaning() string { return features[f] }

// Case is one claim about egress traffic: data, no code.
type Case struct {
	Name     string    `json:"name"`
	File     string    `json:"-"` // that it was read from, for messages
	Area     string    `json:"area"`
	Claim    string    `json:"claim"`
	Source   string    `json:"source"`             // document, release note or issue that the claim comes from
	Observed string    `json:"observed,omitempty"` // where the sources are silent or wrong: what was observed, and on what
	Row      string    `json:"row,omitempty"`      // row of the catalogue that it covers, such as "http/dns-allow"
	Since    string    `json:"since,omitempty"`    // first Istio minor version of which the claim holds
	Until    string    `json:"until,omitempty"`    // last one
	Needs    []Feature `json:"needs,omitempty"`    // without them the case is skipped
	Labels   []string  `json:"labels,omitempty"`   // for --label-filter; the area is one too

	// Setup is objects that are there from before the first phase until after the last one.
	Setup    []Object `json:"setup,omitempty"`
	Fixtures []string `json:"fixtures,omitempty"` // files with objects; see framework/casefile for where they lie
	Objects  []Object `json:"objects,omitempty"`  // further Kubernetes objects
	// Change is applied in phase changed; objects of the same name are replaced. Delete names what is
	// removed then, as Kind/name.
	Change []Object `json:"change,omitempty"`
	Delete []string `json:"delete,omitempty"`
	// Refused are objects that the API server must not accept.
	Refused []Object `json:"refused,omitempty"`
	// Policy is the mesh-wide outbound policy while the case is applied; "" leaves REGISTRY_ONLY.
	Policy Policy `json:"policy,omitempty"`
	// BaseMeshConfig is merged into the mesh configuration before phase before and stays until the end; cases
	// with the same one share it.
	BaseMeshConfig Object `json:"baseMeshConfig,omitempty"`
	// MeshConfig is merged into the mesh configuration while the case is applied.
	MeshConfig Object `json:"meshConfig,omitempty"`
	// DNS is what names resolve to from a phase on: the name of a host of the internet, NXDOMAIN or SERVFAIL. It
	// is forgotten when the case ends.
	DNS map[Phase]map[string]string `json:"dns,omitempty"`
	// Istiod is how many replicas the istiod of a revision has from a phase on, by the revision's name: 0 sends it away.
	// It is as before when the case ends.
	Istiod map[Phase]map[string]int `json:"istiod,omitempty"`

	// Curl says that curl makes every HTTP attempt, as in the documents that a case comes from.
	Curl   bool    `json:"curl,omitempty"`
	Probes []Probe `json:"probes"`
	// Unacknowledged says that proxies may not acknowledge what the case applies, or not for long, as where a certificate is not there: it
	// is not waited for.
	Unacknowledged bool `json:"unacknowledged,omitempty"`
	// Unchanged names clients whose pod, image and restart count must be the same in all phases.
	Unchanged []string `json:"unchanged,omitempty"`
}

// Object is one Kubernetes object as YAML has it, or a part of one.
type Object = map[string]any

// Probe is one attempt to reach something.
type Probe struct {
	From string `json:"from,omitempty"` // client name; "client" if empty
	// URL names protocol and target, see framework/probe. The probe agent makes the attempt; curl does
	// where the probe has arguments for it, or where the case says so.
	URL     string   `json:"url,omitempty"`
	Args    []string `json:"args,omitempty"`    // curl arguments
	Command string   `json:"command,omitempty"` // a shell command of a document, run verbatim
	Connect string   `json:"connect,omitempty"` // host:port to dial instead of the URL's
	SNI     string   `json:"sni,omitempty"`     // server name of a tls probe; "-" sends none
	Send    string   `json:"send,omitempty"`    // what a tcp, tls or udp probe writes first
	// Bare makes a tcp probe content with a connection that stays: it sends nothing, and wants no answer. No case file has it.
	Bare bool `json:"-"`
	// Server is the host of the internet that the control client reaches; the dialled host if empty. Where the
	// URL's name exists for the mesh alone, the control client calls the server by its own.
	Server string `json:"server,omitempty"`
	// ArrivesAt is where the mesh leads the probe in a phase, if that is another host.
	ArrivesAt ByPhase[string] `json:"arrivesAt,omitempty"`
	// Through names the client whose sidecar carries the egress, when From only calls it.
	Through ByPhase[string] `json:"through,omitempty"`
	// Within is a CIDR that the address at which the connection arrived must lie in.
	Within ByPhase[string] `json:"within,omitempty"`
	// Output is a regular expression for the output wherever there is an answer.
	Output ByPhase[string] `json:"output,omitempty"`
	// SameOutput demands that the output is the same in all phases.
	SameOutput bool `json:"sameOutput,omitempty"`
	// Arrival has regular expressions for fields of the arrival, such as sni, alpn, host, clientCert or
	// "header x-forwarded-proto"; AccessLog for fields of the sidecar's access log line, GatewayLog for those of the line of the
	// last gateway on the way.
	Arrival    ByPhase[map[string]string] `json:"arrival,omitempty"`
	AccessLog  ByPhase[map[string]string] `json:"accessLog,omitempty"`
	GatewayLog ByPhase[map[string]string] `json:"gatewayLog,omitempty"`
	// Arrivals is how many arrivals one attempt causes.
	Arrivals ByPhase[int] `json:"arrivals,omitempty"`
	// Counts is by how much one attempt makes counters of the client's sidecar grow, by Envoy's names for them, such
	// as tcp.BlackHoleCluster.downstream_cx_total. The sidecar must keep them (proxyStatsMatcher).
	Counts ByPhase[map[string]int64] `json:"counts,omitempty"`
	// Encrypted demands that the destination received TLS, whatever the client spoke.
	Encrypted ByPhase[bool] `json:"encrypted,omitempty"`
	// Dead says that the target cannot be reached by anyone, control client included.
	Dead bool `json:"dead,omitempty"`
	// Hold keeps the connection for a pause, or over phases.
	Hold *Hold `json:"hold,omitempty"`
	// Repeat is how many attempts each phase makes once its result has settled; 0 leaves it to the engine.
	Repeat int `json:"repeat,omitempty"`
	// Spread is, by phase, which part of the attempts each host receives, in place of ArrivesAt.
	Spread map[Phase]Spread `json:"spread,omitempty"`
	// Parallel is how many attempts are made at once; 0 makes one. Overflow is, by phase, how many of them the
	// sidecar refuses because a limit is reached (503UO); all others must be as wanted.
	Parallel int             `json:"parallel,omitempty"`
	Overflow map[Phase]Count `json:"overflow,omitempty"`
	// Wants are the accepted outcomes of each phase.
	Wants Wants `json:"want"`
	// Versions are demands of some Istio versions in place of these.
	Versions []Variant `json:"versions,omitempty"`
}

// GET is a curl probe.
func GET(from, url string, args ...string) Probe { return Probe{From: from, URL: url, Args: args} }

// Want sets the accepted outcome of each phase.
func (p Probe) Want(before, applied, removed Outcome) Probe {
	p.Wants = Wants{Before: before, Applied: applied, Removed: removed}
	return p
}

// Clients lists the clients that the case uses, without repetition.
func (c Case) Clients() []string {
	var out []string
	for _, p := range c.Probes {
		for _, n := range append([]string{p.From}, p.carriers()...) {
			if !slices.Contains(out, n) {
				out = append(out, n)
			}
		}
	}
	return out
}

var nameRE = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)

// Check finds mistakes in a case; the error names the case and the field.
func (c Case) Check() error {
	bad := func(format string, a ...any) error {
		return fmt.Errorf("case %q: "+format, append([]any{c.Name}, a...)...)
	}
	switch {
	case !nameRE.MatchString(c.Name):
		return bad("name must be lower-case words joined by dashes")
	case c.Area == "":
		return bad("area is missing")
	case c.Claim == "":
		return bad("claim is missing")
	case c.Source == "":
		return bad("source is missing: say where the claim comes from")
	case len(c.Probes) == 0:
		return bad("no probes")
	}
	for _, f := range c.Needs {
		if f.Meaning() == "" {
			return bad("needs: feature %q is unknown; known: %v", f, slices.Sorted(maps.Keys(features)))
		}
	}
	for _, v := range []string{c.Since, c.Until} {
		if _, err := parseMinor(v); v != "" && err != nil {
			return bad("%v", err)
		}
	}
	if len(c.DNS) > 0 && !slices.Contains(c.Needs, Hermetic) {
		return bad("dns: only the hermetic internet's answers can be changed; add it to needs")
	}
	if len(c.DNS[Before])+len(c.DNS[Removed]) > 0 {
		return bad("dns: answers begin in phase applied or changed, and end with the case")
	}
	if err := c.checkIstiod(); err != nil {
		return bad("istiod: %w", err)
	}
	for i, p := range c.Probes {
		if err := c.checkProbe(p); err != nil {
			return bad("probe %d: %w", i, err)
		}
		if err := c.checkVariants(p); err != nil {
			return bad("probe %d: %w", i, err)
		}
	}
	return nil
}

// checkProbe finds mistakes in a probe of the case.
func (c Case) checkProbe(p Probe) error {
	switch {
	case p.From == "":
		return errors.New("from is missing")
	case p.URL != "" && p.Protocol().Scheme == "":
		return fmt.Errorf("scheme %q is unknown; known: %s", p.Scheme(), Schemes())
	case len(p.Args) > 0 && !p.Protocol().Web:
		return fmt.Errorf("args are for curl, not for %s", p.Scheme())
	case (p.URL == "") == (p.Command == ""):
		return errors.New("exactly one of url and command must be set")
	case p.Destination() == "" && !p.Protocol().Question:
		return fmt.Errorf("no destination host in %q; set server", p.URL)
	}
	for _, re := range p.patterns() {
		if _, err := regexp.Compile(re); err != nil {
			return err
		}
	}
	if err := p.checkAttempts(); err != nil {
		return err
	}
	if n := p.idleCounter(); n != "" {
		return fmt.Errorf("counter %s grows in no phase, so a misspelled name would do as well", n)
	}
	return c.checkWants(p)
}

func (c Case) checkWants(p Probe) error {
	for _, ph := range Phases() {
		if w := p.Wants[ph]; ph == Changed && w == 0 && !c.Changes() {
			continue
		} else if w == 0 || w >= lastOutcome {
			return fmt.Errorf("no wanted outcome for phase %s", ph)
		}
	}
	if p.Wants[Changed] != 0 && !c.Changes() && !p.Wants.always() {
		return errors.New("it wants something for phase changed, but the case has none: no change, delete, dns or istiod")
	}
	if p.Wants[Before] != p.Wants[Removed] && !p.Hold.Resumes(Removed) {
		return fmt.Errorf("removal must restore what was before (%s), not %s", p.Wants[Before], p.Wants[Removed])
	}
	return nil
}

func (p Probe) patterns() []string {
	out := slices.Collect(maps.Values(p.Output))
	for _, m := range []ByPhase[map[string]string]{p.Arrival, p.AccessLog, p.GatewayLog} {
		for _, fields := range m {
			out = append(out, slices.Collect(maps.Values(fields))...)
		}
	}
	return out
}

// idleCounter names a counter that is never wanted to grow; "" if there is none.
func (p Probe) idleCounter() string {
	grows := map[string]int64{}
	for _, counters := range p.Counts {
		for n, by := range counters {
			grows[n] = max(grows[n], by)
		}
	}
	for _, n := range slices.Sorted(maps.Keys(grows)) {
		if grows[n] <= 0 {
			return n
		}
	}
	return ""
}

// Gateway says whether the case needs a gateway.
func (c Case) Gateway() bool {
	return slices.Contains(c.Needs, IngressGateway) || slices.Contains(c.Needs, EgressGateway)
}

// Changes says whether the case has the phase changed.
func (c Case) Changes() bool {
	return len(c.Change)+len(c.Delete)+len(c.DNS[Changed])+len(c.Istiod[Changed]) > 0
}

// Names are those whose DNS answers the case changes, sorted.
func (c Case) Names() []string {
	all := map[string]bool{}
	for _, names := range c.DNS {
		for n := range names {
			all[n] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}

// Phases are the phases of this case in order.
func (c Case) Phases() []Phase {
	return slices.DeleteFunc(Phases(), func(p Phase) bool { return p == Changed && !c.Changes() })
}

// ChangesMesh says whether the case changes the mesh configuration while it is applied.
func (c Case) ChangesMesh() bool { return c.Policy != "" || len(c.MeshConfig) > 0 }

// AppliesTo says whether the claim is about an Istio version such as "1.31", and if not, why.
func (c Case) AppliesTo(version string) (bool, string) {
	have, err := parseMinor(version)
	if err != nil {
		return true, "" // a version that cannot be read limits nothing
	}
	if s, err := parseMinor(c.Since); err == nil && have < s {
		return false, "claim holds since Istio " + c.Since
	}
	if u, err := parseMinor(c.Until); err == nil && have > u {
		return false, "claim held until Istio " + c.Until
	}
	return true, ""
}

// Older says whether a version such as "1.20" comes before another.
func Older(version, than string) bool {
	v, err1 := parseMinor(version)
	t, err2 := parseMinor(than)
	return err1 == nil && err2 == nil && v < t
}

// parseMinor turns "1.31" or "1.31.2" into a comparable number.
func parseMinor(v string) (int, error) {
	f := strings.SplitN(v, ".", 3)
	if len(f) < 2 {
		return 0, fmt.Errorf("version %q is not of the form 1.31", v)
	}
	major, err1 := strconv.Atoi(f[0])
	minor, err2 := strconv.Atoi(f[1])
	if err1 != nil || err2 != nil || major < 0 || minor < 0 || minor >= minors {
		return 0, fmt.Errorf("version %q is not of the form 1.31", v)
	}
	return major*minors + minor, nil
}

// minors is how many minor versions a major one may have, as parseMinor counts them.
const minors = 10000
