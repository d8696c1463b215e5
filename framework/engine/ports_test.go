package engine

import (
	"testing"
	"time"
)

// No two probes from one pod may share a client port while conntrack remembers the earlier one.
func TestPortsDiffer(t *testing.T) {
	s := newIDSource()
	seen := map[int]bool{}
	for i := range (lastPort - firstPort) / commandPorts * 9 / 10 {
		p := s.take("pod", []int{probePorts, commandPorts}[i%2])
		for n := p[0]; n <= p[1]; n++ {
			if seen[n] || n < firstPort || n > lastPort {
				t.Fatalf("port %d is used twice or out of range", n)
			}
			seen[n] = true
		}
	}
	if a, b := s.take("one", 2), s.take("two", 2); a[1]-a[0] != 1 || b[1]-b[0] != 1 {
		t.Errorf("%v %v", a, b)
	}
}

// A run must not meet the ports of an earlier one in the same pod, however long that took: conntrack remembers
// a connection for two minutes.
func TestPortsOfEarlierRun(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const memory = 120 * time.Second
		for _, took := range []time.Duration{20 * time.Second, 100 * time.Second, 150 * time.Second, 170 * time.Second, 400 * time.Second} {
			used := map[int]time.Time{}
			for _, pace := range []time.Duration{took / 1000, 30 * time.Millisecond} { // an earlier run, and the next one
				s := newIDSource()
				for range 1000 {
					p := s.take("pod", probePorts)
					for n := p[0]; n <= p[1]; n++ {
						if at, ok := used[n]; ok && time.Since(at) < memory {
							t.Fatalf("after a run of %s: port %d is used again after %s", took, n, time.Since(at))
						}
						used[n] = time.Now()
					}
					<-time.After(pace)
				}
			}
			<-time.After(memory)
		}
	})
}

// Many attempts in a moment must not go through all ports before the kernel has forgotten the first of them.
func TestPortsAhead(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newIDSource()
		used := map[int]time.Time{}
		start := time.Now()
		for range 1000 {
			<-time.After(s.ahead("pod", batchSize+1))
			p := s.take("pod", batchSize+1)
			for n := p[0]; n <= p[1]; n++ {
				if at, ok := used[n]; ok && time.Since(at) < conntrackMemory+longest {
					t.Fatalf("after %s port %d is used again after %s", time.Since(start), n, time.Since(at))
				}
				used[n] = time.Now()
			}
		}
		if len(used) < (lastPort-firstPort)*9/10 {
			t.Errorf("%d ports were used", len(used))
		}
	})
}

// Pods of two clusters may have the same address, and share nothing.
func TestPodsOfTwoClusters(t *testing.T) {
	s := newIDSource()
	one, two := ClientInfo{IP: "10.0.0.1", Pod: "a"}, ClientInfo{IP: "10.0.0.1", Pod: "b"}
	if s.commandsOf(one.pod()) == s.commandsOf(two.pod()) {
		t.Error("they share their commands")
	}
	if s.commandsOf(one.pod()) != s.commandsOf("a") || s.commandsOf(ClientInfo{IP: "10.0.0.1"}.pod()) != s.commandsOf("10.0.0.1") {
		t.Error("a pod does not find its own")
	}
}

// The sidecar's own listening ports are no client's.
func TestPortsOfTheSidecar(t *testing.T) {
	s := newIDSource()
	for range 3 * (lastPort - firstPort) / probePorts {
		if p := s.take("10.0.0.1", probePorts); p[1] >= firstSidecarPort && p[0] <= lastSidecarPort {
			t.Fatalf("ports %v belong to the sidecar", p)
		}
	}
}
