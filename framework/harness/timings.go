package harness

import (
	"maps"
	"sync"
	"time"
)

// recorder notes when the steps of a session were complete.
type recorder struct {
	start time.Time
	logf  func(format string, a ...any)

	mu    sync.Mutex
	steps map[string]float64 // seconds since the start
}

func newRecorder(logf func(string, ...any)) *recorder {
	return &recorder{start: time.Now(), logf: logf, steps: map[string]float64{}}
}

// mark notes that a step is complete.
func (r *recorder) mark(step string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.steps[step] = time.Since(r.start).Seconds()
	r.logf("%6.2fs  %s", r.steps[step], step)
}

// markFirst does so unless it is noted already.
func (r *recorder) markFirst(step string) {
	r.mu.Lock()
	_, done := r.steps[step]
	r.mu.Unlock()
	if !done {
		r.mark(step)
	}
}

// all are the moments, in seconds since the start, at which steps were complete.
func (r *recorder) all() map[string]float64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.steps)
}
