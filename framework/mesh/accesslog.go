package mesh

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"

	"mesh-egress-conformance/framework/egress"
)

// ProxyContainer is the sidecar's container.
const ProxyContainer = "istio-proxy"

// AccessLog follows one proxy's access log and holds what came since it began.
type AccessLog struct {
	cancel context.CancelFunc

	mu    sync.Mutex
	lines []egress.AccessLog
	from  map[string][]int // places of lines, by the other end of their connections
	more  chan struct{}    // closed and replaced when a line comes
	ended error
}

// FollowAccessLog starts to follow the log of a proxy.
func FollowAccessLog(ctx context.Context, cs kubernetes.Interface, s LogSource) (*AccessLog, error) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	o := &corev1.PodLogOptions{Container: ProxyContainer, Follow: true}
	if !s.Whole {
		o.TailLines = new(int64)
	}
	stream, err := cs.CoreV1().Pods(s.Namespace).GetLogs(s.Pod, o).Stream(ctx)
	if err != nil {
		cancel()
		return nil, fmt.Errorf("follow the access log of %s/%s: %w", s.Namespace, s.Pod, err)
	}
	l := newAccessLog(cancel)
	go l.read(stream)
	return l, nil
}

func newAccessLog(cancel context.CancelFunc) *AccessLog {
	return &AccessLog{cancel: cancel, from: map[string][]int{}, more: make(chan struct{})}
}

func (l *AccessLog) read(r io.ReadCloser) {
	defer r.Close()
	sc := bufio.NewScanner(r)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		line, err := ParseAccessLog(sc.Text())
		if err != nil {
			continue // the proxy's other output comes by the same way
		}
		l.add(line)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = errors.Join(errEnded, sc.Err())
	close(l.more)
	l.more = make(chan struct{})
}

func (l *AccessLog) add(line egress.AccessLog) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.from[line.DownstreamRemote] = append(l.from[line.DownstreamRemote], len(l.lines))
	l.lines = append(l.lines, line)
	close(l.more)
	l.more = make(chan struct{})
}

var errEnded = errors.New("the log stream of the proxy ended")

// ErrNoLine says that no line of the kind came in time.
var ErrNoLine = errors.New("no such line in the proxy's access log")

// Lines returns the lines that there are now. The first ones of the log, as many as skip says, do not count.
func (l *AccessLog) Lines(skip int, q egress.Lines) []egress.AccessLog {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.find(skip, q)
}

// find is Lines. The caller holds the lock.
func (l *AccessLog) find(skip int, q egress.Lines) []egress.AccessLog {
	var out []egress.AccessLog
	if q.From != "" { // a run that asks thousands of questions asks for the lines of each
		for _, i := range l.from[q.From] {
			if i >= skip && q.Have(l.lines[i]) {
				out = append(out, l.lines[i])
			}
		}
		return out
	}
	for _, x := range l.lines[min(skip, len(l.lines)):] {
		if q.Have(x) {
			out = append(out, x)
		}
	}
	return out
}

// Len is how many lines there are now.
func (l *AccessLog) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.lines)
}

// Wait returns the lines as soon as there is one; ErrNoLine when none comes in time. The first
// lines, as many as skip says, do not count.
func (l *AccessLog) Wait(ctx context.Context, patience time.Duration, skip int, q egress.Lines) ([]egress.AccessLog, error) {
	end := time.After(patience)
	for {
		l.mu.Lock()
		found, more, ended := l.find(skip, q), l.more, l.ended
		l.mu.Unlock()
		switch {
		case len(found) > 0:
			return found, nil
		case ended != nil:
			return nil, ended
		}
		select {
		case <-more:
		case <-end:
			return nil, ErrNoLine
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Close stops following.
func (l *AccessLog) Close() { l.cancel() }

// textLine is Istio's default text format (istio.io, "Envoy Access Logs"). Its last fields tell it from
// everything else that a proxy prints.
var textLine = regexp.MustCompile(`^\[(?P<start>[^\]]+)\] "(?P<method>\S+) (?P<path>\S+) (?P<protocol>[^"]+)" (?P<code>\d+) (?P<flags>\S+) (?P<details>\S+) \S+ "(?P<failure>[^"]*)" ` +
	`\d+ \d+ (?P<duration>\d+) \S+ "[^"]*" "[^"]*" "(?P<id>[^"]*)" "(?P<authority>[^"]*)" "(?P<upstream>[^"]*)" (?P<cluster>\S+) (?P<upstreamlocal>\S+) (?P<local>\S+) (?P<remote>\S+) (?P<sni>\S+) (?P<route>\S+)$`)

// parseText reads a line of the default text format. Missing values are dashes there.
func parseText(line string) (egress.AccessLog, bool) {
	m := textLine.FindStringSubmatch(strings.TrimSpace(line))
	if m == nil {
		return egress.AccessLog{}, false
	}
	get := func(name string) string {
		if v := m[textLine.SubexpIndex(name)]; v != "-" {
			return v
		}
		return ""
	}
	code, err := strconv.Atoi(get("code"))
	took, err2 := strconv.ParseInt(get("duration"), 10, 64)
	err = errors.Join(err, err2)
	return egress.AccessLog{
		StartTime: get("start"), Duration: took, Method: get("method"), Authority: get("authority"), Path: get("path"), Protocol: get("protocol"),
		ResponseCode: code, ResponseFlags: get("flags"), ResponseDetails: get("details"), RouteName: get("route"),
		UpstreamCluster: get("cluster"), UpstreamHost: get("upstream"), UpstreamLocal: get("upstreamlocal"), UpstreamFailure: get("failure"),
		DownstreamLocal: get("local"), DownstreamRemote: get("remote"), SNI: get("sni"), RequestID: get("id"),
	}, err == nil && get("remote") != ""
}

// ParseAccessLog reads one line of Istio's access log, JSON or default text. Lines of anything else are an
// error.
func ParseAccessLog(line string) (egress.AccessLog, error) {
	if a, ok := parseText(line); ok {
		return a, nil
	}
	var a egress.AccessLog
	if !strings.HasPrefix(line, "{") {
		return a, errors.New("not an access log line")
	}
	if err := json.Unmarshal([]byte(line), &a); err != nil {
		return egress.AccessLog{}, fmt.Errorf("read an access log line: %w", err)
	}
	if a.StartTime == "" || a.DownstreamRemote == "" {
		return egress.AccessLog{}, errors.New("not an access log line")
	}
	if a.ResponseFlags == "-" {
		a.ResponseFlags = ""
	}
	return a, nil
}
