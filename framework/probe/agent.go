package probe

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os/exec"
	"sync"
	"time"
)

// Request asks the agent for one thing: a program, a shell script, an attempt of its own, a page of the proxy's
// administration interface, or to close connections.
type Request struct {
	Seq    int64    `json:"seq"`
	Argv   []string `json:"argv,omitempty"`
	Script string   `json:"script,omitempty"`
	Spec   *Spec    `json:"spec,omitempty"`
	// Batch are attempts that are made one after another, as many as there is time for: none begins when batchTime is
	// over. The output is the list of their reports.
	Batch []Spec `json:"batch,omitempty"`
	Page  *Page  `json:"page,omitempty"`
	// Release closes the held and kept connections whose names begin so.
	Release string `json:"release,omitempty"`
	// Timeout after which a program is killed, in milliseconds; 0 means 60 s.
	Timeout int `json:"timeout,omitempty"`
}

// Response answers the Request with the same Seq. Error means that nothing was run.
type Response struct {
	Seq      int64  `json:"seq"`
	ExitCode int    `json:"exitCode"`
	Stdout   string `json:"stdout,omitempty"`
	Stderr   string `json:"stderr,omitempty"`
	Error    string `json:"error,omitempty"`
	// Began and Ended are when it was run, in microseconds since 1970 by the clock of the pod's node, which the pod's
	// sidecar has too.
	Began int64 `json:"began,omitempty"`
	Ended int64 `json:"ended,omitempty"`
}

// Hello is the first frame that an agent writes.
const Hello = "mesh-egress-conformance probe agent 3"

// batchTime is how long attempts of one request go on.
const batchTime = 2 * time.Second

// outputLimit bounds what is kept of a program's output.
const outputLimit = 1 << 20

// Serve reads requests until the input ends and answers each as soon as it is done, in any order. socket names an abstract unix socket
// ("@name"), on which it serves others alike until then; "" has none. When out has the Hello, the socket is there.
func Serve(ctx context.Context, in io.Reader, out io.Writer, socket string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	conns := &Conns{}
	if socket != "" {
		ln, err := new(net.ListenConfig).Listen(ctx, "unix", socket)
		if err != nil {
			return err
		}
		defer ln.Close()
		go func() {
			for {
				c, err := ln.Accept()
				if err != nil { // it is over
					return
				}
				go func() {
					defer c.Close()
					_ = serve(ctx, c, c, conns) // whoever is there sees that it ended
				}()
			}
		}()
	}
	return serve(ctx, in, out, conns)
}

func serve(ctx context.Context, in io.Reader, out io.Writer, conns *Conns) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var mu sync.Mutex
	write := func(b []byte) error {
		mu.Lock()
		defer mu.Unlock()
		return WriteFrame(out, b)
	}
	if err := write([]byte(Hello)); err != nil {
		return err
	}
	for {
		b, err := ReadFrame(in)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		var q Request
		if err := json.Unmarshal(b, &q); err != nil {
			return err
		}
		go func() {
			began := time.Now()
			r := handle(ctx, q, conns)
			r.Began, r.Ended = began.UnixMicro(), time.Now().UnixMicro()
			answer, err := json.Marshal(r)
			if err == nil {
				err = write(answer)
			}
			if err != nil {
				cancel()
			}
		}()
	}
}

func handle(ctx context.Context, q Request, conns *Conns) Response {
	r := Response{Seq: q.Seq}
	if q.Spec != nil {
		rep := Run(ctx, *q.Spec, conns)
		b, err := json.Marshal(rep)
		if err != nil {
			r.Error = err.Error()
			return r
		}
		r.ExitCode, r.Stdout = rep.ExitCode, string(b)
		return r
	}
	if len(q.Batch) > 0 {
		return batch(ctx, q.Batch, conns, r)
	}
	if q.Page != nil {
		return q.Page.get(ctx, r)
	}
	if q.Release != "" {
		if err := conns.Release(q.Release); err != nil {
			r.Error = err.Error()
		}
		return r
	}
	argv := q.Argv
	if q.Script != "" {
		argv = []string{"/bin/sh", "-c", q.Script}
	}
	if len(argv) == 0 {
		r.Error = "the request names nothing to run"
		return r
	}
	timeout := time.Duration(q.Timeout) * time.Millisecond
	if timeout <= 0 {
		timeout = time.Minute
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.WaitDelay = drain
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &limited{&stdout}, &limited{&stderr}
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && ctx.Err() == nil:
		r.ExitCode = exit.ExitCode()
	case errors.Is(err, exec.ErrWaitDelay) && ctx.Err() == nil: // it has ended well, and left something running
	case err != nil:
		r.Error = err.Error()
	}
	r.Stdout, r.Stderr = stdout.String(), stderr.String()
	return r
}

// drain is how long the output of a command that has ended may take to be read: what it has left running may hold it
// open, and a busy machine is slow.
var drain = 5 * time.Second

// batch makes attempts one after another.
func batch(ctx context.Context, specs []Spec, conns *Conns, r Response) Response {
	var reports []Report
	for start := time.Now(); len(reports) < len(specs) && (len(reports) == 0 || time.Since(start) < batchTime); {
		reports = append(reports, Run(ctx, specs[len(reports)], conns))
	}
	b, err := json.Marshal(reports)
	if err != nil {
		r.Error = err.Error()
	}
	r.Stdout = string(b)
	return r
}

type limited struct{ b *bytes.Buffer }

func (l *limited) Write(p []byte) (int, error) {
	if room := outputLimit - l.b.Len(); room > 0 {
		l.b.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}
