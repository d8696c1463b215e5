package engine

import (
	"context"
	"testing"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/probe"
	"mesh-egress-conformance/framework/probe/wire"
)

// The probe agent makes an attempt for every protocol that a case may name, and for no other.
func TestAgentKnowsProtocols(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // nobody is called
	for _, p := range egress.Protocols() {
		r := probe.Run(ctx, probe.Spec{URL: p.Scheme + "://127.0.0.1:1/"}, &probe.Conns{})
		if r.ExitCode == wire.ExitUsage {
			t.Errorf("%s: %s", p.Scheme, r.Error)
		}
	}
	if r := probe.Run(ctx, probe.Spec{URL: "gopher://127.0.0.1:1/"}, &probe.Conns{}); r.ExitCode != wire.ExitUsage {
		t.Errorf("an unknown scheme: %+v", r)
	}
}
