// Package remote lets several processes run cases in the session of one of them: Ginkgo's parallel processes, above
// all, which would otherwise need a cluster each. The process with the session serves; the others ask it to run a case
// by name, hear of its stages as they begin, and get its result. A process that gives up, or dies, ends its case.
//
// It is HTTP over a unix socket in a folder that only this user can enter. It is not for other machines.
package remote

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"sync"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/schedule"
)

// Runner runs one case and returns when its verdict is made; a *harness.Run is one. Several may be asked for at once.
type Runner interface {
	Case(ctx context.Context, c egress.Case, hear schedule.Listener) egress.Result
}

// message is one line of an answer: events first, then one result.
type message struct {
	Event  *schedule.Event `json:"event,omitempty"`
	Result *egress.Result  `json:"result,omitempty"`
}

// path is where a case is run, by its name.
const path = "/cases/"

// Server runs cases for other processes.
type Server struct {
	dir    string
	http   *http.Server
	end    context.CancelFunc
	served chan error
}

// Serve serves until Close. The cases are those that may be asked for.
func Serve(cases []egress.Case, r Runner) (*Server, error) {
	dir, err := os.MkdirTemp("", "egress-*") // 0700
	if err != nil {
		return nil, fmt.Errorf("make a folder for the socket of the session: %w", err)
	}
	ctx, end := context.WithCancel(context.Background())
	l, err := (&net.ListenConfig{}).Listen(ctx, "unix", filepath.Join(dir, "session"))
	if err != nil {
		end()
		return nil, fmt.Errorf("listen for other processes of the suite (a short TMPDIR helps where the path is too long): %w", errors.Join(err, os.RemoveAll(dir)))
	}
	byName := map[string]egress.Case{}
	for _, c := range cases {
		byName[c.Name] = c
	}
	s := &Server{dir: dir, end: end, served: make(chan error, 1)}
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+path+"{name}", func(w http.ResponseWriter, q *http.Request) {
		c, ok := byName[q.PathValue("name")]
		if !ok {
			http.Error(w, fmt.Sprintf("no case is named %q in this session", q.PathValue("name")), http.StatusNotFound)
			return
		}
		run(w, q, r, c)
	})
	s.http = &http.Server{Handler: mux, BaseContext: func(net.Listener) context.Context { return ctx }} //nolint:gosec // nobody but this user can connect
	go func() { s.served <- s.http.Serve(l) }()
	return s, nil
}

// run runs a case for a request, which ends with the connection that it came on.
func run(w http.ResponseWriter, q *http.Request, r Runner, c egress.Case) {
	var mu sync.Mutex
	enc := json.NewEncoder(w)
	send := func(m message) {
		mu.Lock()
		defer mu.Unlock()
		if err := enc.Encode(m); err == nil { // who does not listen any more has ended the request's context, too
			_ = http.NewResponseController(w).Flush()
		}
	}
	result := r.Case(q.Context(), c, func(e schedule.Event) { send(message{Event: &e}) })
	send(message{Result: &result})
}

// Address is what Dial wants.
func (s *Server) Address() string { return filepath.Join(s.dir, "session") }

// Close ends the cases that are under way, and returns when each has restored what was before it.
func (s *Server) Close() error {
	s.end()
	err := s.http.Shutdown(context.Background()) // the cases bound their own ends
	if served := <-s.served; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	if err = errors.Join(err, os.RemoveAll(s.dir)); err != nil {
		return fmt.Errorf("stop serving the session at %s: %w", s.Address(), err)
	}
	return nil
}

// Client asks a server to run cases.
type Client struct {
	address string
	http    *http.Client
}

// Dial returns a client of the server at an address. It connects when a case is run.
func Dial(address string) *Client {
	return &Client{address, &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", address)
	}}}}
}

// Case runs one case and returns its result; hear is called by the same goroutine, and may be nil. An error means that
// there is none: ctx has ended, or the process with the session has.
func (c *Client) Case(ctx context.Context, name string, hear schedule.Listener) (egress.Result, error) {
	fail := func(err error) (egress.Result, error) {
		return egress.Result{}, fmt.Errorf("run case %s in the session at %s: %w", name, c.address, err)
	}
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://session"+path+url.PathEscape(name), nil)
	if err != nil {
		return fail(err)
	}
	a, err := c.http.Do(q)
	if err != nil {
		return fail(err)
	}
	defer a.Body.Close()
	if a.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(a.Body, 4096)) // what there is of it
		return fail(fmt.Errorf("%s: %s", a.Status, text))
	}
	dec := json.NewDecoder(bufio.NewReader(a.Body))
	for {
		var m message
		switch err := dec.Decode(&m); {
		case err != nil && ctx.Err() != nil:
			return fail(context.Cause(ctx))
		case err != nil:
			return fail(fmt.Errorf("the process that has the session has ended, or was cut off: %w", err))
		case m.Result != nil:
			return *m.Result, nil
		case m.Event != nil && hear != nil:
			hear(*m.Event)
		}
	}
}
