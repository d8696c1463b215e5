package engine

import (
	"context"
	"time"
)

// clock says how long a result that is not the wanted one is given to change.
type clock struct {
	r        *run
	t        *try
	patience time.Duration
	first    time.Time // when the attempts began
	start    time.Time // from when on they count
	before   int       // attempts that were made before the start
	begun    bool      // the control client has made its attempt
}

func (r *run) clock(t *try, patience time.Duration) *clock {
	now := time.Now()
	return &clock{r: r, t: t, patience: patience, first: now, start: now}
}

// over says whether the result stands. It does not before the control client has made its attempt, and where that one was kept from the
// target for a while, all begins anew when it has got through: what had kept it may have kept the other client as well. So it does while
// a proxy has no address of a name that has some.
func (c *clock) over(ctx context.Context) bool {
	if ctx.Err() != nil || c.t.lost.Load() {
		return true
	}
	if !c.begun {
		select {
		case <-c.t.controlled:
			c.begun = true
		default:
			return false
		}
		if c.t.control.again {
			c.restart()
		}
	}
	if !overdue(time.Since(c.start), c.patience, len(c.t.rounds)-c.before) {
		return false
	}
	if c.r.lacksName(ctx, c.t) && time.Since(c.first) <= c.r.e.Limits.Probe.Resolve {
		c.restart()
		return false
	}
	return true
}

// restart begins anew: what was made before does not count.
func (c *clock) restart() { c.start, c.before, c.t.equal = time.Now(), len(c.t.rounds), 0 }
