package casefile

import (
	"strings"
	"testing"
	"time"

	"mesh-egress-conformance/framework/egress"
)

// Held connections, shares and attempts at once as people write them.
func TestParseAttempts(t *testing.T) {
	parse := func(probe string) (egress.Case, error) {
		f := Load(folder(map[string]string{"tcp/a.yaml": "claim: c\nsource: s\nprobes:\n  - " + probe + "\n"}))
		if err := f.Mistakes.Err(); err != nil {
			return egress.Case{}, err
		}
		return one(t, f).Case, nil
	}
	c, err := parse(`{url: "tcp://tcp.example:9000", send: a, hold: {pause: 1.5s, then: b}, parallel: 5, overflow: {applied: 2..4, removed: 0}, want: BRST OPEN BRST}`)
	if err != nil {
		t.Fatal(err)
	}
	p := c.Probes[0]
	if time.Duration(p.Hold.Pause) != 1500*time.Millisecond || p.Hold.Then != "b" || p.Parallel != 5 || p.Overflow[egress.Applied] != (egress.Count{Min: 2, Max: 4}) {
		t.Errorf("%+v", p)
	}
	c, err = parse(`{url: "tcp://tcp.example:9000", hold: {from: applied, then: b}, want: BRST OK OPEN}`)
	if err != nil || *c.Probes[0].Hold.From != egress.Applied || c.Probes[0].Wants[egress.Removed] != egress.Open {
		t.Errorf("%+v %v", c.Probes, err)
	}
	c, err = parse(`{url: "http://a.example/", repeat: 50, spread: {applied: {a.example: ">=40%", b.example: "30%..60%"}}, want: B502 OK B502}`)
	if err != nil || c.Probes[0].Spread[egress.Applied]["b.example"] != (egress.Share{Min: 0.3, Max: 0.6}) || c.Probes[0].Attempts(egress.Applied) != 50 {
		t.Errorf("%+v %v", c.Probes, err)
	}
	for probe, want := range map[string]string{
		`{url: "tcp://a.example:1", hold: {pause: soon}, want: OPEN}`:                 "tcp/a.yaml:4",
		`{url: "tcp://a.example:1", hold: {rest: 1s}, want: OPEN}`:                    `unknown field "rest"`,
		`{url: "http://a.example/", hold: {pause: 1s}, want: OPEN}`:                   "only tcp and tls connections can be held",
		`{url: "http://a.example/", spread: {applied: {a.example: half}}}`:            "write 30%, >=30%, <=30% or 30%..70%",
		`{url: "http://a.example/", parallel: 3, overflow: {applied: many}}`:          "is no number of attempts",
		`{url: "http://a.example/", spread: {applied: {a.example: "60%"}}, want: OK}`: "must be named",
	} {
		if _, err := parse(probe); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: want an error with %q, got %v", probe, want, err)
		}
	}
}
