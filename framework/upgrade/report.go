package upgrade

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Schema names the format of upgrade.json; docs/upgrade.md describes it.
const Schema = "mesh-egress-conformance/upgrade/v1"

// Target is what callers call all the time.
type Target struct {
	Name string `json:"name"`
	URL  string `json:"url"`
	// Host of the internet, at which nothing may arrive if it is Blocked.
	Host    string `json:"host"`
	Blocked bool   `json:"blocked,omitempty"`
	// Held says that it is one connection that is used all the time, and not a new one for each attempt.
	Held bool `json:"held,omitempty"`
	// Through is the gateway through which it must go: what goes out of the caller's own pod has leaked.
	Through string `json:"through,omitempty"`
}

// Moment is something that happened to the mesh or its workloads.
type Moment struct {
	At   time.Time
	What string
}

// Version says of a pod which version its proxy is, and which istiod serves it, as both say themselves.
type Version struct {
	Pod      string `json:"pod"`
	Proxy    string `json:"proxy"`
	Envoy    string `json:"envoy"`
	Revision string `json:"revision,omitempty"`
	Istiod   string `json:"istiod,omitempty"`
}

// Phase is a part of the upgrade, and the versions at its end.
type Phase struct {
	Name     string
	From, To time.Time
	Versions []Version
}

// Record is all that was seen.
type Record struct {
	From, To, Strategy, Sabotage string
	Pace                         time.Duration
	Targets                      []Target
	Phases                       []Phase
	Samples                      []Sample
	Moments                      []Moment
	// Faults are why not all of it can be relied on.
	Faults []string
}

// Report is what an upgrade has done to traffic. Times are seconds since the first phase began.
type Report struct {
	Schema      string         `json:"schema"`
	Started     time.Time      `json:"started"`
	From        string         `json:"from"`
	To          string         `json:"to"`
	Strategy    string         `json:"strategy"`
	Sabotage    string         `json:"sabotage,omitempty"`
	Pace        float64        `json:"paceSeconds"`
	Took        float64        `json:"tookSeconds"`
	Requests    int            `json:"requests"`
	Failures    int            `json:"failures"`
	Leaks       int            `json:"leaks"`
	Unknown     int            `json:"unknown"`
	DropSeconds float64        `json:"dropSeconds"`
	LeakSeconds float64        `json:"leakSeconds"`
	Targets     []Target       `json:"targets"`
	Phases      []PhaseResult  `json:"phases"`
	Timeline    []TimelineItem `json:"timeline"`
	Faults      []string       `json:"faults,omitempty"`
}

// PhaseResult is one phase.
type PhaseResult struct {
	Name        string  `json:"name"`
	From        float64 `json:"from"`
	To          float64 `json:"to"`
	Requests    int     `json:"requests"`
	Failures    int     `json:"failures"`
	Leaks       int     `json:"leaks"`
	Unknown     int     `json:"unknown"`
	DropSeconds float64 `json:"dropSeconds"`
	LeakSeconds float64 `json:"leakSeconds"`
	// LargestGap is the longest time between two attempts of one pod at one target, where it is more than two paces.
	LargestGap float64        `json:"largestGapSeconds,omitempty"`
	Targets    []TargetResult `json:"targets"`
	Versions   []Version      `json:"versions,omitempty"`
}

// TargetResult is one target in one phase.
type TargetResult struct {
	Target      string  `json:"target"`
	Requests    int     `json:"requests"`
	Failures    int     `json:"failures"`
	Leaks       int     `json:"leaks"`
	Unknown     int     `json:"unknown"`
	DropSeconds float64 `json:"dropSeconds"`
	LeakSeconds float64 `json:"leakSeconds"`
}

// The kinds of items of the timeline.
const (
	ItemPhase = "phase"
	ItemEvent = "event"
	ItemDrop  = "drop"
	ItemLeak  = "leak"
)

// TimelineItem is a moment, or a time without a break in which a target's traffic came out badly.
type TimelineItem struct {
	At      float64  `json:"at"`
	Kind    string   `json:"kind"`
	What    string   `json:"what"`
	Target  string   `json:"target,omitempty"`
	Seconds float64  `json:"seconds,omitempty"`
	Count   int      `json:"attempts,omitempty"`
	Pods    []string `json:"pods,omitempty"`
	// Moments are its attempts, of which there may be more.
	Moments []Attempt `json:"moments,omitempty"`
}

// Attempt is one that came out badly: when it was made, from which pod, and who has seen what.
type Attempt struct {
	At  float64 `json:"at"`
	Pod string  `json:"pod"`
	Witnesses
}

// Of accounts for a record.
func Of(r Record) *Report {
	out := &Report{Schema: Schema, From: r.From, To: r.To, Strategy: r.Strategy, Sabotage: r.Sabotage, Pace: r.Pace.Seconds(), Targets: r.Targets, Faults: slices.Clone(r.Faults)}
	if len(r.Phases) == 0 {
		out.Faults = append(out.Faults, "no phase was begun")
		return out
	}
	whole := window{r.Phases[0].From, r.Phases[len(r.Phases)-1].To}
	out.Started, out.Took = whole.from.UTC(), seconds(whole.to.Sub(whole.from))
	all, gaps := spans(r.Samples, r.Pace)
	drops, leaks := incidents(all, Failed), incidents(all, Leaked)
	for _, p := range r.Phases {
		x := phase(p, r, drops, leaks, gaps, whole.from)
		out.Requests, out.Failures, out.Leaks, out.Unknown = out.Requests+x.Requests, out.Failures+x.Failures, out.Leaks+x.Leaks, out.Unknown+x.Unknown
		out.Phases = append(out.Phases, x)
	}
	out.DropSeconds, out.LeakSeconds = seconds(whole.covered(drops)), seconds(whole.covered(leaks))
	out.Faults = append(out.Faults, out.unseen()...)
	out.Timeline = timeline(r, slices.Concat(drops, leaks), whole.from)
	return out
}

// phase accounts for one phase.
func phase(p Phase, r Record, drops, leaks []Incident, gaps map[Stream][]span, start time.Time) PhaseResult {
	w := window{p.From, p.To}
	out := PhaseResult{Name: p.Name, From: seconds(p.From.Sub(start)), To: seconds(p.To.Sub(start)), DropSeconds: seconds(w.covered(drops)), LeakSeconds: seconds(w.covered(leaks)), Versions: p.Versions}
	of := map[string]*TargetResult{}
	for _, t := range r.Targets {
		about := func(i Incident) bool { return i.Target != t.Name }
		of[t.Name] = &TargetResult{
			Target:      t.Name,
			DropSeconds: seconds(w.covered(slices.DeleteFunc(slices.Clone(drops), about))),
			LeakSeconds: seconds(w.covered(slices.DeleteFunc(slices.Clone(leaks), about))),
		}
	}
	for _, s := range r.Samples {
		if t := of[s.Target]; t != nil && w.has(s.Began) {
			t.add(s.Outcome)
		}
	}
	for _, t := range r.Targets {
		x := *of[t.Name]
		out.Requests, out.Failures, out.Leaks, out.Unknown = out.Requests+x.Requests, out.Failures+x.Failures, out.Leaks+x.Leaks, out.Unknown+x.Unknown
		out.Targets = append(out.Targets, x)
	}
	for _, late := range gaps {
		for _, s := range late {
			if w.has(s.Began) {
				out.LargestGap = max(out.LargestGap, seconds(s.to.Sub(s.Began)))
			}
		}
	}
	return out
}

func (t *TargetResult) add(o Outcome) {
	t.Requests++
	switch o {
	case Failed:
		t.Failures++
	case Leaked:
		t.Leaks++
	case Unknown:
		t.Unknown++
	case Fine:
	}
}

// unseen says of which targets and phases nothing is known, so that a zero proves nothing.
func (r *Report) unseen() []string {
	var out []string
	for _, p := range r.Phases {
		for _, t := range p.Targets {
			if t.Requests == t.Unknown {
				out = append(out, fmt.Sprintf("phase %s: no attempt at %s has an outcome", p.Name, t.Target))
			}
		}
	}
	return out
}

// timeline puts phases, moments and incidents in order.
func timeline(r Record, bad []Incident, start time.Time) []TimelineItem {
	var out []TimelineItem
	for _, p := range r.Phases {
		out = append(out, TimelineItem{At: seconds(p.From.Sub(start)), Kind: ItemPhase, What: p.Name})
	}
	for _, m := range r.Moments {
		out = append(out, TimelineItem{At: seconds(m.At.Sub(start)), Kind: ItemEvent, What: m.What})
	}
	kinds := map[Outcome]string{Failed: ItemDrop, Leaked: ItemLeak}
	for _, i := range bad {
		item := TimelineItem{At: seconds(i.From.Sub(start)), Kind: kinds[i.Outcome], What: i.Samples[0].Seen.String(), Target: i.Target, Seconds: seconds(i.To.Sub(i.From)), Count: i.Attempts, Pods: i.Pods}
		for _, s := range i.Samples {
			item.Moments = append(item.Moments, Attempt{seconds(s.Began.Sub(start)), s.Pod, s.Seen})
		}
		out = append(out, item)
	}
	slices.SortStableFunc(out, func(a, b TimelineItem) int {
		switch {
		case a.At < b.At:
			return -1
		case a.At > b.At:
			return 1
		}
		return 0
	})
	return out
}

// seconds are rounded to milliseconds.
func seconds(d time.Duration) float64 { return d.Round(time.Millisecond).Seconds() }

// Leaked says whether blocked traffic got out at any time: what is no target's, or came between two phases, is in no count.
func (r *Report) Leaked() bool { return r.Leaks > 0 || r.LeakSeconds > 0 }

// ExitCode is 1 for any leak, else 2 where not all of it can be relied on, else 0.
func (r *Report) ExitCode() int {
	switch {
	case r.Leaked():
		return 1
	case len(r.Faults) > 0:
		return 2
	}
	return 0
}

// JSON is upgrade.json.
func (r *Report) JSON() ([]byte, error) {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode the report of an upgrade: %w", err)
	}
	return append(b, '\n'), nil
}

// versionsIn counts pods by what they are, for one line.
func versionsIn(all []Version) string {
	n := map[string]int{}
	for _, v := range all {
		n[fmt.Sprintf("proxy %s under istiod %s", v.Proxy, v.Istiod)]++
	}
	out := ""
	for _, k := range slices.Sorted(maps.Keys(n)) {
		if out != "" {
			out += ", "
		}
		out += fmt.Sprintf("%d × %s", n[k], k)
	}
	return out
}
