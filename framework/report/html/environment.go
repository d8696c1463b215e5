package html

import (
	"fmt"
	"slices"

	"mesh-egress-conformance/framework/report"
)

// environment is what the run happened in.
type environment struct {
	Facts      []fact
	Deviations []string // from an installation by the charts' defaults
	Components []report.Component
	Clients    []report.Client
}

func environmentOf(r *report.Report) environment {
	e := r.Environment
	shard := ""
	if r.Shard != nil {
		shard = fmt.Sprintf("%s of %d cases", r.Shard, r.Shard.Cases)
	}
	out := environment{Deviations: e.Deviations, Components: e.Components, Clients: e.Clients}
	for _, f := range []fact{
		{"Provider", e.Provider},
		{"Cluster", e.Cluster},
		{"Kubernetes", e.Kubernetes},
		{"Istio", e.Istio},
		{"Envoy", envoy(e)},
		{"Components from source", e.Source},
		{"Internet", e.Internet},
		{"Sabotage", e.Sabotage},
		{"Shard", shard},
	} {
		if f.Value != "" {
			out.Facts = append(out.Facts, f)
		}
	}
	return out
}

// envoy is the version of the proxy, and whose build of it this is. Components that are built have the upstream project's
// Envoy, as one of their parts; the official images have Istio's own, which cannot be seen in a cluster of somebody else's.
func envoy(e report.Environment) string {
	stock := slices.ContainsFunc(e.Components, func(c report.Component) bool { return c.Name == "envoy" && c.Source == "build" })
	switch {
	case e.Envoy == "":
		return ""
	case stock:
		return e.Envoy + ", stock build without Istio's filters"
	case e.Source == "image":
		return e.Envoy + ", Istio's own build"
	}
	return e.Envoy
}
