package egress

import (
	"fmt"
	"net/url"
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

// The features that cases may need.
const (
	IstioFilters   Feature = "istio-filters" // Istio's own build of Envoy
	Hermetic       Feature = "hermetic"      // an internet whose arrival log can be read
	EgressGateway  Feature = "egress-gateway"
	IngressGateway Feature = "ingress-gateway"
	MeshConfig     Feature = "mesh-config" // the run may change mesh-wide settings
)

// Needs are the conditions under which a case makes sense.
type Needs struct {
	Features []Feature `json:"features,omitempty"`
}

// Case is one claim about egress traffic: data, no code.
type Case struct {
	Name     string   `json:"name"`
	Area     string   `json:"area"`
	Claim    string   `json:"claim"`
	Source   string   `json:"source"` // document, release note or issue that the claim comes from
	Since    string   `json:"since,omitempty"`
	Until    string   `json:"until,omitempty"`
	Needs    Needs    `json:"needs,omitzero"`
	Fixtures []string `json:"fixtures,omitempty"` // files below fixtures/
	// Policy is the mesh-wide outbound policy while the case is applied; "" leaves REGISTRY_ONLY.
	Policy Policy   `json:"policy,omitempty"`
	Probes []Probe  `json:"probes"`
	Labels []string `json:"labels,omitempty"`
	// Unchanged names clients whose pod, image and restart count must be the same in all phases.
	Unchanged []string `json:"unchanged,omitempty"`
}

// Probe is one attempt to reach something.
type Probe struct {
	From    string   `json:"from"`              // client name
	URL     string   `json:"url,omitempty"`     // for curl probes
	Args    []string `json:"args,omitempty"`    // further curl arguments
	Command string   `json:"command,omitempty"` // a shell command of a document, run verbatim
	// Server is the host of the internet that must receive it; the URL's host if empty.
	Server string `json:"server,omitempty"`
	// Through names the client whose sidecar carries the egress, when From only calls it.
	Through string `json:"through,omitempty"`
	// Within is a CIDR that the address at which the connection arrived must lie in.
	Within string `json:"within,omitempty"`
	// Output is a regular expression for the command's output wherever the destination is reached.
	Output string `json:"output,omitempty"`
	// Encrypted demands that the destination received TLS, whatever the client spoke.
	Encrypted bool `json:"encrypted,omitempty"`
	// Dead says that the target cannot be reached by anyone, control client included.
	Dead bool `json:"dead,omitempty"`
	// Wants are the accepted outcomes before, applied and removed.
	Wants [phases]Outcome `json:"wants"`
}

// GET is a curl probe.
func GET(from, url string, args ...string) Probe { return Probe{From: from, URL: url, Args: args} }

// Shell is a document's command, run verbatim; server is the host that it is meant to reach.
func Shell(from, server, command string) Probe {
	return Probe{From: from, Server: server, Command: command}
}

// Want sets the accepted outcome of each phase.
func (p Probe) Want(before, applied, removed Outcome) Probe {
	p.Wants = [phases]Outcome{before, applied, removed}
	return p
}

// At sets the host that must receive the probe.
func (p Probe) At(server string) Probe { p.Server = server; return p }

// In sets the CIDR in which the connection must arrive.
func (p Probe) In(cidr string) Probe { p.Within = cidr; return p }

// Via sets the client whose sidecar carries the egress.
func (p Probe) Via(client string) Probe { p.Through = client; return p }

// Prints sets what the command must print when the destination is reached.
func (p Probe) Prints(re string) Probe { p.Output = re; return p }

// OverTLS demands TLS at the destination.
func (p Probe) OverTLS() Probe { p.Encrypted = true; return p }

// Unreachable marks a target that nobody can reach.
func (p Probe) Unreachable() Probe { p.Dead = true; return p }

// Destination is the name of the host that must receive the probe.
func (p Probe) Destination() string {
	if p.Server != "" {
		return p.Server
	}
	u, err := url.Parse(p.URL)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

// ForControl is the same attempt as the control client makes it. Where another workload carries the
// egress, the control client calls the destination itself.
func (p Probe) ForControl() Probe {
	if p.Through != "" {
		p.URL, p.Args = "http://"+p.Server+"/", nil
	}
	return p
}

// Carrier is the client whose sidecar carries the egress.
func (p Probe) Carrier() string {
	if p.Through != "" {
		return p.Through
	}
	return p.From
}

func (p Probe) String() string {
	s := p.From + " → " + p.URL
	if p.Command != "" {
		s = p.From + " $ " + p.Command
	}
	if len(p.Args) > 0 {
		s += " " + strings.Join(p.Args, " ")
	}
	return s
}

// Clients lists the clients that the case uses, without repetition.
func (c Case) Clients() []string {
	var out []string
	for _, p := range c.Probes {
		for _, n := range []string{p.From, p.Carrier()} {
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
	for _, v := range []string{c.Since, c.Until} {
		if _, err := parseMinor(v); v != "" && err != nil {
			return bad("%v", err)
		}
	}
	for i, p := range c.Probes {
		switch {
		case p.From == "":
			return bad("probe %d: from is missing", i)
		case (p.URL == "") == (p.Command == ""):
			return bad("probe %d: exactly one of url and command must be set", i)
		case p.Destination() == "":
			return bad("probe %d: no destination host in %q; set server", i, p.URL)
		}
		if _, err := regexp.Compile(p.Output); err != nil {
			return bad("probe %d: output: %w", i, err)
		}
		for ph, w := range p.Wants {
			if w == 0 || w >= lastOutcome {
				return bad("probe %d: no wanted outcome for phase %s", i, Phase(ph))
			}
		}
		if p.Wants[Before] != p.Wants[Removed] {
			return bad("probe %d: removal must restore what was before (%s), not %s", i, p.Wants[Before], p.Wants[Removed])
		}
	}
	return nil
}

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

// parseMinor turns "1.31" or "1.31.2" into a comparable number.
func parseMinor(v string) (int, error) {
	f := strings.SplitN(v, ".", 3)
	if len(f) < 2 {
		return 0, fmt.Errorf("version %q is not of the form 1.31", v)
	}
	major, err1 := strconv.Atoi(f[0])
	minor, err2 := strconv.Atoi(f[1])
	if err1 != nil || err2 != nil || major < 0 || minor < 0 || minor > 9999 {
		return 0, fmt.Errorf("version %q is not of the form 1.31", v)
	}
	return major*10000 + minor, nil
}
