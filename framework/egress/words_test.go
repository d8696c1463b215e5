package egress

import (
	"strings"
	"testing"
	"unicode"
)

// A table of outcomes must be readable without a legend, so each has words of its own.
func TestEveryOutcomeHasWords(t *testing.T) {
	seen := map[string]Outcome{}
	for b := OK; b < lastOutcome; b <<= 1 {
		w := b.Words()
		letters := strings.Count(strings.Map(func(r rune) rune {
			if unicode.IsLower(r) {
				return 'a'
			}
			return -1
		}, w), "a")
		if letters < 4 || strings.Contains(w, b.String()) && len(b.String()) > 2 {
			t.Errorf("outcome %s: %q are no words for people", b, w)
		}
		if other, taken := seen[w]; taken {
			t.Errorf("%s and %s are both %q", b, other, w)
		}
		seen[w] = b
	}
}

func TestWordsOfSets(t *testing.T) {
	for want, o := range map[string]Outcome{
		"blocked":                             Blocked,
		"allowed in any way":                  Reached,
		"blocked (reset)":                     BRST,
		"allowed or name resolved":            OK | Named,
		"allowed in any way or blocked":       Reached | Blocked,
		"anything":                            ^Outcome(0),
		"nothing proven":                      0,
		"blocked or no answer (timeout)":      Blocked | TMO,
		"allowed, unregistered (passthrough)": Pass,
	} {
		if got := o.Words(); got != want {
			t.Errorf("%s: %q, wanted %q", o, got, want)
		}
	}
}
