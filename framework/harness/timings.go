package harness

import (
	"maps"
	"sync"
	"time"
)

// Steps of a bring-up that are named in more than one place.
const (
	stepComponents = "components in the cache"
	stepProcesses  = "cluster processes started"
	stepAPIServer  = "API server ready"
	stepCharts     = "Istio charts applied"
	stepInternet   = "hermetic internet ready"
	stepIstiod     = "istiod ready"
	stepClients    = "client pods ready"
)

// Next says what a session that is being opened does after a step; "" is the beginning, and for other steps.
func Next(step string) string {
	switch step {
	case "":
		return "looking for the cluster and its components"
	case stepComponents:
		return "starting the cluster's processes"
	case stepProcesses:
		return "waiting for the API server"
	case stepAPIServer:
		return "applying Istio's charts"
	case stepCharts:
		return "waiting for istiod"
	case stepIstiod, stepInternet:
		return "waiting for client pods"
	case stepClients:
		return "connecting to the clients' proxies"
	}
	return ""
}

// recorder notes when the steps of a session were complete.
type recorder struct {
	start time.Time
	logf  func(format string, a ...any)
	hear  func(step string) // nil for nobody

	mu    sync.Mutex
	steps map[string]float64 // seconds since the start
}

func newRecorder(logf func(string, ...any), hear func(string)) *recorder {
	return &recorder{start: time.Now(), logf: logf, hear: hear, steps: map[string]float64{}}
}

// mark notes that a step is complete.
func (r *recorder) mark(step string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.steps[step] = time.Since(r.start).Seconds()
	r.logf("%6.2fs  %s", r.steps[step], step)
	if r.hear != nil {
		r.hear(step)
	}
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
