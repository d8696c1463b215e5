package enforcer

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"mesh-egress-conformance/framework/fixture"
	"mesh-egress-conformance/framework/limits"
)

const (
	begins = "I1127 10:00:00.000000       1 network_policy_controller.go:236] Starting sync of iptables with version: 1"
	done   = "I1127 10:00:00.100000       1 network_policy_controller.go:233] sync iptables took 100ms"
	aborts = "E1127 10:00:00.050000       1 network_policy_controller.go:306] Aborting sync. Failed to run iptables-restore: no"
)

// A policy holds when rules have been written whole that were begun after the controller had heard of it, in its version.
func TestHeardAndWritten(t *testing.T) {
	for name, x := range map[string]struct {
		lines            []string
		enforced, lifted bool // a/p in version 7
	}{
		"nothing heard":                  {[]string{begins, done}, false, true},
		"heard":                          {[]string{"enforcer: hears made a/p 7"}, false, false},
		"written":                        {[]string{"enforcer: hears made a/p 7", begins, done}, true, false},
		"not yet written":                {[]string{"enforcer: hears made a/p 7", begins}, false, false},
		"begun before":                   {[]string{begins, "enforcer: hears made a/p 7", done}, false, false},
		"begun before, and again":        {[]string{begins, "enforcer: hears made a/p 7", done, begins, done}, true, false},
		"an earlier version":             {[]string{"enforcer: hears made a/p 6", begins, done}, false, false},
		"a later version":                {[]string{"enforcer: hears changed a/p 8", begins, done}, true, false},
		"another policy":                 {[]string{"enforcer: hears made a/q 7", begins, done}, false, true},
		"given up":                       {[]string{"enforcer: hears made a/p 7", begins, aborts, done}, false, false},
		"given up, then written":         {[]string{"enforcer: hears made a/p 7", begins, aborts, done, begins, done}, true, false},
		"deleted":                        {[]string{"enforcer: hears made a/p 7", begins, done, "enforcer: hears gone a/p 7"}, false, false},
		"deleted, and written":           {[]string{"enforcer: hears made a/p 7", begins, done, "enforcer: hears gone a/p 7", begins, done}, false, true},
		"deleted, and given up":          {[]string{"enforcer: hears made a/p 7", "enforcer: hears gone a/p 7", begins, aborts, done}, false, false},
		"no version":                     {[]string{"enforcer: hears made a/p x", begins, done}, false, false},
		"an end that nobody has begun":   {[]string{"enforcer: hears made a/p 7", done}, false, false},
		"something else that looks like": {[]string{"enforcer: hears a/p 7", begins, done}, false, true},
	} {
		l := newLog()
		for _, line := range x.lines {
			l.line(line)
		}
		if got := l.has("a/p", "7"); got != x.enforced {
			t.Errorf("%s: enforced: %v", name, got)
		}
		if got := l.lacks("a/p"); got != x.lifted {
			t.Errorf("%s: lifted: %v", name, got)
		}
		if l.has("a/p", "") {
			t.Errorf("%s: an object that was never made is enforced", name)
		}
	}
}

// A wait ends with what is waited for, with the log, or with its context.
func TestAwait(t *testing.T) {
	l := newLog()
	so := func(l *log) bool { return l.synced > 0 }
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.await(ctx, so); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	heard := make(chan error)
	go func() { heard <- l.await(t.Context(), so) }()
	l.line(begins)
	l.line(done)
	if err := <-heard; err != nil {
		t.Error(err)
	}
	l.over()
	if err := l.await(t.Context(), so); err != nil {
		t.Errorf("what was so before the end: %v", err)
	}
	if err := l.await(t.Context(), func(*log) bool { return false }); !errors.Is(err, errEnded) {
		t.Errorf("got %v", err)
	}
	if l.clean() {
		t.Error("clean without a word of it")
	}
	l.line("enforcer: removed 2026-11-27T10:00:00Z")
	if !l.clean() {
		t.Error("not clean")
	}
}

func TestTail(t *testing.T) {
	l := newLog()
	for i := range 100 {
		l.line(strings.Repeat("x", i))
	}
	if got := strings.Split(l.tail(), "\n"); len(got) != tailLines || len(got[tailLines-1]) != 99 {
		t.Errorf("%d lines, the last has %d characters", len(got), len(got[len(got)-1]))
	}
}

// The pod is the program that the image has, in the node's network, on that node, and has no power but over it.
func TestPod(t *testing.T) {
	objs, err := fixture.Parse(t.Context(), objectsYAML)
	if err != nil {
		t.Fatal(err)
	}
	u, err := podOn(objs[len(objs)-1], "n1", []string{"10.96.0.0/16", "fd00::/112"})
	if err != nil {
		t.Fatal(err)
	}
	var p corev1.Pod
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &p); err != nil {
		t.Fatal(err)
	}
	c := p.Spec.Containers[0]
	if p.Name != "egress-netpol-n1" || p.Spec.NodeName != "n1" || !p.Spec.HostNetwork || p.Spec.RestartPolicy != corev1.RestartPolicyNever || p.Labels[podLabel] != "n1" {
		t.Errorf("the pod is %+v", p)
	}
	if s := c.SecurityContext; s.Privileged != nil || len(s.Capabilities.Add) != 2 || c.Image == "" || !strings.Contains(strings.Join(c.Args, " "), "10.96.0.0/16,fd00::/112") {
		t.Errorf("the container is %+v", c)
	}
	// No policy, no wait: a cluster without pods of it.
	e := New(nil, nil, limitsForTest())
	if err := e.Enforced(t.Context(), objs); err != nil {
		t.Error(err)
	}
	e.nodes = []*node{{name: "n1", log: newLog()}}
	policy, err := fixture.Parse(t.Context(), []byte("{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: p, namespace: a, resourceVersion: \"7\"}, spec: {podSelector: {}}}"))
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Enforced(t.Context(), policy); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "NetworkPolicy a/p") {
		t.Errorf("got %v", err)
	}
	e.nodes[0].log.line("enforcer: hears made a/p 7")
	e.nodes[0].log.line(begins)
	e.nodes[0].log.line(done)
	if err := e.Enforced(t.Context(), policy); err != nil {
		t.Error(err)
	}
}

const short = 10 * time.Millisecond

func limitsForTest() limits.Limits {
	l := limits.Default()
	l.Control.Enforce = short
	return l
}
