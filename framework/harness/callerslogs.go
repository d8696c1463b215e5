package harness

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/mesh"
)

// follow reads the access log of a caller's sidecar, from its first line on and after its end. It tries until there is one.
func (c *callers) follow(ctx context.Context, pod string) {
	var last error
	err := wait.PollUntilContextCancel(ctx, callerLook, true, func(ctx context.Context) (bool, error) {
		var l *mesh.AccessLog
		if l, last = mesh.FollowAccessLog(ctx, c.s.conn.cs, mesh.LogSource{Namespace: callersNamespace, Pod: pod, Whole: true}); last != nil {
			return false, nil
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.logs[pod] = l
		return true, nil
	})
	if err != nil && last != nil {
		c.fault(fmt.Errorf("the sidecar of pod %s is no witness: %w", pod, last))
	}
}

// hearSidecars gives what the sidecars have written to what was heard, and follows them no more. Those of pods that are there
// still have a moment to write about the last attempts.
func (c *callers) hearSidecars(ctx context.Context, there []string) {
	for _, pod := range there {
		if l, a := c.logs[pod], c.heard.lastOf(pod); l != nil && a.report.LocalPort != 0 { // that it does not come is no fault: the line is missing then
			_, _ = l.Wait(ctx, c.s.opts.Limits.Log.Line, 0, egress.Lines{Match: a.is})
		}
	}
	c.heard.mu.Lock()
	defer c.heard.mu.Unlock()
	c.heard.logs = map[string][]egress.AccessLog{}
	for pod, l := range c.logs {
		c.heard.logs[pod] = l.Lines(0, egress.Lines{})
		l.Close()
	}
}

// lastOf is the last attempt of a pod over a connection of its own, of which the sidecar writes at once.
func (h *heard) lastOf(pod string) answer {
	h.mu.Lock()
	defer h.mu.Unlock()
	var last answer
	for _, a := range h.answers {
		if a.stream.Pod == pod && !a.target.Held && a.began.After(last.began) {
			last = a
		}
	}
	return last
}

// is says whether a line of the sidecar is about the attempt's connection: both ends must agree, since the kernel gives a
// port to another connection at once if that goes elsewhere.
func (a answer) is(l egress.AccessLog) bool {
	end := func(ip string, port int) string { return net.JoinHostPort(ip, strconv.Itoa(port)) }
	return a.report.LocalPort != 0 && l.DownstreamRemote == end(a.report.LocalIP, a.report.LocalPort) && l.DownstreamLocal == end(a.report.RemoteIP, a.report.RemotePort)
}

// slack is how far the clocks of a caller, its sidecar and the internet are apart at most: they are those of one machine, or
// of its containers. Between the same two ends, a port is not used again so soon.
const slack = time.Second

// lineOf is the line that is meant, of a connection that was there at that time.
func lineOf(lines []egress.AccessLog, at time.Time, is func(egress.AccessLog) bool) (egress.AccessLog, bool) {
	for _, l := range lines {
		if !is(l) {
			continue
		}
		began, err := time.Parse(time.RFC3339Nano, l.StartTime)
		ended := began.Add(time.Duration(l.Duration) * time.Millisecond)
		if err == nil && !at.Before(began.Add(-slack)) && !at.After(ended.Add(slack)) {
			return l, true
		}
	}
	return egress.AccessLog{}, false
}

// line is what the sidecar has written about an attempt.
func (h *heard) line(a answer) (egress.AccessLog, bool) {
	return lineOf(h.logs[a.stream.Pod], a.began, a.is)
}

// wentOut says whether the sidecar has had a connection to somewhere for it.
func wentOut(l egress.AccessLog) bool { return l.UpstreamLocal != "" }

// sidecar is what the sidecar of a pod has to say about something that has arrived from it; "" where nobody reads its log.
func (h *heard) sidecar(pod string, a egress.Arrival) string {
	lines, followed := h.logs[pod]
	if !followed {
		return ""
	}
	l, found := lineOf(lines, a.Time, func(l egress.AccessLog) bool { return l.UpstreamLocal == a.Peer && l.UpstreamHost == a.Local })
	if !found {
		return "it has written nothing of this connection"
	}
	return lineWords(l)
}

// lineWords is a line of an access log, shortened.
func lineWords(l egress.AccessLog) string {
	return fmt.Sprintf("%d %s by cluster %s (%s), to %s", l.ResponseCode, cmp.Or(l.ResponseFlags, "-"), cmp.Or(l.UpstreamCluster, "none"), cmp.Or(l.ResponseDetails, "no details"), cmp.Or(l.UpstreamHost, "nowhere"))
}
