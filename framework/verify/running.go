package verify

import (
	"fmt"
	"slices"

	"mesh-egress-conformance/framework/manifest"
)

// Running are the pods of a workload that run in the cluster that it was read of.
type Running struct {
	Pods int
	Bare int // of them without a sidecar
}

// NotRestarted is the name of the surprise that pods run without the sidecar that new ones get. Only a live cluster shows it.
const NotRestarted = "not-restarted"

// HasSidecar says whether a pod of a cluster, as it runs, has a sidecar.
func HasSidecar(pod manifest.Object) bool {
	proxy := func(c map[string]any) bool { return c["name"] == "istio-proxy" }
	return slices.ContainsFunc(mappings(pod.At("spec", "containers")), proxy) || slices.ContainsFunc(mappings(pod.At("spec", "initContainers")), proxy)
}

// notRestarted finds workloads whose stand-in has a sidecar, and pods of which have none.
func (s *seen) notRestarted() []Surprise {
	var out []Surprise
	for _, h := range s.heard {
		for _, w := range h.Class.Members {
			if !h.Around.Captured || w.Running.Bare == 0 {
				continue
			}
			out = append(out, Surprise{
				Name: NotRestarted, Title: "pods run without the sidecar that new ones get", Objects: []Source{w.source()},
				Why:    "they were started before their namespace or template said so, or while nobody injected; what is blocked here is not blocked for them",
				Proof:  []string{fmt.Sprintf("%d of %d running pods of %s have no sidecar; its stand-in has one", w.Running.Bare, w.Running.Pods, w.Label())},
				Remedy: "restart them (kubectl rollout restart)",
			})
		}
	}
	return out
}
