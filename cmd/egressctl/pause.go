package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"al.essio.dev/pkg/shellescape"
	"github.com/spf13/cobra"

	"mesh-egress-conformance/framework/harness"
	"mesh-egress-conformance/framework/mesh"
	"mesh-egress-conformance/framework/printable"
)

// pause stops a run while a case fails.
type pause struct {
	out     io.Writer
	kubectl []string  // words that begin a kubectl command for the run's cluster
	in      io.Reader // nil waits for nobody
	reading sync.Once
	entered chan struct{} // one for each line of in; closed at its end
}

// newPause waits for Enter where the command runs on a terminal; elsewhere, as in CI, nobody would press it.
func newPause(cmd *cobra.Command, kubectl []string) *pause {
	p := &pause{out: cmd.ErrOrStderr(), kubectl: kubectl, entered: make(chan struct{})}
	if onTerminal(os.Stdin) && onTerminal(cmd.ErrOrStderr()) {
		p.in = os.Stdin
	}
	return p
}

// wait says what fails and how to get into its pods. It returns when somebody presses Enter, or ctx ends.
func (p *pause) wait(ctx context.Context, f harness.Failing) {
	if v := viewBelow(p.out); v != nil {
		defer v.screen.Hold()()
	}
	fmt.Fprint(p.out, p.text(f))
	if p.in == nil {
		fmt.Fprintln(p.out, "no terminal to wait at: the run goes on")
		return
	}
	fmt.Fprintln(p.out, "press Enter to go on")
	p.reading.Do(func() { go p.read() })
	select {
	case <-p.entered:
	case <-ctx.Done():
	}
}

// read goes on until the program ends: a read from a terminal cannot be called off.
func (p *pause) read() {
	defer close(p.entered)
	for lines := bufio.NewScanner(p.in); lines.Scan(); {
		p.entered <- struct{}{}
	}
}

func (p *pause) text(f harness.Failing) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\nPAUSED: %s fails in phase %s, and everything of it is still there\n", f.Case.Name, f.Phase)
	for _, x := range f.Probes {
		fmt.Fprintf(&b, "  %s: %s, wanted %s [%s]\n", printable.Line(x.Probe.String()), printable.Line(x.Seen), x.Want.Words(), x.Want)
	}
	line := func(words ...string) {
		fmt.Fprintf(&b, "  %s\n", shellescape.QuoteCommand(append(append([]string{}, p.kubectl...), words...)))
	}
	fmt.Fprintln(&b, "look at it:")
	for _, pod := range f.Pods {
		if pod.Container != "" {
			line("exec", "-it", "-n", pod.Namespace, pod.Pod, "-c", pod.Container, "--", "/bin/sh")
		}
		if pod.Captured {
			line("exec", "-n", pod.Namespace, pod.Pod, "-c", mesh.ProxyContainer, "--", "pilot-agent", "request", "GET", "clusters")
		}
	}
	return b.String()
}
