package mesh

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"k8s.io/client-go/kubernetes"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/limits"
)

// LogSource is a proxy whose access log is followed, and how it can be made to write a line.
type LogSource struct {
	Namespace, Pod string
	// IP is the pod's address, by which the lines of its own connections are known.
	IP string
	// Server is the URL of a workload in which no command can be run: the control client calls it, and the
	// proxy writes a line about that. "" where the client makes requests itself.
	Server string
	// Gateway says that the proxy is a gateway's, which cannot be made to write a line. Every connection through
	// it leaves one.
	Gateway bool
	// Whole says that what the proxy has written already counts as well.
	Whole bool
}

// CallFunc makes a request from a client, for the harness itself. It returns the client's port, 0 where there was no
// connection.
type CallFunc func(ctx context.Context, client, url string) (port int, err error)

// AccessLogs follows the access logs of several proxies, by the names of clients and gateways.
type AccessLogs struct {
	cs     kubernetes.Interface
	call   CallFunc
	limits limits.Log

	mu      sync.Mutex
	follow  map[string]followed
	flushes int
}

type followed struct {
	LogSource
	*AccessLog
}

// NewAccessLogs returns an empty set.
func NewAccessLogs(cs kubernetes.Interface, call CallFunc, l limits.Log) *AccessLogs {
	return &AccessLogs{cs: cs, call: call, limits: l, follow: map[string]followed{}}
}

// Source is the proxy whose log has a name.
func (l *AccessLogs) Source(name string) (LogSource, error) {
	f, err := l.of(name)
	return f.LogSource, err
}

func (l *AccessLogs) of(name string) (followed, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if f, ok := l.follow[name]; ok {
		return f, nil
	}
	return followed{}, fmt.Errorf("the access log of %q is not followed", name)
}

// Start follows the log of a proxy under a name.
func (l *AccessLogs) Start(ctx context.Context, name string, s LogSource) error {
	a, err := FollowAccessLog(ctx, l.cs, s)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.follow[name] = followed{s, a}
	return nil
}

// Stop stops following the log that has a name, if there is one.
func (l *AccessLogs) Stop(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if f, ok := l.follow[name]; ok {
		f.Close()
		delete(l.follow, name)
	}
}

// attaches is how often Attached asks for a line.
const attaches = 10

// Attached waits until a followed log really follows: the kubelet answers before it has found the end
// of the file, and what is written in between is lost. A client that cannot make its proxy write
// anything is not waited for long: its cases will say so.
func (l *AccessLogs) Attached(ctx context.Context, client string) error {
	f, err := l.of(client)
	if err != nil {
		return err
	}
	for range attaches {
		path := "/ready?" + l.mark()
		if _, err := l.call(ctx, client, istiodURL+path); err != nil {
			return err
		}
		_, err := f.Wait(ctx, l.limits.Attach, 0, ofPath(path))
		if !errors.Is(err, ErrNoLine) {
			return err
		}
	}
	return nil
}

// istiodURL is what every client's proxy knows whatever else it is allowed to see.
const istiodURL = "http://istiod." + SystemNamespace + ":15014"

// Flush sends one request that the proxy surely logs and waits for its line: the log is written in
// order, so everything before it is there too. The line is known by its path, or by its connection where a
// rule of the next case has made it something else than a request.
func (l *AccessLogs) Flush(ctx context.Context, client string) error {
	f, err := l.of(client)
	if err != nil {
		return err
	}
	switch {
	case f.Gateway:
		return fmt.Errorf("the access log of gateway %s cannot be flushed", client)
	case f.Server != "":
		return l.flushServer(ctx, f)
	}
	path, before := "/ready?"+l.mark(), f.Len()
	port, err := l.call(ctx, client, istiodURL+path)
	if err != nil {
		return err
	}
	local := fmt.Sprintf("%s:%d", f.IP, port)
	_, err = f.Wait(ctx, l.limits.Flush, before, egress.Lines{Match: func(x egress.AccessLog) bool { return x.Path == path || x.DownstreamRemote == local }})
	return err
}

func ofPath(path string) egress.Lines {
	return egress.Lines{Match: func(x egress.AccessLog) bool { return x.Path == path }}
}

// mark is a string that no other request carries.
func (l *AccessLogs) mark() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flushes++
	return fmt.Sprintf("flush=%d-%d", time.Now().UnixNano(), l.flushes)
}

// flushServer does the same for a workload in which no command can be run: the control client calls
// a path of its own, and the line of the inbound request is waited for.
func (l *AccessLogs) flushServer(ctx context.Context, f followed) error {
	path := "/healthz?" + l.mark()
	if _, err := l.call(ctx, egress.ControlClient, f.Server+path); err != nil {
		return err
	}
	_, err := f.Wait(ctx, l.limits.Flush, 0, ofPath(path))
	return err
}

// Mark is how many lines of a proxy have been read; none where it is not followed yet.
func (l *AccessLogs) Mark(name string) int {
	f, err := l.of(name)
	if err != nil {
		return 0
	}
	return f.Len()
}

// Lines returns which lines a proxy has written since a mark; Flush makes that complete. A gateway cannot be
// flushed, so there it waits for one.
func (l *AccessLogs) Lines(ctx context.Context, name string, mark int, q egress.Lines) ([]egress.AccessLog, error) {
	f, err := l.of(name)
	if err != nil {
		return nil, err
	}
	if !f.Gateway {
		return f.Lines(mark, q), nil
	}
	found, err := f.Wait(ctx, l.limits.Line, mark, q)
	if errors.Is(err, ErrNoLine) || errors.Is(err, errEnded) { // a gateway that has ended writes no more
		return nil, nil
	}
	return found, err
}

// Close stops following.
func (l *AccessLogs) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range l.follow {
		f.Close()
	}
}
