package mesh

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/limits"
)

// following is a set that follows one proxy. Whatever is called comes into its log as lines says.
func following(s LogSource, lines func(client, url string) []egress.AccessLog) (*AccessLogs, *AccessLog) {
	log := newAccessLog(func() {})
	l := NewAccessLogs(nil, func(_ context.Context, client, url string) (int, error) {
		if client == "silent" {
			return 0, errors.New("no such pod")
		}
		for _, x := range lines(client, url) {
			time.AfterFunc(12*time.Second, func() { log.add(x) }) // of a busy machine
		}
		return 4711, nil
	}, limits.Default().Log)
	l.follow["client"] = followed{s, log}
	return l, log
}

func path(url string) string { return url[strings.Index(url, "/ready"):] }

func TestFlush(t *testing.T) {
	own := LogSource{IP: "10.0.0.7"}
	for name, x := range map[string]struct {
		source LogSource
		lines  func(client, url string) []egress.AccessLog
		err    error
	}{
		"its request": {own, func(_, url string) []egress.AccessLog { return []egress.AccessLog{{Path: path(url)}} }, nil},
		"its connection": {own, func(string, string) []egress.AccessLog {
			return []egress.AccessLog{{DownstreamRemote: "10.0.0.7:4711"}}
		}, nil},
		"somebody else's line": {own, func(string, string) []egress.AccessLog {
			return []egress.AccessLog{{DownstreamRemote: "10.0.0.8:4711", Path: "/ready?flush=0"}}
		}, ErrNoLine},
		"no line": {own, func(string, string) []egress.AccessLog { return nil }, ErrNoLine},
		"a server is called by the control client": {LogSource{Server: "http://w.n:8080"}, func(client, url string) []egress.AccessLog {
			if client != egress.ControlClient || !strings.HasPrefix(url, "http://w.n:8080/healthz?") {
				return nil
			}
			return []egress.AccessLog{{Path: strings.TrimPrefix(url, "http://w.n:8080")}}
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, _ := following(x.source, x.lines)
				if err := l.Flush(t.Context(), "client"); !errors.Is(err, x.err) {
					t.Errorf("got %v, wanted %v", err, x.err)
				}
			})
		})
	}
}

// The kubelet may begin to follow late: what is lost is asked for again.
func TestAttached(t *testing.T) {
	for lost, want := range map[int]bool{0: true, 6: true, attaches: true} {
		synctest.Test(t, func(t *testing.T) {
			calls := 0
			log := newAccessLog(func() {})
			l := NewAccessLogs(nil, func(_ context.Context, _, url string) (int, error) {
				if calls++; calls > lost {
					log.add(egress.AccessLog{Path: path(url)})
				}
				return 1, nil
			}, limits.Default().Log)
			l.follow["client"] = followed{AccessLog: log}
			err := l.Attached(t.Context(), "client") // a client that writes nothing is not waited for long
			if (err == nil) != want || calls != min(lost+1, attaches) {
				t.Errorf("%d lines lost: %d calls, %v", lost, calls, err)
			}
		})
	}
}

func TestLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := egress.Lines{}
		l, log := following(LogSource{}, nil)
		log.add(egress.AccessLog{Path: "/before", DownstreamRemote: "10.0.0.7:1"})
		mark := l.Mark("client")
		log.add(egress.AccessLog{Path: "/after", DownstreamRemote: "10.0.0.7:1"})
		log.add(egress.AccessLog{Path: "/beside", DownstreamRemote: "10.0.0.7:2"})
		log.add(egress.AccessLog{Path: "/again", DownstreamRemote: "10.0.0.7:1"})
		for name, x := range map[string]struct {
			q    egress.Lines
			mark int
			want []string
		}{
			"all":                                 {all, mark, []string{"/after", "/beside", "/again"}},
			"all, from the beginning":             {all, 0, []string{"/before", "/after", "/beside", "/again"}},
			"of a connection":                     {egress.Lines{From: "10.0.0.7:1"}, mark, []string{"/after", "/again"}},
			"of a connection, from the beginning": {egress.Lines{From: "10.0.0.7:1"}, 0, []string{"/before", "/after", "/again"}},
			"of a connection, by path":            {egress.Lines{From: "10.0.0.7:1", Match: ofPath("/again").Match}, mark, []string{"/again"}},
			"of another path":                     {egress.Lines{From: "10.0.0.7:2", Match: ofPath("/again").Match}, mark, nil},
			"of no connection":                    {egress.Lines{From: "10.0.0.7:3"}, mark, nil},
			"since later than the end":            {all, 99, nil},
		} {
			got, err := l.Lines(t.Context(), "client", x.mark, x.q)
			var paths []string
			for _, a := range got {
				paths = append(paths, a.Path)
			}
			if err != nil || !slices.Equal(paths, x.want) {
				t.Errorf("%s: %v %v", name, paths, err)
			}
		}
		l.follow["gateway"] = followed{LogSource{Gateway: true}, log}
		time.AfterFunc(time.Second, func() { log.add(egress.AccessLog{Path: "/late"}) })
		if got, err := l.Lines(t.Context(), "gateway", log.Len(), all); err != nil || len(got) != 1 || got[0].Path != "/late" {
			t.Errorf("a gateway's line is not waited for: %v %v", got, err)
		}
		if got, err := l.Lines(t.Context(), "gateway", log.Len(), all); err != nil || len(got) != 0 {
			t.Errorf("a gateway that writes nothing: %v %v", got, err)
		}
		for name, err := range map[string]error{
			"unknown": l.Flush(t.Context(), "unknown"), "a gateway": l.Flush(t.Context(), "gateway"), "attached": l.Attached(t.Context(), "unknown"),
		} {
			if err == nil {
				t.Errorf("%s: no error", name)
			}
		}
		if _, err := l.Lines(t.Context(), "unknown", 0, all); err == nil || l.Mark("unknown") != 0 {
			t.Errorf("an unknown proxy: %v", fmt.Sprint(err))
		}
		l.Close()
	})
}
