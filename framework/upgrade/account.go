// Package upgrade says what an upgrade of Istio has done to the traffic that leaves the mesh: from samples, which attempts
// at a fixed pace are, it accounts for how long allowed traffic failed and blocked traffic got out. It knows no cluster.
package upgrade

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"
)

// Outcome is what an attempt came to.
type Outcome int

// The outcomes; the zero value is none.
const (
	Fine    Outcome = iota + 1 // as it must be: answered where it is allowed, refused where it is blocked
	Failed                     // allowed, and not answered
	Leaked                     // blocked, and it arrived
	Unknown                    // nobody knows: the attempt could not be made, or its answer was lost
)

// Stream is attempts of one pod at one target, one after another.
type Stream struct {
	Pod    string
	Target string // name of a Target
}

// Sample is one attempt.
type Sample struct {
	Stream
	Outcome Outcome
	// Began is when it was made, by the clock of the pod's node. It stands for the time until the stream's next sample.
	Began time.Time
	// Seen says who has seen what came out; nothing for what is fine.
	Seen Witnesses
}

// Witnesses are what each has seen of an attempt; "" for one that has nothing to say.
type Witnesses struct {
	// Client is what the caller says, Sidecar the line in its proxy's access log, Destination the arrival at the internet.
	Client      string `json:"client,omitempty"`
	Sidecar     string `json:"sidecar,omitempty"`
	Destination string `json:"destination,omitempty"`
}

// String is all of it in one line.
func (w Witnesses) String() string {
	var out []string
	for _, x := range [][2]string{{"client", w.Client}, {"sidecar", w.Sidecar}, {"destination", w.Destination}} {
		if x[1] != "" {
			out = append(out, x[0]+": "+x[1])
		}
	}
	return strings.Join(out, "; ")
}

// span is the time that a sample stands for.
type span struct {
	Sample
	to time.Time
}

// reach is how many times the pace a sample stands for at most: where the next one comes later, nobody has looked.
const reach = 2

// spans are the times that samples stand for, and the longest time for which a stream's next sample was late. The last
// one of a stream stands for one pace: after that its pod was not to be asked any more.
func spans(samples []Sample, pace time.Duration) (out []span, gap map[Stream][]span) {
	by := map[Stream][]Sample{}
	for _, s := range samples {
		by[s.Stream] = append(by[s.Stream], s)
	}
	gap = map[Stream][]span{}
	for stream, all := range by {
		slices.SortStableFunc(all, func(a, b Sample) int { return a.Began.Compare(b.Began) })
		for i, s := range all {
			end := s.Began.Add(pace)
			if i+1 < len(all) {
				end = all[i+1].Began
			}
			if latest := s.Began.Add(reach * pace); end.After(latest) {
				gap[stream] = append(gap[stream], span{s, end})
				end = latest
			}
			out = append(out, span{s, end})
		}
	}
	return out, gap
}

// Incident is a time without a break in which attempts at a target came out badly, whichever pod made them.
type Incident struct {
	Target  string
	Outcome Outcome
	From    time.Time
	To      time.Time
	Pods    []string // sorted
	// Attempts came out so; Samples are the first of them, mostSamples at most, in the order of their time.
	Attempts int
	Samples  []Sample
}

// mostSamples are told of one incident.
const mostSamples = 100

// incidents joins what samples of one target and outcome stand for, where they touch or overlap.
func incidents(all []span, o Outcome) []Incident {
	by := map[string][]span{}
	for _, s := range all {
		if s.Outcome == o {
			by[s.Target] = append(by[s.Target], s)
		}
	}
	var out []Incident
	for _, target := range slices.Sorted(maps.Keys(by)) {
		bad := by[target]
		slices.SortStableFunc(bad, func(a, b span) int { return a.Began.Compare(b.Began) })
		for i, s := range bad {
			if last := len(out) - 1; i > 0 && !s.Began.After(out[last].To) {
				out[last].join(s)
				continue
			}
			out = append(out, Incident{Target: target, Outcome: o, From: s.Began, To: s.to, Pods: []string{s.Pod}, Attempts: 1, Samples: []Sample{s.Sample}})
		}
	}
	slices.SortStableFunc(out, func(a, b Incident) int { return cmp.Or(a.From.Compare(b.From), cmp.Compare(a.Target, b.Target)) })
	return out
}

func (i *Incident) join(s span) {
	i.Attempts++
	if len(i.Samples) < mostSamples {
		i.Samples = append(i.Samples, s.Sample)
	}
	if s.to.After(i.To) {
		i.To = s.to
	}
	if at, known := slices.BinarySearch(i.Pods, s.Pod); !known {
		i.Pods = slices.Insert(i.Pods, at, s.Pod)
	}
}

// window is the time from and until; until is not part of it.
type window struct{ from, to time.Time }

func (w window) has(t time.Time) bool { return !t.Before(w.from) && t.Before(w.to) }

// covered is how much of a window incidents cover together: where two targets fail at once, that time counts once.
func (w window) covered(all []Incident) time.Duration {
	sorted := slices.Clone(all)
	slices.SortStableFunc(sorted, func(a, b Incident) int { return a.From.Compare(b.From) })
	sum, until := time.Duration(0), w.from
	for _, i := range sorted {
		from, to := i.From, i.To
		if from.Before(until) {
			from = until
		}
		if to.After(w.to) {
			to = w.to
		}
		if to.After(from) {
			sum += to.Sub(from)
			until = to
		}
	}
	return sum
}
