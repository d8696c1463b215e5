package mesh

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
)

// A proxy may be connected to any replica, and each has its own copy of the configuration and its own count.
func TestReplicas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, a := newFakeMesh()
		b := f.add("istiod-b", 700, "q.n")
		c, _ := changer(t, f)
		start := time.Now()
		m := making(f, func() {
			f.honest(a, 0, entry("x"))
			f.honest(b, 2*time.Second, entry("x"))
		}, entry("x"))
		m.Proxies = []string{"p.n", "q.n"}
		s, err := c.Do(t.Context(), m)
		if passed := time.Since(start); err != nil || !s.Acknowledged || passed < 2120*time.Millisecond {
			t.Errorf("%+v %v after %s", s, err, passed)
		}
		if !slices.Contains(f.dialled, "istiod-b") {
			t.Errorf("asked: %v", f.dialled)
		}
	})
}

// A replica that ends is left out, and one that takes its place is asked.
func TestReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, a := newFakeMesh()
		c, _ := changer(t, f)
		if _, err := c.Do(t.Context(), making(f, func() { f.honest(a, 0, entry("x")) }, entry("x"))); err != nil {
			t.Fatal(err)
		}
		a.away = true
		if _, err := c.planes.here()[0].istiod.computed(t.Context()); err == nil || !strings.Contains(err.Error(), "no ready pod") {
			t.Errorf("without any replica: %v", err)
		}
		b := f.add("istiod-b", 3, "p.n")
		s, err := c.Do(t.Context(), making(f, func() { f.honest(b, 0, entry("y")) }, entry("y")))
		if err != nil || !s.Acknowledged {
			t.Errorf("%+v %v", s, err)
		}
		a.away = false // it was cut off, and is back
		a.proxies = map[string]*fakeProxy{}
		if err := c.planes.here()[0].istiod.lookAgain(t.Context()); err != nil {
			t.Fatal(err)
		}
		<-time.After(c.planes.here()[0].istiod.limits.Ask.Relist)
		if err := c.planes.here()[0].istiod.lookAgain(t.Context()); err != nil || len(c.planes.here()[0].istiod.replicas) != 2 {
			t.Errorf("%d replicas are asked: %v", len(c.planes.here()[0].istiod.replicas), err)
		}
	})
}

// An istiod that has no processor for a while is waited for, and one that never answers is not waited for without an end.
func TestSilent(t *testing.T) {
	for silence, answers := range map[time.Duration]bool{12 * time.Second: true, 24 * time.Second: true, time.Hour: false} {
		synctest.Test(t, func(t *testing.T) {
			f, a := newFakeMesh()
			c, _ := changer(t, f)
			a.silent = true
			f.after(silence, func() { a.silent = false })
			start := time.Now()
			s, err := c.Do(t.Context(), making(f, func() { f.honest(a, silence, entry("x")) }, entry("x")))
			if answers && (err != nil || !s.Acknowledged) {
				t.Errorf("silent for %s: %+v %v", silence, s, err)
			}
			if passed := time.Since(start); !answers && (err == nil || passed > time.Minute) {
				t.Errorf("silent: %v after %s", err, passed)
			}
		})
	}
}

// A proxy that no replica knows is looked for at replicas that are new.
func TestScaledUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, a := newFakeMesh()
		c, _ := changer(t, f)
		if _, err := c.planes.here()[0].istiod.computed(t.Context()); err != nil {
			t.Fatal(err)
		}
		<-time.After(time.Minute)
		delete(a.proxies, "p.n")
		b := f.add("istiod-b", 40, "p.n")
		start := time.Now()
		s, err := c.Do(t.Context(), making(f, func() {
			f.honest(a, 0, entry("x"))
			f.after(300*time.Millisecond, func() { b.push("p.n"); b.ack() }) // for another reason
			f.honest(b, 900*time.Millisecond, entry("x"))
		}, entry("x")))
		if passed := time.Since(start); passed < 1020*time.Millisecond {
			t.Errorf("done after %s, when the further replica had not pushed the change", passed)
		}
		if err != nil || !s.Acknowledged || !slices.Contains(f.dialled, "istiod-b") {
			t.Errorf("%+v %v; asked: %v", s, err, f.dialled)
		}
	})
}

func TestReadyIstiod(t *testing.T) {
	pod := func(name, revision string, change func(*corev1.Pod)) *corev1.Pod {
		p := named(name, "istio/pilot:1.31.0", revision)
		if change != nil {
			change(p)
		}
		return p
	}
	now := metav1.Now()
	cs := fake.NewClientset(
		pod("a", "default", nil), pod("b", "", nil), pod("canary", "canary", nil),
		pod("starting", "default", func(p *corev1.Pod) { p.Status.Conditions[0].Status = corev1.ConditionFalse }),
		pod("ending", "default", func(p *corev1.Pod) { p.DeletionTimestamp, p.Finalizers = &now, []string{"x/y"} }),
		pod("killed", "default", func(p *corev1.Pod) {
			p.Status.Conditions[0].Status = corev1.ConditionFalse
			killed := corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 137, Reason: "Error"}}
			p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "discovery", RestartCount: 1, LastTerminationState: killed}}
		}),
		pod("pending", "default", func(p *corev1.Pod) { p.Status.Phase = corev1.PodPending }),
	)
	for revision, want := range map[string][]string{"default": {"a", "b"}, "canary": {"canary"}} {
		if got, err := readyIstiod(t.Context(), cs, revision); err != nil || !slices.Equal(got, want) {
			t.Errorf("revision %s: %v %v", revision, got, err)
		}
	}
	_, err := readyIstiod(t.Context(), cs, "other")
	for _, want := range []string{"no ready pod of revision other", "starting (revision default, Running)", "killed (revision default, Running; its container discovery ended with exit status 137 (Error), restarts: 1)"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, wanted %s", err, want)
		}
	}
}
