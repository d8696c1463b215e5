package kube

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"k8s.io/streaming/pkg/httpstream"
)

// dialed is a connection to a pod that carries nothing; as a Dialer it gives itself.
type dialed struct {
	err      error
	protocol string
	closed   chan bool
}

func (d *dialed) Dial(protocols ...string) (httpstream.Connection, string, error) {
	if d.err != nil {
		return nil, "", d.err
	}
	if d.protocol == "" {
		d.protocol = protocols[0]
	}
	return d, d.protocol, nil
}

func (d *dialed) CreateStream(http.Header) (httpstream.Stream, error) {
	return nil, errors.New("no streams")
}
func (d *dialed) Close() error                       { close(d.closed); return nil }
func (d *dialed) CloseChan() <-chan bool             { return d.closed }
func (d *dialed) SetIdleTimeout(time.Duration)       {}
func (d *dialed) RemoveStreams(...httpstream.Stream) {}

// Whoever closes twice, as two owners of one session do, closes once.
func TestStopTwice(t *testing.T) {
	d := &dialed{closed: make(chan bool)}
	port, stop, err := forward(t.Context(), d, "127.0.0.1", 8080)
	if err != nil {
		t.Fatal(err)
	}
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", "127.0.0.1:"+strconv.Itoa(port))
	if err != nil {
		t.Fatal("nobody listens:", err)
	}
	c.Close()
	stop()
	stop()
	<-d.closed
}

// A port-forward that fails says why.
func TestForwardFails(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for name, x := range map[string]struct {
		ctx     context.Context
		dialer  *dialed
		address string
		want    []string
	}{
		"no such pod":    {t.Context(), &dialed{err: errors.New(`pods "host-0" not found`)}, "127.0.0.1", []string{`pods "host-0" not found`}},
		"other protocol": {t.Context(), &dialed{protocol: "v9", closed: make(chan bool)}, "127.0.0.1", []string{`server returned "v9"`}},
		// A documentation address, which is no address of this machine.
		"cannot listen": {t.Context(), &dialed{closed: make(chan bool)}, "192.0.2.1", []string{"unable to listen on any of the requested ports", "cannot assign requested address"}},
		"no address":    {t.Context(), &dialed{}, "here", []string{"here is not a valid IP"}},
	} {
		_, stop, err := forward(x.ctx, x.dialer, x.address, 8080)
		if err == nil || stop != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, want := range x.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v; want %s", name, err, want)
			}
		}
	}
	waiting := make(chan struct{})
	defer close(waiting)
	if _, _, err := forward(ended, slow(waiting), "127.0.0.1", 8080); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// slow is a way to a pod on which nothing comes until it is closed.
type slow chan struct{}

func (s slow) Dial(...string) (httpstream.Connection, string, error) {
	<-s
	return nil, "", errors.New("too late")
}
