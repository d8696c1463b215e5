package harness

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mesh-egress-conformance/framework/cluster"
	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/limits"
)

// asking is an internet whose name is asked for every second, or a few times at once where it fails.
type asking struct {
	cluster.Internet
	host    string
	changed time.Time
	silent  bool
}

func (a *asking) Answer(_ context.Context, _, host string) error {
	a.host, a.changed = host, time.Now()
	if host == "nowhere.example" {
		return errors.New("no host is called that")
	}
	return nil
}

func (a *asking) Asked(context.Context, string) (int, error) {
	passed := time.Since(a.changed)
	switch {
	case a.silent || passed < 700*time.Millisecond:
		return 0, nil
	case a.host == "SERVFAIL":
		return min(4, int((passed-700*time.Millisecond)/(50*time.Millisecond))+1), nil
	}
	return int((passed-700*time.Millisecond)/time.Second) + 1, nil
}

func TestNames(t *testing.T) {
	for name, c := range map[string]struct {
		host   string
		silent bool
		took   time.Duration // at least
		why    string
	}{
		"another host":      {host: "multi.example", took: 1700 * time.Millisecond},
		"a failure":         {host: "SERVFAIL", took: 1150 * time.Millisecond},
		"nobody asks":       {host: "multi.example", silent: true, took: limits.Default().Control.Renew, why: "asked 0 times"},
		"no host like that": {host: "nowhere.example", why: "no host is called that"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &rules{limits: limits.Default(), internet: &asking{silent: c.silent}}
				k := egress.Case{Name: "c", DNS: map[egress.Phase]map[string]string{egress.Changed: {"moving.example": c.host}}}
				start := time.Now()
				err := r.name(t.Context(), k, egress.Changed)
				if (err == nil) != (c.why == "") || err != nil && !strings.Contains(err.Error(), c.why) {
					t.Errorf("got %v, wanted %q", err, c.why)
				}
				if took := time.Since(start); took < c.took || took > c.took+100*time.Millisecond {
					t.Errorf("took %s, wanted %s", took, c.took)
				}
			})
		})
	}
}

// A case meets the same in every lane, but for names: a sidecar that sees nothing but its own namespace has a Service there.
func TestLaneClient(t *testing.T) {
	for _, service := range []bool{true, false} {
		k := egress.Client{Name: "client", Namespace: "egress-client", Service: service}
		if !reflect.DeepEqual(lane(0).client(k), k) {
			t.Error("the first lane has another client")
		}
		c := lane(2).client(k)
		if c.Namespace != "egress-client-lane2" || c.Service || c.Hollow != service {
			t.Errorf("%+v", c)
		}
	}
}
