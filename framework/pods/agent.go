// Package pods starts the client pods of the cases and runs commands in them.
package pods

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
)

// Output is what a command left behind.
type Output struct {
	ExitCode int
	Stdout   string
	Stderr   string
}

// shell is a /bin/sh that was exec'd into a container once and is fed scripts through its standard
// input: a script costs a quarter of a fresh exec. It runs one script at a time.
type shell struct {
	cancel context.CancelFunc
	in     *io.PipeWriter
	out    *bufio.Reader
	done   chan struct{}
	err    error
	n      int
	id     string
}

// openShell starts a shell. The exec lives until close, not until ctx ends.
func openShell(ctx context.Context, cfg *rest.Config, cs kubernetes.Interface, namespace, pod, container, id string) (*shell, error) {
	req := cs.CoreV1().RESTClient().Post().Resource("pods").Namespace(namespace).Name(pod).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Container: container, Command: []string{"/bin/sh"}, Stdin: true, Stdout: true, Stderr: true}, scheme.ParameterCodec)
	ex, err := remotecommand.NewWebSocketExecutor(cfg, "GET", req.URL().String())
	if err != nil {
		return nil, fmt.Errorf("prepare an exec into %s/%s: %w", namespace, pod, err)
	}
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	s := &shell{cancel: cancel, in: inW, out: bufio.NewReader(outR), done: make(chan struct{}), id: id}
	go func() {
		// Standard error of the shell itself says only that the shell is broken; scripts write to files.
		var stderr strings.Builder
		err := ex.StreamWithContext(life, remotecommand.StreamOptions{Stdin: inR, Stdout: outW, Stderr: &limited{&stderr}})
		s.err = fmt.Errorf("the shell in %s/%s ended: %w %s", namespace, pod, errors.Join(err, errEnded), stderr.String())
		close(s.done)
		inR.CloseWithError(s.err)
		outW.CloseWithError(s.err)
	}()
	return s, nil
}

var errEnded = errors.New("no more output")

type limited struct{ b *strings.Builder }

func (l *limited) Write(p []byte) (int, error) {
	if l.b.Len() < 2000 {
		l.b.Write(p)
	}
	return len(p), nil
}

// close ends the shell: by the end of its input if it listens, by the end of the exec otherwise.
func (s *shell) close() {
	s.in.Close()
	select {
	case <-s.done:
	case <-time.After(300 * time.Millisecond):
	}
	s.cancel()
}

// run executes a script. An error means that nothing is known about its effect.
func (s *shell) run(ctx context.Context, script string) (Output, error) {
	s.n++
	mark := fmt.Sprintf("@%s-%d@", s.id, s.n)
	if strings.Contains(script, mark) {
		return Output{}, errors.New("script contains the shell's own marker")
	}
	f := fmt.Sprintf("/tmp/.egress-%s", s.id)
	wire := fmt.Sprintf("cat >%[1]s <<'%[2]s'\n%[3]s\n%[2]s\n"+
		"/bin/sh %[1]s </dev/null >%[1]s.o 2>%[1]s.e; rc=$?\n"+
		"echo \"%[2]s $rc $(wc -c <%[1]s.o) $(wc -c <%[1]s.e)\"; cat %[1]s.o %[1]s.e\n", f, mark, script)
	type answer struct {
		out Output
		err error
	}
	got := make(chan answer, 1)
	go func() {
		if _, err := io.WriteString(s.in, wire); err != nil {
			got <- answer{err: err}
			return
		}
		out, err := readAnswer(s.out, mark)
		got <- answer{out, err}
	}()
	select {
	case a := <-got:
		return a.out, a.err
	case <-ctx.Done():
		s.cancel() // what it still says would be taken for the next answer
		return Output{}, fmt.Errorf("run a command in the pod: %w", ctx.Err())
	}
}

// readAnswer reads "<mark> <exit> <bytes out> <bytes err>" and then exactly that many bytes. It
// trusts nothing else: a cut or foreign answer is an error.
func readAnswer(r *bufio.Reader, mark string) (Output, error) {
	head, err := r.ReadString('\n')
	if err != nil {
		return Output{}, fmt.Errorf("read the pod's answer: %w", err)
	}
	f := strings.Fields(head)
	if len(f) != 4 || f[0] != mark {
		return Output{}, fmt.Errorf("the pod's answer begins with %.80q instead of %s", head, mark)
	}
	var n [3]int
	for i := range n {
		if n[i], err = strconv.Atoi(f[i+1]); err != nil || n[i] < 0 || n[i] > 64<<20 {
			return Output{}, fmt.Errorf("the pod's answer has a bad header %.80q", head)
		}
	}
	buf := make([]byte, n[1]+n[2])
	if _, err := io.ReadFull(r, buf); err != nil {
		return Output{}, fmt.Errorf("the pod's answer was cut: %w", err)
	}
	return Output{ExitCode: n[0], Stdout: string(buf[:n[1]]), Stderr: string(buf[n[1]:])}, nil
}

// pool keeps idle shells of one container.
type pool struct {
	open func(ctx context.Context, id string) (*shell, error)

	mu   sync.Mutex
	idle []*shell
	n    int
	all  []*shell
}

func (p *pool) run(ctx context.Context, script string) (Output, error) {
	s, err := p.take(ctx)
	if err != nil {
		return Output{}, err
	}
	out, err := s.run(ctx, script)
	if err != nil {
		s.cancel() // its stream may be out of step
		return Output{}, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.idle = append(p.idle, s)
	return out, nil
}

func (p *pool) take(ctx context.Context) (*shell, error) {
	p.mu.Lock()
	if k := len(p.idle); k > 0 {
		s := p.idle[k-1]
		p.idle = p.idle[:k-1]
		p.mu.Unlock()
		return s, nil
	}
	p.n++
	id := strconv.Itoa(p.n)
	p.mu.Unlock()
	s, err := p.open(ctx, id)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all = append(p.all, s)
	return s, nil
}

func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	var wg sync.WaitGroup
	for _, s := range p.all {
		wg.Go(s.close)
	}
	wg.Wait()
	p.all, p.idle = nil, nil
}

// ExecIn runs one program in any container, by an exec of its own.
func ExecIn(ctx context.Context, cfg *rest.Config, cs kubernetes.Interface, namespace, pod, container string, argv ...string) (stdout string, err error) {
	req := cs.CoreV1().RESTClient().Post().Resource("pods").Namespace(namespace).Name(pod).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Container: container, Command: argv, Stdout: true, Stderr: true}, scheme.ParameterCodec)
	ex, err := remotecommand.NewWebSocketExecutor(cfg, "GET", req.URL().String())
	if err != nil {
		return "", fmt.Errorf("prepare an exec into %s/%s: %w", namespace, pod, err)
	}
	// Two buffers: the streams are copied side by side.
	var out, errOut strings.Builder
	if err := ex.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: &out, Stderr: &errOut}); err != nil {
		return out.String(), fmt.Errorf("run %s in %s/%s: %w %.500s", argv[0], namespace, pod, err, errOut.String())
	}
	return out.String(), nil
}
