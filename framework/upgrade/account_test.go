package upgrade

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"
)

var start = time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)

// at is so many milliseconds after the start.
func at(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }

// stream is samples of a pod at a target, one every 250 ms from a moment on: "." fine, "F" failed, "L" leaked, "?" unknown,
// " " none.
func stream(pod, target string, from int, outcomes string) []Sample {
	of := map[rune]Outcome{'.': Fine, 'F': Failed, 'L': Leaked, '?': Unknown}
	var out []Sample
	for i, o := range []rune(outcomes) {
		if o != ' ' {
			out = append(out, Sample{Stream: Stream{pod, target}, Outcome: of[o], Began: at(from + 250*i), Seen: Witnesses{Client: pod + " saw it"}})
		}
	}
	return out
}

// record is one of two phases of four seconds each.
func record(samples ...[]Sample) Record {
	return Record{
		From: "1.29", To: "1.31", Strategy: "revision", Pace: 250 * time.Millisecond,
		Targets: []Target{{Name: "http"}, {Name: "tls"}, {Name: "evil", Blocked: true}},
		Phases:  []Phase{{Name: "one", From: at(0), To: at(4000)}, {Name: "two", From: at(4000), To: at(8000)}},
		Samples: slices.Concat(samples...),
	}
}

const fine32 = "................................"

// Seconds are those for which samples stand, by phase and in all; each moment counts once.
func TestSeconds(t *testing.T) {
	quiet := [][]Sample{stream("a", "http", 0, fine32), stream("a", "tls", 0, fine32), stream("a", "evil", 0, fine32)}
	for name, x := range map[string]struct {
		samples       [][]Sample
		drop, leak    float64
		phases        [2]float64 // drop- and leak-seconds of each, together
		failed, leak2 int
	}{
		"nothing":                         {quiet, 0, 0, [2]float64{}, 0, 0},
		"one attempt":                     {append(quiet, stream("b", "http", 100, "..F..")), 0.25, 0, [2]float64{0.25, 0}, 1, 0},
		"several in a row":                {append(quiet, stream("b", "http", 0, ".FFFF.")), 1, 0, [2]float64{1, 0}, 4, 0},
		"two incidents":                   {append(quiet, stream("b", "http", 0, ".F..F.")), 0.5, 0, [2]float64{0.5, 0}, 2, 0},
		"two pods at once count once":     {append(quiet, stream("b", "http", 0, ".FF."), stream("c", "http", 0, ".FF.")), 0.5, 0, [2]float64{0.5, 0}, 4, 0},
		"two pods that overlap":           {append(quiet, stream("b", "http", 0, ".FF."), stream("c", "http", 125, ".FF.")), 0.625, 0, [2]float64{0.625, 0}, 4, 0},
		"two targets at once count once":  {append(quiet, stream("b", "http", 0, ".FF."), stream("b", "tls", 0, ".FF.")), 0.5, 0, [2]float64{0.5, 0}, 4, 0},
		"two targets one after the other": {append(quiet, stream("b", "http", 0, ".F.."), stream("b", "tls", 0, "..F.")), 0.5, 0, [2]float64{0.5, 0}, 2, 0},
		"a leak is no drop":               {append(quiet, stream("b", "evil", 0, ".LLLLLLLL.")), 0, 2, [2]float64{2, 0}, 0, 8},
		"over the end of a phase":         {append(quiet, stream("b", "evil", 3500, "LLLL.")), 0, 1, [2]float64{0.5, 0.5}, 0, 4},
		"the last sample of a pod":        {append(quiet, stream("b", "http", 0, ".F")), 0.25, 0, [2]float64{0.25, 0}, 1, 0},
		"the next one is late":            {append(quiet, stream("b", "http", 0, ".F    .")), 0.5, 0, [2]float64{0.5, 0}, 1, 0},
		"unknown is neither":              {append(quiet, stream("b", "http", 0, ".??."), stream("b", "evil", 0, ".??.")), 0, 0, [2]float64{}, 0, 0},
		"unknown ends what was before it": {append(quiet, stream("b", "http", 0, "F?F")), 0.5, 0, [2]float64{0.5, 0}, 2, 0},
		"in no order":                     {append(quiet, stream("b", "http", 500, "F."), stream("b", "http", 0, ".F")), 0.5, 0, [2]float64{0.5, 0}, 2, 0},
		"after the last phase":            {append(quiet, stream("b", "http", 9000, "FF")), 0, 0, [2]float64{}, 0, 0},
		"before the first":                {append(quiet, stream("b", "http", -250, "FF.")), 0.25, 0, [2]float64{0.25, 0}, 1, 0},
	} {
		r := Of(record(x.samples...))
		valid(t, r)
		phases := [2]float64{r.Phases[0].DropSeconds + r.Phases[0].LeakSeconds, r.Phases[1].DropSeconds + r.Phases[1].LeakSeconds}
		if r.DropSeconds != x.drop || r.LeakSeconds != x.leak || phases != x.phases || r.Failures != x.failed || r.Leaks != x.leak2 {
			t.Errorf("%s: %g drop- and %g leak-seconds, phases %v, %d failed, %d leaked; wanted %+v", name, r.DropSeconds, r.LeakSeconds, phases, r.Failures, r.Leaks, x)
		}
		if want := map[bool]int{true: 1}[x.leak > 0]; r.ExitCode() != want || len(r.Faults) > 0 {
			t.Errorf("%s: exit status %d, faults %v", name, r.ExitCode(), r.Faults)
		}
	}
}

// What was not looked at is told: a phase without an answer of a target is no proof, and a pace that was not kept is seen.
func TestUnseen(t *testing.T) {
	r := Of(record(stream("a", "http", 0, fine32), stream("a", "tls", 0, fine32), stream("a", "evil", 0, "................????????????????")))
	if want := []string{"phase two: no attempt at evil has an outcome"}; !slices.Equal(r.Faults, want) || r.ExitCode() != 2 || r.Unknown != 16 {
		t.Errorf("%q, exit status %d, %d unknown", r.Faults, r.ExitCode(), r.Unknown)
	}
	r = Of(record(stream("a", "http", 0, "..        ...........")))
	if r.Phases[0].LargestGap != 2.25 || r.Phases[1].LargestGap != 0 || r.ExitCode() != 2 {
		t.Errorf("%+v", r.Phases)
	}
	if r = Of(Record{}); r.ExitCode() != 2 {
		t.Errorf("nothing at all: %+v", r)
	}
	leaks := record(stream("a", "evil", 0, "L"))
	leaks.Faults = []string{"the control client died"}
	if r = Of(leaks); r.ExitCode() != 1 {
		t.Error("a leak stays one, whatever else went wrong")
	}
}

// An incident has its moment, its pods and its first witness.
func TestTimeline(t *testing.T) {
	rec := record(stream("a", "evil", 0, "....LL.."), stream("b", "evil", 1100, "L"), stream("a", "http", 4100, "F"))
	rec.Moments = []Moment{{at(900), "the policy is open"}}
	rec.Phases[1].Versions = []Version{{Pod: "b", Proxy: "1.31.0", Istiod: "1.31.0"}, {Pod: "a", Proxy: "1.31.0", Istiod: "1.31.0"}}
	r := Of(rec)
	var got []string
	for _, i := range r.Timeline {
		got = append(got, i.line())
	}
	want := []string{
		"phase one", "the policy is open", "LEAK at evil for 0.50s, 3 attempts of a, b: client: a saw it", "phase two", "DROP at http for 0.25s, 1 attempts of a: client: a saw it",
	}
	if !slices.Equal(got, want) || r.Timeline[2].At != 1 {
		t.Errorf("%q", got)
	}
	var text strings.Builder
	if err := r.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{"2 × proxy 1.31.0 under istiod 1.31.0", "    1.00s  LEAK at evil", "3 leaked (0.50 leak-seconds)", "fault: phase one: no attempt at tls"} {
		if !strings.Contains(text.String(), s) {
			t.Errorf("%q is not in\n%s", s, text.String())
		}
	}
	if md := string(r.Markdown()); !strings.HasPrefix(md, "# Upgrade: Blocked traffic got out\n") || !strings.Contains(md, "| 1.00 | LEAK at evil") {
		t.Errorf("%s", md)
	}
	b, err := r.JSON()
	var back Report
	if err == nil {
		err = json.Unmarshal(b, &back)
	}
	if err != nil || back.LeakSeconds != 0.5 || back.Schema != Schema {
		t.Errorf("%v %s", err, b)
	}
}

// What hosts say does not become part of the page.
func TestMarkdownEscapes(t *testing.T) {
	rec := record(stream("a", "http", 0, "F"))
	rec.Samples[0].Seen.Client = "<script>|\n`x`\x1b[31m"
	if md := string(Of(rec).Markdown()); strings.Contains(md, "<script>") || strings.Contains(md, "\x1b") || !strings.Contains(md, `&lt;script>\|`) {
		t.Errorf("%s", md)
	}
}

// A leak that is in no count of attempts, such as one at a host that is no target, is one all the same.
func TestLeaked(t *testing.T) {
	for _, x := range []struct {
		r    Report
		want int
	}{{Report{}, 0}, {Report{Leaks: 1}, 1}, {Report{LeakSeconds: 0.25}, 1}, {Report{LeakSeconds: 0.25, Faults: []string{"x"}}, 1}, {Report{Faults: []string{"x"}}, 2}} {
		if got := x.r.ExitCode(); got != x.want {
			t.Errorf("%+v: exit status %d", x.r, got)
		}
	}
}
