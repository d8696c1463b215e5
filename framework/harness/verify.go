package harness

import (
	"fmt"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/mesh"
	"mesh-egress-conformance/framework/why"
)

// Standing is what somebody's objects come to, while questions are asked of it.
type Standing struct {
	// Config is laid over the installed mesh configuration.
	Config egress.Object
	// Objects are applied in their order, as they are; Secrets after their placeholders were replaced.
	Objects, Secrets []egress.Object
	// Gateways says that the gateways of the installation are needed, GatewayAPI that its kinds are.
	Gateways, GatewayAPI bool
	// Clients are those that ask, by their names in Options.Clients. Each asks all Probes, whose From is replaced.
	Clients []string
	Probes  []egress.Probe
	// Stays leaves what stands to the next examination, which changes what differs and nothing else, and at last to Close.
	Stays bool
}

// Examined is what was heard.
type Examined struct {
	// Heard is by client, in the order of the probes; a client that did not start has none.
	Heard map[string]Heard
	// Refused are objects that the API server or a webhook did not take, or whose gateway did not come up, by their place in
	// Standing.Objects; Unstarted are clients whose pods did not become ready, and Unheard those whose proxy did not say what it has.
	Refused            map[int]error
	Unstarted, Unheard map[string]error
	// Notes are what a reader must know, such as that a proxy did not acknowledge what was applied.
	Notes []string
}

// Heard is what one client was told.
type Heard struct {
	Results []egress.ProbeResult
	// Around is what is known of its proxy and of the cluster's objects.
	Around why.Question
}

// settled notes what is worth it of a wait.
func (x *Examined) settled(s mesh.Settled) {
	x.Notes = append(x.Notes, s.Rejections...)
	if s.Note != "" && !s.Acknowledged { // else it says how they came to have it
		x.Notes = append(x.Notes, s.Note)
	}
}

// tell takes what one client was told; one whose proxy does not say what it has keeps no other from being heard.
func (x *Examined) tell(client string, h Heard, err error) {
	if err != nil {
		x.Unheard[client] = fmt.Errorf("read what the proxy of %s has: %w", client, err)
		return
	}
	x.Heard[client] = h
}
