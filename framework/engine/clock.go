package engine

import (
	"context"
	"time"
)

// clock says how long a result that is not the wanted one is given to change.
type clock struct {
	t        *try
	patience time.Duration
	start    time.Time
	before   int  // attempts that were made before the start
	begun    bool // the control client has made its attempt
}

func newClock(t *try, patience time.Duration) *clock {
	return &clock{t: t, patience: patience, start: time.Now()}
}

// over says whether the result stands. It does not before the control client has made its attempt, and where that one was kept from the
// target for a while, all begins anew when it has got through: what had kept it may have kept the other client as well.
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
	return overdue(time.Since(c.start), c.patience, len(c.t.rounds)-c.before)
}

// restart begins anew: what was made before does not count.
func (c *clock) restart() { c.start, c.before, c.t.equal = time.Now(), len(c.t.rounds), 0 }
