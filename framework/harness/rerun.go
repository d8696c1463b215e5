package harness

import (
	"cmp"
	"slices"

	"al.essio.dev/pkg/shellescape"

	"mesh-egress-conformance/framework/cluster"
)

// defaultCommand runs cases again where a session was not opened by a command that says how.
var defaultCommand = []string{"egressctl", "run"}

// place says in which cluster, and in which state of it, cases have run.
type place struct {
	provider, name      string
	kubeconfig, context string // of a cluster of somebody else; "" for one of the harness's own
	istio               string // of one of the harness's own
	internet            cluster.InternetKind
	sabotage            Sabotage
}

// flags of egressctl run that mean the same place.
func (p place) flags() []string {
	var out []string
	add := func(flag, value string) {
		if value != "" {
			out = append(out, flag, value)
		}
	}
	if p.kubeconfig != "" {
		add("--kubeconfig", p.kubeconfig)
		add("--context", p.context)
	} else {
		add("--provider", p.provider)
		add("--name", p.name)
		add("--istio", p.istio)
	}
	if p.internet == cluster.Live {
		add("--internet", string(cluster.Live))
	}
	add("--sabotage", string(p.sabotage))
	return out
}

// rerun is a command line for a shell that runs one case again.
func rerun(command []string, p place, name string) string {
	if len(command) == 0 {
		command = defaultCommand
	}
	return shellescape.QuoteCommand(slices.Concat(command, p.flags(), []string{"--case", name}))
}

// place is the session's own.
func (s *site) place() place {
	f := s.env.facts
	p := place{provider: f.Provider, name: s.opts.Name, istio: cmp.Or(s.opts.Components.Istio, f.Istio), sabotage: s.opts.Sabotage}
	if s.env.internet == nil {
		p.internet = cluster.Live
	}
	if !s.env.ours {
		p.kubeconfig, p.context = s.env.cluster.Kubeconfig(), s.env.cluster.Name()
	}
	return p
}
