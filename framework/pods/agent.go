// Package pods starts the client pods of the cases and runs commands in them.
package pods

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"

	"mesh-egress-conformance/framework/probe"
)

// Output is what a command left behind, and when it ran, by the clock of the pod's node.
type Output struct {
	ExitCode     int
	Stdout       string
	Stderr       string
	Began, Ended time.Time
}

// agent is a probe agent that was exec'd into a container once and is sent requests through a
// stream: a request costs a fraction of a fresh exec, and any number may be under way.
type agent struct {
	cancel context.CancelFunc
	in     *io.PipeWriter
	queue  chan []byte   // frames to write
	done   chan struct{} // closed when the exec has ended, after err is set
	err    error

	mu      sync.Mutex
	seq     int64
	waiting map[int64]chan probe.Response
}

// stream is an exec, or what an exec keeps (beside): it copies both ways until the program ends.
type stream func(ctx context.Context, in io.Reader, out, stderr io.Writer) error

// execStream runs the agent in a container.
func execStream(cfg *rest.Config, cs kubernetes.Interface, namespace, pod, container string, argv []string) (stream, error) {
	req := cs.CoreV1().RESTClient().Post().Resource("pods").Namespace(namespace).Name(pod).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Container: container, Command: argv, Stdin: true, Stdout: true, Stderr: true}, scheme.ParameterCodec)
	ex, err := remotecommand.NewWebSocketExecutor(cfg, "GET", req.URL().String())
	if err != nil {
		return nil, fmt.Errorf("prepare an exec into %s/%s: %w", namespace, pod, err)
	}
	return func(ctx context.Context, in io.Reader, out, stderr io.Writer) error {
		if err := ex.StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: in, Stdout: out, Stderr: stderr}); err != nil {
			return fmt.Errorf("exec into %s/%s: %w", namespace, pod, err)
		}
		return nil
	}, nil
}

// startAgent starts an agent. It lives until close, not until ctx ends.
func startAgent(ctx context.Context, run stream) *agent {
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	a := &agent{cancel: cancel, in: inW, queue: make(chan []byte), done: make(chan struct{}), waiting: map[int64]chan probe.Response{}}
	ended := make(chan error, 1)
	go func() {
		var stderr strings.Builder
		err := run(life, inR, outW, &limited{&stderr})
		ended <- errors.Join(err, errors.New(strings.TrimSpace("the probe agent ended; "+stderr.String())))
		inR.CloseWithError(io.ErrClosedPipe)
		outW.Close()
	}()
	go a.write()
	go func() {
		err := a.read(bufio.NewReader(outR))
		cancel() // an agent that is out of step is of no use
		outR.CloseWithError(io.ErrClosedPipe)
		a.err = errors.Join(err, <-ended)
		close(a.done)
	}()
	return a
}

// write sends the queued frames, one after another so that they do not mix.
func (a *agent) write() {
	for {
		select {
		case b := <-a.queue:
			if err := probe.WriteFrame(a.in, b); err != nil {
				a.cancel()
				return
			}
		case <-a.done:
			return
		}
	}
}

// read takes answers until the stream ends or makes no sense.
func (a *agent) read(r io.Reader) error {
	hello, err := probe.ReadFrame(r)
	if err != nil {
		return fmt.Errorf("the probe agent said nothing: %w", err)
	}
	if string(hello) != probe.Hello {
		return fmt.Errorf("the pod's program says %.80q and not %q", hello, probe.Hello)
	}
	for {
		b, err := probe.ReadFrame(r)
		if err != nil {
			return fmt.Errorf("read the probe agent's answer: %w", err)
		}
		var resp probe.Response
		if err := json.Unmarshal(b, &resp); err != nil {
			return fmt.Errorf("read the probe agent's answer %.80q: %w", b, err)
		}
		a.mu.Lock()
		c := a.waiting[resp.Seq]
		delete(a.waiting, resp.Seq)
		a.mu.Unlock()
		if c != nil { // else nobody waits any more
			c <- resp
		}
	}
}

// do sends a request and waits for its answer. An error means that nothing is known about its effect.
func (a *agent) do(ctx context.Context, q probe.Request) (Output, error) {
	c := make(chan probe.Response, 1)
	a.mu.Lock()
	a.seq++
	q.Seq = a.seq
	a.waiting[q.Seq] = c
	a.mu.Unlock()
	defer func() { // nobody waits any more, whatever the reason
		a.mu.Lock()
		delete(a.waiting, q.Seq)
		a.mu.Unlock()
	}()
	b, err := json.Marshal(q)
	if err != nil {
		return Output{}, err
	}
	select {
	case a.queue <- b:
	case <-a.done:
		return Output{}, fmt.Errorf("run a command in the pod: %w", a.err)
	case <-ctx.Done():
		return Output{}, fmt.Errorf("run a command in the pod: %w", ctx.Err())
	}
	select {
	case r := <-c:
		if r.Error != "" {
			return Output{}, fmt.Errorf("run a command in the pod: %s", r.Error)
		}
		return Output{ExitCode: r.ExitCode, Stdout: r.Stdout, Stderr: r.Stderr, Began: time.UnixMicro(r.Began), Ended: time.UnixMicro(r.Ended)}, nil
	case <-a.done:
		return Output{}, fmt.Errorf("run a command in the pod: %w", a.err)
	case <-ctx.Done():
		return Output{}, fmt.Errorf("run a command in the pod: %w", ctx.Err())
	}
}

func (a *agent) alive() bool {
	select {
	case <-a.done:
		return false
	default:
		return true
	}
}

// close ends the agent: by the end of its input if it listens, by the end of the exec otherwise.
func (a *agent) close() {
	a.in.Close()
	select {
	case <-a.done:
	case <-time.After(2 * lastWords): // one for the agent, one for what keeps it
	}
	a.cancel()
	<-a.done
}

type limited struct{ b *strings.Builder }

func (l *limited) Write(p []byte) (int, error) {
	if l.b.Len() < 2000 {
		l.b.Write(p)
	}
	return len(p), nil
}

// runner keeps one agent running in a container and starts another when it has died.
type runner struct {
	open func() (stream, error)

	mu     sync.Mutex
	now    *agent
	closed bool
}

func (r *runner) do(ctx context.Context, q probe.Request) (Output, error) {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return Output{}, errors.New("run a command in the pod: the session is over")
	}
	if r.now == nil || !r.now.alive() {
		s, err := r.open()
		if err != nil {
			r.mu.Unlock()
			return Output{}, err
		}
		r.now = startAgent(ctx, s)
	}
	a := r.now
	r.mu.Unlock()
	return a.do(ctx, q)
}

func (r *runner) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	if r.now != nil {
		r.now.close()
	}
}

// Agent is a probe agent in a pod that is no client's. It is started with the first request.
type Agent struct{ run *runner }

// Agent of a container that runs the image of the client pods.
func (p *Pods) Agent(namespace, pod, container string) *Agent {
	return &Agent{&runner{open: func() (stream, error) {
		return p.agentIn(namespace, pod, container)
	}}}
}

// Do makes a request of it. An error means that nothing is known about its effect.
func (a *Agent) Do(ctx context.Context, q probe.Request) (Output, error) { return a.run.do(ctx, q) }

// Close ends it.
func (a *Agent) Close() { a.run.close() }
