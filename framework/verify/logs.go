package verify

import (
	"fmt"
	"slices"

	"mesh-egress-conformance/framework/manifest"
)

// Logs are what the mesh configuration of a cluster says of access logs, without which a sidecar is no witness.
type Logs struct {
	// Written says that sidecars write one to their standard output, where no Telemetry says otherwise.
	Written bool
	// Providers are those that write one there, in a format that can be read.
	Providers []string
}

// remedy is what a team can do where nobody's sidecar writes an access log that can be read.
func (l Logs) remedy() string {
	provider := "envoy"
	if len(l.Providers) > 0 {
		provider = l.Providers[0]
	}
	return fmt.Sprintf("their sidecars write no access log that can be read, and without it nothing is proven. Nothing was made. "+
		"Apply, in each namespace or in %s for all, {apiVersion: telemetry.istio.io/v1, kind: Telemetry, metadata: {name: access-log}, spec: {accessLogging: [{providers: [{name: %s}]}]}}, "+
		"or set accessLogFile: /dev/stdout in the mesh configuration, without an accessLogFormat of your own", RootNamespace, provider)
}

// silent says why the sidecar of a workload's pod writes no access log that can be read; "" where it does. The nearest Telemetry that
// says anything of access logs decides: the workload's, its namespace's, the mesh's (istio.io, Telemetry API, "Scope, Inheritance, and
// Overrides").
func (g guards) silent(w Workload) string {
	readable, by := g.logs.Written, "the mesh configuration"
	for _, level := range []func(manifest.Object) bool{
		func(x manifest.Object) bool { return x.Namespace() == RootNamespace && !narrow(x) },
		func(x manifest.Object) bool { return x.Namespace() == w.Namespace && !narrow(x) },
		func(x manifest.Object) bool {
			return x.Namespace() == w.Namespace && narrow(x) && subset(stringMap(x.At("spec", "selector", "matchLabels")), w.Labels) && x.At("spec", "selector") != nil
		},
	} {
		for _, x := range g.objects {
			logging := mappings(x.At("spec", "accessLogging"))
			if x.Group()+"/"+x.Kind() == "telemetry.istio.io/Telemetry" && len(logging) > 0 && level(x) {
				readable, by = g.logs.writes(logging, readable), x.String()
			}
		}
	}
	if readable {
		return ""
	}
	return fmt.Sprintf("its sidecar writes no access log that can be read (%s)", by)
}

// narrow says whether a Telemetry is for some of its namespace alone.
func narrow(x manifest.Object) bool {
	return x.At("spec", "selector") != nil || x.At("spec", "targetRef") != nil || x.At("spec", "targetRefs") != nil
}

// writes says whether access logging, as a Telemetry has it, writes a line of every call that a workload makes. What names no provider
// leaves it to those above it.
func (l Logs) writes(logging []map[string]any, above bool) bool {
	out := false
	for _, x := range logging {
		match, _ := x["match"].(map[string]any)
		if match["mode"] == "SERVER" {
			continue
		}
		if off, _ := x["disabled"].(bool); off {
			return false
		}
		if x["filter"] != nil {
			continue
		}
		names := mappings(x["providers"])
		out = out || len(names) == 0 && above || slices.ContainsFunc(names, func(p map[string]any) bool {
			name, _ := p["name"].(string)
			return slices.Contains(l.Providers, name)
		})
	}
	return out
}
