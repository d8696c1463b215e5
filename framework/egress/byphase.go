package egress

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// ByPhase is a demand that may differ from phase to phase. In a case file it is a plain value, which holds in all
// phases, or a map by phase; a phase that the map does not name demands nothing.
type ByPhase[T any] map[Phase]T

// Always is the same demand in all phases.
func Always[T any](v T) ByPhase[T] {
	out := ByPhase[T]{}
	for _, ph := range Phases() {
		out[ph] = v
	}
	return out
}

// UnmarshalJSON reads a plain value or a map by phase. A value that is a map itself is one by phase if its keys are
// phases.
func (m *ByPhase[T]) UnmarshalJSON(b []byte) error {
	var keys map[string]json.RawMessage
	if trimmed := bytes.TrimSpace(b); len(trimmed) > 0 && trimmed[0] == '{' {
		if err := json.Unmarshal(trimmed, &keys); err != nil {
			return err
		}
	}
	var phases, others []string
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		var ph Phase
		if ph.UnmarshalText([]byte(k)) == nil {
			phases = append(phases, k)
		} else {
			others = append(others, k)
		}
	}
	if len(phases) > 0 && len(others) > 0 {
		return fmt.Errorf("phases (%s) are mixed with what is none (%s): give one value for all phases, or a map by phase", strings.Join(phases, ", "), strings.Join(others, ", "))
	}
	if len(phases) == 0 {
		var v T
		if err := json.Unmarshal(b, &v); err != nil {
			if len(others) > 0 {
				return fmt.Errorf("phase %q is unknown; known: before, applied, changed, removed", others[0])
			}
			return err
		}
		*m = Always(v)
		return nil
	}
	out := map[Phase]T{}
	if err := json.Unmarshal(b, &out); err != nil {
		return err
	}
	*m = out
	return nil
}
