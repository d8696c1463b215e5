package limits

import (
	"reflect"
	"testing"
	"time"
)

// paces are what no factor changes, see Stretched.
var paces = map[string]bool{"Page.Pace": true, "Push.Debounce": true, "Push.Ask.Pause": true, "Push.Ask.Relist": true, "Push.Sent.Soonest": true}

// each calls f with every duration of a struct by its path.
func each(v reflect.Value, path string, f func(path string, d time.Duration)) {
	for i := range v.NumField() {
		name := v.Type().Field(i).Name
		if path != "" {
			name = path + "." + name
		}
		switch x := v.Field(i).Interface().(type) {
		case time.Duration:
			f(name, x)
		case int:
		default:
			each(v.Field(i), name, f)
		}
	}
}

func TestEveryLimitStretches(t *testing.T) {
	usual, slow := map[string]time.Duration{}, Default().Stretched(20)
	each(reflect.ValueOf(Default()), "", func(path string, d time.Duration) { usual[path] = d })
	n := 0
	each(reflect.ValueOf(slow), "", func(path string, d time.Duration) {
		n++
		want := usual[path] * 20
		if paces[path] {
			want = usual[path]
		}
		if usual[path] <= 0 || d != want {
			t.Errorf("%s is %s, and %s on a machine that is twenty times slower; wanted %s", path, usual[path], d, want)
		}
	})
	if n < 30 {
		t.Errorf("the limits have %d durations", n)
	}
	if slow.Slowness != 20 || slow.Push.Rest.Quiet.Answers != Default().Push.Rest.Quiet.Answers {
		t.Errorf("slowness %d, %d answers", slow.Slowness, slow.Push.Rest.Quiet.Answers)
	}
}

func TestParse(t *testing.T) {
	for text, want := range map[string]int{"": 1, "0": 1, "-3": 1, "many": 1, "1": 1, "20": 20} {
		l := parse(text)
		if l.Slowness != want || l != Default().Stretched(want) || l.Env() != SlowEnv+"="+map[int]string{1: "1", 20: "20"}[want] {
			t.Errorf("%s=%q means %d, wanted %d; handed to children as %s", SlowEnv, text, l.Slowness, want, l.Env())
		}
	}
}

func TestOrDefault(t *testing.T) {
	if (Limits{}).OrDefault() != Default() {
		t.Error("limits that were left out are not the usual ones")
	}
	if l := Default().Stretched(3); l.OrDefault() != l {
		t.Error("limits that were given are replaced")
	}
}

// A push of a change must not be able to begin while the change's batch still gathers.
func TestPushLimits(t *testing.T) {
	for _, d := range []time.Duration{debounce, 10 * debounce} {
		p := pushLimits(d)
		if p.Gathering >= d || p.Sent.Soonest >= d || p.Sent.Next.Time <= d || p.Rest.Quiet.Time <= d || p.Sent.Unconcerned.Time <= d {
			t.Errorf("a debounce of %s gives %+v", d, p)
		}
	}
}

// Where istiod is slow to answer, so are its pushes: patience is counted in its answers, too.
func TestPatience(t *testing.T) {
	p := Patience{300 * time.Millisecond, 5}
	for name, x := range map[string]struct {
		since   time.Duration
		answers int
		want    bool
	}{
		"soon": {150 * time.Millisecond, 9, false}, "late": {330 * time.Millisecond, 9, true}, "late, and istiod is slow": {330 * time.Millisecond, 3, false},
	} {
		if got := p.Over(time.Now().Add(-x.since), x.answers); got != x.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
