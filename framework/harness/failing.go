package harness

import (
	"slices"

	"mesh-egress-conformance/framework/engine"
)

// Failing is a case that fails, while it stands as it is, and the pods in which that can be looked at.
type Failing struct {
	engine.Failing
	Pods []ClientPod
}

// ClientPod is where a client of a case runs.
type ClientPod struct {
	Client, Namespace, Pod string
	Container              string // from which attempts are made; "" where the pod has no shell
	Captured               bool   // it has a sidecar
}

// failingIn finds the pods of the probes that fail.
func failingIn(cl clients, f engine.Failing) Failing {
	out := Failing{Failing: f}
	var named []string
	for _, p := range f.Probes {
		for _, name := range []string{p.Probe.From, p.Carrier} {
			pod, err := cl.get(name)
			if err != nil || slices.Contains(named, name) {
				continue
			}
			named = append(named, name)
			out.Pods = append(out.Pods, ClientPod{Client: name, Namespace: pod.Namespace, Pod: pod.PodName, Container: pod.Container, Captured: pod.Captured()})
		}
	}
	return out
}
