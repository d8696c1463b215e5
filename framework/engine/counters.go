package engine

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/probe"
)

// adminURL is where a sidecar shows its statistics to the pod that it is in (Envoy, "Administration interface").
const adminURL = "http://127.0.0.1:15000/stats?filter="

// counted makes an attempt and notes by how much the sidecar's counters grew that the probe names in a phase.
func (r *run) counted(ctx context.Context, t *try) round {
	names := slices.Sorted(maps.Keys(t.probe.Counts[t.phase]))
	if len(names) == 0 {
		return r.execute(ctx, t.probe.From, t.probe, t.index)
	}
	before, err := r.counters(ctx, t.probe.From, names)
	x := r.execute(ctx, t.probe.From, t.probe, t.index)
	after, err2 := r.counters(ctx, t.probe.From, names)
	if x.err = errors.Join(x.err, err, err2); x.err != nil {
		return x
	}
	x.counters = map[string]int64{}
	for _, n := range names {
		x.counters[n] = after[n] - before[n]
	}
	return x
}

// counters reads a client's sidecar. Envoy makes a counter when it is first needed, so a missing one is 0.
func (r *run) counters(ctx context.Context, client string, names []string) (map[string]int64, error) {
	ctx, cancel := context.WithTimeout(ctx, r.e.ProbeTimeout)
	defer cancel()
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = regexp.QuoteMeta(n)
	}
	page := adminURL + url.QueryEscape("^("+strings.Join(quoted, "|")+")$")
	out, err := r.e.Clients.Do(ctx, client, probe.Request{Argv: []string{"curl", "-sS", "-f", "-m", strconv.Itoa(seconds(r.e.Limits.Pods.Request)), page}})
	if err == nil && out.ExitCode != 0 {
		err = fmt.Errorf("curl exits with %d: %s", out.ExitCode, shorten(out.Stderr))
	}
	if err != nil {
		return nil, fmt.Errorf("read the counters of the sidecar of client %q: %w", client, err)
	}
	return parseCounters(out.Stdout)
}

// parseCounters reads lines of the form "name: 3".
func parseCounters(text string) (map[string]int64, error) {
	out := map[string]int64{}
	for lines := bufio.NewScanner(strings.NewReader(text)); lines.Scan(); {
		name, value, ok := strings.Cut(lines.Text(), ": ")
		n, err := strconv.ParseInt(value, 10, 64)
		if !ok || err != nil {
			return nil, fmt.Errorf("the sidecar's statistics have the line %.100q, which is no counter", lines.Text())
		}
		out[name] = n
	}
	return out, nil
}

// miscounted says which counter did not grow as a probe wants it; "" for none.
func miscounted(o egress.Observation, want map[string]int64) string {
	for _, n := range slices.Sorted(maps.Keys(want)) {
		if o.Counters[n] != want[n] {
			return fmt.Sprintf("the sidecar's counter %s grew by %d, wanted %d", n, o.Counters[n], want[n])
		}
	}
	return ""
}

// grown puts counters into words, for the evidence.
func grown(counters map[string]int64) string {
	var out strings.Builder
	for _, n := range slices.Sorted(maps.Keys(counters)) {
		fmt.Fprintf(&out, "; %s +%d", n, counters[n])
	}
	return out.String()
}
