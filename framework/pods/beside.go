package pods

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"mesh-egress-conformance/framework/probe"
)

// Dialer makes connections from inside pods, see cluster.PodDialer.
type Dialer interface {
	DialPod(ctx context.Context, namespace, pod, address string) (net.Conn, error)
}

// agentIn runs the agent in a container.
func (p *Pods) agentIn(namespace, pod, container string) (stream, error) {
	argv := p.custom.command()
	if p.inside == nil {
		return execStream(p.cfg, p.cs, namespace, pod, container, argv)
	}
	socket := "@egressprobe-" + rand.Text() // another may run in the same pod
	run, err := execStream(p.cfg, p.cs, namespace, pod, container, append(argv, socket))
	if err != nil {
		return nil, err
	}
	return beside(run, func(ctx context.Context) (net.Conn, error) { return p.inside.DialPod(ctx, namespace, pod, socket) }), nil
}

// beside talks to an agent over a connection of its own. run, which starts the agent, only keeps it: what an exec carries passes the API server,
// the kubelet and containerd, which costs 2 ms of the processor for a request and its answer.
func beside(run stream, dial func(context.Context) (net.Conn, error)) stream {
	return func(ctx context.Context, in io.Reader, out, stderr io.Writer) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		life, end := io.Pipe() // the agent's input, at whose end it ends
		said, says := io.Pipe()
		ended := make(chan error, 1)
		go func() {
			err := run(ctx, life, says, stderr)
			says.CloseWithError(errors.Join(err, io.EOF))
			cancel()
			ended <- err
		}()
		err := exchange(ctx, said, dial, in, out)
		go func() { _, _ = io.Copy(io.Discard, said) }() // it has no more to say
		end.Close()
		select {
		case e := <-ended:
			return errors.Join(err, e)
		case <-time.After(lastWords):
			cancel()
			return errors.Join(err, <-ended)
		}
	}
}

// lastWords is how long a program has to end when its input has.
const lastWords = 300 * time.Millisecond

// exchange connects to an agent that has said that it listens, and copies both ways until one of them ends.
func exchange(ctx context.Context, said io.Reader, dial func(context.Context) (net.Conn, error), in io.Reader, out io.Writer) error {
	hello, err := probe.ReadFrame(said)
	if err != nil {
		return fmt.Errorf("the probe agent said nothing: %w", err)
	}
	if string(hello) != probe.Hello { // which whoever reads will say
		return probe.WriteFrame(out, hello)
	}
	c, err := dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	sent := make(chan struct{})
	go func() {
		_, _ = io.Copy(c, in)
		close(sent)
		c.Close()
	}()
	_, err = io.Copy(out, c)
	select {
	case <-sent: // it was ended from here
		return nil
	default:
		return err
	}
}
