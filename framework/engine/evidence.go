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

// evidence puts the witnesses of the last round into one line.
func evidence(os []egress.Observation) string {
	if len(os) == 0 {
		return ""
	}
	o := os[len(os)-1]
	s := fmt.Sprintf("client: exit %d", o.Client.ExitCode)
	if !o.Client.Shell && !o.Client.Raw {
		s += fmt.Sprintf(" status %03d", o.Client.HTTPCode)
	}
	switch {
	case len(o.Mesh) > 0:
		l := o.Mesh[len(o.Mesh)-1]
		if len(o.Gateway) > 0 {
			s += "; sidecar: egress gateway, which"
			l = o.Gateway[len(o.Gateway)-1]
		}
		name := l.UpstreamCluster
		if name == "" {
			name = "route " + l.RouteName
		}
		s += "; sidecar: " + name
		if l.ResponseFlags != "" {
			s += " " + l.ResponseFlags
		}
	case o.Captured:
		s += "; sidecar: not used"
	default:
		s += "; no sidecar"
	}
	a := o.Reception()
	switch {
	case a != nil:
		return s + fmt.Sprintf("; %s saw %s", a.Server, a.Peer)
	case o.Blind && o.Reached() != "":
		return s + "; answered by " + o.Reached()
	case o.Blind:
		return s + "; the destination does not tell"
	}
	return s + "; no arrival"
}
