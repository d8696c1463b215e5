package egress

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Hold keeps the connection of a tcp or tls probe after its first exchange. It has a pause, or a phase, or both.
type Hold struct {
	// Pause is how long the connection is idle before it is used again, in every phase.
	Pause Duration `json:"pause,omitempty"`
	// Then is written after the pause, and an answer must come; "" only looks whether the connection is still there.
	Then string `json:"then,omitempty"`
	// From is the phase in which a connection is opened that the later phases use. In earlier phases the probe is an
	// ordinary one. Nil holds a connection of its own in every phase.
	From *Phase `json:"from,omitempty"`
}

// Opens says whether a connection that later phases use is opened in a phase.
func (h *Hold) Opens(ph Phase) bool { return h != nil && h.From != nil && ph == *h.From }

// Resumes says whether a phase uses a connection that an earlier one has opened.
func (h *Hold) Resumes(ph Phase) bool { return h != nil && h.From != nil && ph > *h.From }

// Within says whether a connection is opened and held within a phase.
func (h *Hold) Within() bool { return h != nil && h.From == nil }

// maxPause bounds the pause of a held connection: the hosts of the internet end a connection after five minutes.
const maxPause = Duration(2 * time.Minute)

// Duration is a time.Duration that reads and writes itself as text such as "1.5s".
type Duration time.Duration

func (d Duration) String() string { return time.Duration(d).String() }

// MarshalText writes it as time.Duration does.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads what time.ParseDuration reads.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	*d = Duration(v)
	return err
}

// Share is the part of a phase's attempts that a host may receive, from 0 to 1.
type Share struct {
	Min, Max float64
}

// Certain says that one attempt can contradict the share.
func (s Share) Certain() bool { return s.Min == s.Max && (s.Min == 0 || s.Min == 1) }

func (s Share) String() string {
	percent := func(x float64) string { return strconv.FormatFloat(math.Round(x*1e6)/1e4, 'f', -1, 64) + "%" }
	switch {
	case s.Min == s.Max:
		return percent(s.Min)
	case s.Max == 1:
		return ">=" + percent(s.Min)
	case s.Min == 0:
		return "<=" + percent(s.Max)
	}
	return percent(s.Min) + ".." + percent(s.Max)
}

// MarshalText writes what UnmarshalText reads.
func (s Share) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads "30%", ">=30%", "<=30%" or "30%..70%".
func (s *Share) UnmarshalText(b []byte) error {
	bad := fmt.Errorf("share %q: write 30%%, >=30%%, <=30%% or 30%%..70%%", b)
	percent := func(t string) float64 {
		t, ok := strings.CutSuffix(strings.TrimSpace(t), "%")
		v, err := strconv.ParseFloat(t, 64)
		if !ok || err != nil || !(v >= 0 && v <= 100) { // not a number is neither
			return math.NaN()
		}
		return v / 100
	}
	t := strings.TrimSpace(string(b))
	from, to, isRange := strings.Cut(t, "..")
	switch {
	case strings.HasPrefix(t, ">="):
		*s = Share{percent(t[2:]), 1}
	case strings.HasPrefix(t, "<="):
		*s = Share{0, percent(t[2:])}
	case isRange:
		*s = Share{percent(from), percent(to)}
	default:
		*s = Share{percent(t), percent(t)}
	}
	if math.IsNaN(s.Min) || math.IsNaN(s.Max) || s.Min > s.Max {
		return bad
	}
	return nil
}

// Count is a number of attempts, or a range of such numbers.
type Count struct {
	Min, Max int
}

func (c Count) String() string {
	if c.Min == c.Max {
		return strconv.Itoa(c.Min)
	}
	return fmt.Sprintf("%d..%d", c.Min, c.Max)
}

// Has says whether n is in the range.
func (c Count) Has(n int) bool { return n >= c.Min && n <= c.Max }

// MarshalJSON writes a number, or a range as text.
func (c Count) MarshalJSON() ([]byte, error) {
	if c.Min == c.Max {
		return json.Marshal(c.Min)
	}
	return json.Marshal(c.String())
}

// UnmarshalJSON reads 3 or "2..5".
func (c *Count) UnmarshalJSON(b []byte) error {
	from, to, isRange := strings.Cut(strings.Trim(string(b), `"`), "..")
	if !isRange {
		to = from
	}
	low, err1 := strconv.Atoi(from)
	high, err2 := strconv.Atoi(to)
	if err := errors.Join(err1, err2); err != nil || low < 0 || low > high {
		return fmt.Errorf("%s is no number of attempts: write 3 or 2..5", b)
	}
	*c = Count{low, high}
	return nil
}

// Limits of what one probe may ask for.
const (
	maxRepeat   = 2000
	maxParallel = 64
)

// checkAttempts finds mistakes in what a probe says about repetition, held connections and attempts at once.
func (p Probe) checkAttempts() error {
	switch h := p.Hold; {
	case h == nil:
	case !p.Protocol().Holds:
		return fmt.Errorf("hold: only tcp and tls connections can be held, not %q", p.Scheme())
	case h.Pause < 0 || h.Pause > maxPause:
		return fmt.Errorf("hold: pause %s is not between 0 and %s", h.Pause, maxPause)
	case h.Pause == 0 && h.From == nil:
		return errors.New("hold: give a pause, such as 2s, or from, the phase in which the connection is opened")
	case h.From != nil && *h.From == Removed:
		return errors.New("hold: from: no phase comes after removed")
	case h.From != nil && (p.Repeat > 0 || p.Parallel > 0 || len(p.Spread) > 0):
		return errors.New("hold: from means one connection: it goes with neither repeat, spread nor parallel")
	}
	switch {
	case p.Repeat < 0 || p.Repeat > maxRepeat:
		return fmt.Errorf("repeat: %d is not between 1 and %d", p.Repeat, maxRepeat)
	case p.Parallel < 0 || p.Parallel > maxParallel || p.Parallel == 1:
		return fmt.Errorf("parallel: %d is not between 2 and %d", p.Parallel, maxParallel)
	case p.Parallel > 0 && (p.Repeat > 0 || len(p.Spread) > 0 || len(p.Counts) > 0 || p.Protocol().Keeps):
		return errors.New("parallel goes with neither repeat, spread, counts nor keep")
	case len(p.Overflow) > 0 && p.Parallel == 0:
		return errors.New("overflow: say with parallel how many attempts are made at once")
	}
	for ph, n := range p.Overflow {
		if n.Max > p.Parallel {
			return fmt.Errorf("overflow: %s of %d attempts in phase %s", n, p.Parallel, ph)
		}
	}
	for _, ph := range Phases() {
		if err := p.Spread[ph].check(); err != nil {
			return fmt.Errorf("spread: phase %s: %w", ph, err)
		}
	}
	return nil
}

// Spread is the share of each host.
type Spread map[string]Share

func (s Spread) check() error {
	if len(s) == 0 {
		return nil
	}
	least, most := 0.0, 0.0
	for _, share := range s {
		least += share.Min
		most += share.Max
	}
	const rounding = 1e-9
	switch {
	case least > 1+rounding:
		return fmt.Errorf("the shares are %.4g%% together, at the least", least*100)
	case most < 1-rounding:
		return fmt.Errorf("the shares are %.4g%% together, at the most; every host at which an attempt may arrive must be named", most*100)
	}
	return nil
}

// Attempts is how many attempts, after the result has settled, a phase makes.
func (p Probe) Attempts(ph Phase) int {
	if p.Repeat > 0 || len(p.Spread[ph]) == 0 {
		return p.Repeat
	}
	for _, share := range p.Spread[ph] {
		if !share.Certain() {
			return sharesNeed
		}
	}
	return certainNeeds
}

const (
	// sharesNeed is how many attempts tell 70% from 50%.
	sharesNeed = 200
	// certainNeeds is how many attempts meet one of two equal hosts but with a chance below one in a million.
	certainNeeds = 21
)

// Contradicts says whether n of all attempts are too few or too many for a share: by one attempt where the share is
// certain; otherwise when so few, or so many, would come about in less than one of a million runs of a mesh that gives
// each attempt to the host with the nearest probability that the share allows.
func (s Share) Contradicts(n, all int) bool {
	if all == 0 {
		return false
	}
	return s.Min > 0 && atMost(n, all, s.Min) < FalseAlarm || s.Max < 1 && atMost(all-n, all, 1-s.Max) < FalseAlarm
}

// FalseAlarm is the chance of error that everything counted at random stays below.
const FalseAlarm = 1e-6

// atMost is the chance that n or fewer of all independent attempts with probability p succeed.
func atMost(n, all int, p float64) float64 {
	if p >= 1 {
		if n >= all {
			return 1
		}
		return 0
	}
	sum, logP, logQ := 0.0, math.Log(p), math.Log1p(-p)
	allFact, _ := math.Lgamma(float64(all) + 1)
	for k := 0; k <= n; k++ {
		a, _ := math.Lgamma(float64(k) + 1)
		b, _ := math.Lgamma(float64(all-k) + 1)
		sum += math.Exp(allFact - a - b + float64(k)*logP + float64(all-k)*logQ)
	}
	return min(sum, 1)
}

// Misses is how many attempts are needed until the chance that any of the endpoints was never chosen is below
// FalseAlarm, when each is chosen with a probability in proportion to its weight. All weights are positive.
func Misses(weights []int) int {
	total := 0
	for _, w := range weights {
		total += w
	}
	if len(weights) < 2 || total <= 0 {
		return 0
	}
	missed := func(n int) float64 { // no more than this, by adding up
		sum := 0.0
		for _, w := range weights {
			sum += math.Exp(float64(n) * math.Log1p(-float64(w)/float64(total)))
		}
		return sum
	}
	n := 1
	for ; missed(n) >= FalseAlarm; n *= 2 {
	}
	low := n / 2
	for n-low > 1 {
		if mid := (low + n) / 2; missed(mid) < FalseAlarm {
			n = mid
		} else {
			low = mid
		}
	}
	return n
}

// Hosts are the hosts of a spread, sorted.
func (s Spread) Hosts() []string {
	out := make([]string, 0, len(s))
	for h := range s {
		out = append(out, h)
	}
	slices.Sort(out)
	return out
}
