package internet

import (
	"sync"
	"time"

	"mesh-egress-conformance/framework/egress"
)

// maxArrivals bounds the log's memory: about 50 MB.
const maxArrivals = 100_000

// arrivals is the log of everything that reached a host. Sequence numbers start at 1 and never
// repeat, so that a reader knows what it has already seen. Some are left out.
type arrivals struct {
	mu    sync.Mutex
	first int64 // sequence number of log[0]
	log   []egress.Arrival
}

func (l *arrivals) add(a egress.Arrival) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.append(a)
}

// replace notes what an entry has become as a new one, and takes the former away. A connection may have stood by for long when its
// first request comes (Envoy opens one for each request that waits, and keeps what it does not need): readers have seen its
// entry by then, and those who ask for what comes after it must see the request.
func (l *arrivals) replace(seq int64, a egress.Arrival) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e := l.entry(seq); e != nil {
		*e = egress.Arrival{}
	}
	return l.append(a)
}

func (l *arrivals) append(a egress.Arrival) int64 {
	if l.first == 0 {
		l.first = 1
	}
	a.Seq, a.Time = l.first+int64(len(l.log)), time.Now().UTC()
	l.log = append(l.log, a)
	if len(l.log) > maxArrivals {
		drop := len(l.log) / 2
		l.log = append([]egress.Arrival(nil), l.log[drop:]...)
		l.first += int64(drop)
	}
	return a.Seq
}

// amend completes an entry with what became known after the connection was accepted.
func (l *arrivals) amend(seq int64, f func(*egress.Arrival)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e := l.entry(seq); e != nil {
		f(e)
	}
}

// entry is the one with a number; nil where it is no longer held, or was replaced.
func (l *arrivals) entry(seq int64) *egress.Arrival {
	if i := seq - l.first; i >= 0 && i < int64(len(l.log)) && l.log[i].Seq == seq {
		return &l.log[i]
	}
	return nil
}

// page is the answer of the control API.
type page struct {
	First    int64            `json:"first"` // oldest entry still held; a reader behind it has lost some
	Next     int64            `json:"next"`  // ask again from here
	Arrivals []egress.Arrival `json:"arrivals"`
}

func (l *arrivals) since(seq int64) page {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := page{First: max(l.first, 1), Next: max(l.first, 1) + int64(len(l.log))}
	from := seq - p.First
	if from < 0 {
		from = 0
	}
	for _, a := range l.log[min(from, int64(len(l.log))):] {
		if a.Seq > 0 {
			p.Arrivals = append(p.Arrivals, a)
		}
	}
	return p
}
