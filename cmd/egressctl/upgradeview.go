package main

import (
	"fmt"
	"time"

	"mesh-egress-conformance/framework/harness"
	"mesh-egress-conformance/framework/printable"
)

// upgradeView is what a view knows of an upgrade under way.
type upgradeView struct {
	phase     string
	n, of     int
	since     time.Time // of the phase
	attempts  int
	otherwise int // of them, those that did not come out as they must, as the callers say
}

// line says how far the upgrade is.
func (u upgradeView) line(now, start time.Time) string {
	s := fmt.Sprintf("phase %s (%d of %d), %s (%s in all): attempts %d", printable.Line(u.phase), u.n, u.of, clock(now.Sub(u.since)), clock(now.Sub(start)), u.attempts)
	if u.otherwise > 0 {
		s += fmt.Sprintf(", not as they must be: %d", u.otherwise)
	}
	return s
}

// tellOfUpgrade makes a session tell of its upgrade, where the teller is a view; the steps and moments are plain lines, above it.
func tellOfUpgrade(o *harness.UpgradeOptions, t teller) {
	l, ok := t.(*liveRun)
	if !ok {
		return
	}
	o.OnPhase = func(name string, n, of int) {
		l.v.do(func(*shown) {
			if l.r.upgrade == nil {
				l.r.upgrade = &upgradeView{}
			}
			u := l.r.upgrade
			u.phase, u.n, u.of, u.since = name, n, of, time.Now()
		})
	}
	o.OnAttempt = func(fine bool) { // many a second: the next drawing shows it
		l.v.mu.Lock()
		defer l.v.mu.Unlock()
		u := l.r.upgrade
		if u == nil { // the first phase is about to begin
			return
		}
		u.attempts++
		if !fine {
			u.otherwise++
		}
	}
}
