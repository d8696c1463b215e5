package egress

import (
	"encoding/json"
	"maps"
	"reflect"
	"strings"
	"testing"
)

func TestByPhase(t *testing.T) {
	for text, want := range map[string]ByPhase[string]{
		`"x"`:                             Always("x"),
		`{"applied": "x"}`:                {Applied: "x"},
		`{"before": "x", "removed": "y"}`: {Before: "x", Removed: "y"},
	} {
		var got ByPhase[string]
		if err := json.Unmarshal([]byte(text), &got); err != nil || !maps.Equal(got, want) {
			t.Errorf("%s: %v (%v), wanted %v", text, got, err, want)
		}
	}
	for text, want := range map[string]ByPhase[map[string]string]{
		`{"sni": "x"}`:              Always(map[string]string{"sni": "x"}),
		`{"applied": {"sni": "x"}}`: {Applied: {"sni": "x"}},
	} {
		var got ByPhase[map[string]string]
		if err := json.Unmarshal([]byte(text), &got); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v (%v), wanted %v", text, got, err, want)
		}
	}
	for text, why := range map[string]string{
		`{"later": "x"}`:                  `phase "later" is unknown`,
		`{"applied": "x", "sni": "y"}`:    "phases (applied) are mixed with what is none (sni)",
		`[1]`:                             "cannot unmarshal",
		`{"applied": 1}`:                  "cannot unmarshal",
		`{"applied": "x", "removed": {}}`: "cannot unmarshal",
	} {
		var got ByPhase[string]
		if err := json.Unmarshal([]byte(text), &got); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v (%v), wanted an error with %q", text, got, err, why)
		}
	}
	var misspelled ByPhase[map[string]string]
	if err := json.Unmarshal([]byte(`{"later": {"sni": "x"}}`), &misspelled); err == nil || !strings.Contains(err.Error(), `phase "later" is unknown`) {
		t.Errorf("a misspelled phase: %v (%v)", misspelled, err)
	}
	b, err := json.Marshal(Always(true))
	var again ByPhase[bool]
	if err == nil {
		err = json.Unmarshal(b, &again)
	}
	if err != nil || !maps.Equal(again, Always(true)) {
		t.Errorf("written as %s and read as %v (%v)", b, again, err)
	}
}
