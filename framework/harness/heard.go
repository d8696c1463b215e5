package harness

import (
	"cmp"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/probe"
	"mesh-egress-conformance/framework/upgrade"
)

// answer is an attempt of a caller as the caller tells it.
type answer struct {
	stream upgrade.Stream
	target upgrade.Target
	id     string
	began  time.Time
	ended  time.Time
	report probe.Report
	err    error // there is no report
}

// fine says whether the caller has found what must be. Of a blocked target only the arrival log tells for sure.
func (a answer) fine() bool {
	switch {
	case a.err != nil:
		return false
	case a.target.Blocked:
		return a.report.ExitCode != 0 || a.report.HTTPCode >= 400
	}
	return a.report.ExitCode == 0 && a.report.HTTPCode < 400
}

func (a answer) String() string {
	switch {
	case a.err != nil:
		return a.err.Error()
	case a.report.HTTPCode > 0:
		return strings.TrimSpace(fmt.Sprintf("status %d %s", a.report.HTTPCode, a.report.Error))
	}
	return strings.TrimSpace(fmt.Sprintf("exit %d %s", a.report.ExitCode, a.report.Error))
}

// heard is what the callers and the internet have said.
type heard struct {
	told func(fine bool) // of each answer since then; nil for nobody

	mu      sync.Mutex
	since   time.Time // answers before that are of the preparation
	answers []answer
	last    map[upgrade.Stream]int // how many of a stream's last answers were fine
	pods    map[string]owner       // by address
	log     map[int64]egress.Arrival
	logs    map[string][]egress.AccessLog // of the sidecars, by pod
}

// owner is the caller that has an address, until another pod may have it.
type owner struct {
	pod   string
	until time.Time // zero while it has it
}

func (h *heard) begin() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.since = time.Now()
}

func (h *heard) address(ip, pod string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.pods == nil {
		h.pods = map[string]owner{}
	}
	h.pods[ip] = owner{pod: pod}
}

// left notes that a pod is gone, and its address free.
func (h *heard) left(pod string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for ip, o := range h.pods {
		if o.pod == pod {
			h.pods[ip] = owner{pod, time.Now()}
		}
	}
}

func (h *heard) add(a answer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.last == nil {
		h.last = map[upgrade.Stream]int{}
	}
	h.last[a.stream]++
	if !a.fine() {
		h.last[a.stream] = 0
	}
	h.answers = append(h.answers, a)
	if h.told != nil && !h.since.IsZero() && !a.began.Before(h.since) {
		h.told(a.fine())
	}
}

// unsteady says which target a pod has not found as it must be twice in a row; "" for none.
func (h *heard) unsteady(pods []string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(pods) == 0 {
		return "there is no pod"
	}
	for _, p := range pods {
		for _, t := range callerTargets {
			s := upgrade.Stream{Pod: p, Target: t.Name}
			if h.last[s] >= 2 {
				continue
			}
			for _, a := range slices.Backward(h.answers) {
				if a.stream == s {
					return fmt.Sprintf("%s from pod %s: %s", t.Name, p, a)
				}
			}
			return fmt.Sprintf("%s from pod %s was not tried", t.Name, p)
		}
	}
	return ""
}

// arrive notes arrivals. One that was noted before is replaced: the internet completes an entry when a request comes.
func (h *heard) arrive(log []egress.Arrival) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.log == nil {
		h.log = map[int64]egress.Arrival{}
	}
	for _, a := range log {
		h.log[a.Seq] = a
	}
}

// sorted are the arrivals of attempts by the attempts' ids, a gateway's too, and those that may not be: from a caller's own address
// at what is blocked, or has to go through a gateway.
func (h *heard) sorted() (byID map[string]egress.Arrival, strange []egress.Arrival) {
	byID = map[string]egress.Arrival{}
	for _, seq := range slices.Sorted(maps.Keys(h.log)) {
		a := h.log[seq]
		if a.ProbeID != "" {
			byID[a.ProbeID] = a
		}
		if h.own(a) != "" && slices.ContainsFunc(callerTargets, func(t upgrade.Target) bool { return (t.Blocked || t.Through != "") && t.Host == a.Server }) {
			strange = append(strange, a)
		}
	}
	return byID, strange
}

// samples joins what both have said. Faults are what contradicts itself.
func (h *heard) samples() (out []upgrade.Sample, faults []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	arrivals, strange := h.sorted()
	unproven, unseen := map[string]int{}, map[string]int{}
	leaked := map[string]bool{} // by the other side's address
	for _, a := range h.answers {
		if a.began.Before(h.since) {
			continue
		}
		s := upgrade.Sample{Stream: a.stream, Began: a.began, Outcome: upgrade.Fine}
		arrival, arrived := arrivals[a.id]
		line, logged := h.line(a)
		switch {
		case a.target.Blocked && arrived, a.target.Through != "" && arrived && h.own(arrival) == a.stream.Pod:
			s.Outcome, s.Seen = upgrade.Leaked, upgrade.Witnesses{Client: a.String(), Sidecar: h.sidecar(a.stream.Pod, arrival), Destination: seen(arrival)}
			if !a.target.Blocked {
				s.Seen.Destination += ", around " + a.target.Through
			}
			leaked[arrival.Peer] = true
		case a.err != nil:
			s.Outcome, s.Seen.Client = upgrade.Unknown, a.String()
		case a.target.Blocked && logged && wentOut(line): // and nothing has arrived
			s.Outcome, s.Seen = upgrade.Unknown, upgrade.Witnesses{Client: a.String(), Sidecar: lineWords(line)}
			unseen[a.target.Name]++
		case !a.fine() && a.target.Blocked: // an answer, and nothing has arrived
			s.Outcome, s.Seen.Client = upgrade.Unknown, a.String()
			unproven[a.target.Name]++
		case !a.fine():
			s.Outcome, s.Seen = upgrade.Failed, upgrade.Witnesses{Client: a.String()}
			if logged {
				s.Seen.Sidecar = lineWords(line)
			}
			if arrived {
				s.Seen.Destination = seen(arrival)
			}
		case !a.target.Blocked && !a.target.Held && !arrived:
			s.Outcome, s.Seen.Client = upgrade.Unknown, "answered, and the internet has no arrival"
			unproven[a.target.Name]++
		}
		out = append(out, s)
	}
	out = append(out, h.strangers(strange, leaked)...)
	for _, t := range callerTargets {
		if n := unproven[t.Name]; n > 0 {
			faults = append(faults, fmt.Sprintf("%d attempts at %s were answered, and the internet has no arrival of them", n, t.Name))
		}
		if n := unseen[t.Name]; n > 0 {
			faults = append(faults, fmt.Sprintf("%d attempts at %s have left their pods, as their sidecars say, and the internet has no arrival of them", n, t.Name))
		}
	}
	return out, faults
}

// own is the caller from whose own address something has arrived; "" for none.
func (h *heard) own(a egress.Arrival) string {
	ip, _, err := net.SplitHostPort(a.Peer)
	o := h.pods[ip]
	if err != nil || !o.until.IsZero() && a.Time.After(o.until) {
		return ""
	}
	return o.pod
}

// strangers are leaks of which no caller has told: no request came through, or its caller ended before it was answered.
func (h *heard) strangers(strange []egress.Arrival, known map[string]bool) []upgrade.Sample {
	var out []upgrade.Sample
	for _, x := range strange {
		if known[x.Peer] || x.Time.Before(h.since) {
			continue
		}
		known[x.Peer] = true
		out = append(out, upgrade.Sample{Stream: upgrade.Stream{Pod: h.own(x), Target: targetAt(x)}, Began: x.Time, Outcome: upgrade.Leaked, Seen: upgrade.Witnesses{Sidecar: h.sidecar(h.own(x), x), Destination: seen(x)}})
	}
	return out
}

// targetAt is the target at whose port something arrived.
func targetAt(a egress.Arrival) string {
	_, port, _ := net.SplitHostPort(a.Local)
	for _, t := range callerTargets {
		if t.Host == a.Server && (port == "443") == strings.HasPrefix(t.URL, "https:") {
			return t.Name
		}
	}
	return a.Server
}

// seen says what the internet has seen.
func seen(a egress.Arrival) string {
	return fmt.Sprintf("arrival %d at %s from %s at %s (%s)", a.Seq, a.Server, a.Peer, a.Time.UTC().Format("15:04:05.000"), cmp.Or(a.Host, a.SNI, a.Kind))
}
