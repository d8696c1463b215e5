package engine

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"

	"mesh-egress-conformance/framework/egress"
)

// unlike compares fields of a witness, by their JSON names, with regular expressions. It says what
// differs, "" for nothing.
func unlike(what string, witness any, want map[string]string) string {
	if len(want) == 0 {
		return ""
	}
	b, err := json.Marshal(witness)
	var have map[string]any
	if err == nil {
		err = json.Unmarshal(b, &have)
	}
	if err != nil || have == nil {
		return what + " is missing"
	}
	extra, _ := have["extra"].(map[string]any)
	for _, field := range slices.Sorted(maps.Keys(want)) {
		v, ok := have[field]
		if !ok {
			v = extra[field]
		}
		if v == nil {
			v = ""
		}
		if got := fmt.Sprint(v); !regexp.MustCompile(want[field]).MatchString(got) {
			return fmt.Sprintf("%s has %s %q, wanted %s", what, field, got, want[field])
		}
	}
	return ""
}

// evidence puts the witnesses of the last round into one line. The arrivals that no probe explains are told where the
// attempt has none of its own: what the destination's log holds is never called nothing.
func evidence(os []egress.Observation, strays []egress.Arrival) string {
	if len(os) == 0 {
		return ""
	}
	o := os[len(os)-1]
	s := fmt.Sprintf("client: exit %d", o.Client.ExitCode)
	if !o.Client.Shell && !o.Client.Raw {
		s += fmt.Sprintf(" status %03d", o.Client.HTTPCode)
	}
	if o.Client.GRPC != "" {
		s += " grpc-status " + o.Client.GRPC
	}
	switch {
	case len(o.Mesh) > 0:
		s += "; sidecar: " + decision(o.Mesh[len(o.Mesh)-1])
		for _, h := range o.Hops {
			if h.Line == nil {
				s += fmt.Sprintf("; gateway %s: no line", h.Gateway)
				continue
			}
			s += fmt.Sprintf("; gateway %s: %s", h.Gateway, decision(*h.Line))
		}
	case o.Captured:
		s += "; sidecar: not used"
	default:
		s += "; no sidecar"
	}
	a := o.Reception()
	if a == nil && len(o.Arrivals) > 0 {
		a = &o.Arrivals[0]
	}
	switch {
	case a != nil:
		return s + fmt.Sprintf("; %s saw %s", a.Server, a.Peer)
	case o.Blind && o.Reached() != "":
		return s + "; answered by " + o.Reached()
	case o.Blind:
		return s + "; the destination does not tell"
	}
	if len(strays) > 0 {
		return s + "; " + unexplained(strays)
	}
	return s + "; no arrival"
}

// decision is what a proxy did with an attempt.
func decision(l egress.AccessLog) string {
	name := l.UpstreamCluster
	if name == "" {
		name = "route " + l.RouteName
	}
	if l.ResponseFlags != "" {
		name += " " + l.ResponseFlags
	}
	return name
}

// unexplained tells of arrivals that belong to no probe.
func unexplained(strays []egress.Arrival) string {
	return fmt.Sprintf("%s has an unexplained arrival from this pod (%s)", strays[0].Server, strays[0].Peer)
}
