package pages

import (
	"context"
	"errors"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"mesh-egress-conformance/framework/limits"
)

// fakeShell answers each block from a list, the last answer again and again, and may lie.
type fakeShell struct {
	answers map[string][]answer
	ran     []string
}

type answer struct {
	output string
	exit   int
	err    error
	hang   bool // until the context ends
}

func (f *fakeShell) Run(ctx context.Context, script string) (string, int, error) {
	f.ran = append(f.ran, strings.TrimSpace(script))
	list := f.answers[strings.TrimSpace(script)]
	if len(list) == 0 {
		return "", 127, nil
	}
	a := list[0]
	if len(list) > 1 {
		f.answers[strings.TrimSpace(script)] = list[1:]
	}
	if a.hang {
		<-ctx.Done()
		return "", 0, errors.New("killed")
	}
	return a.output, a.exit, a.err
}

// quick are limits that a test can reach.
var quick = limits.Page{Block: 50 * time.Millisecond, Retry: 10 * time.Second, Pace: time.Millisecond, Learn: 20 * time.Millisecond, Settle: 20 * time.Millisecond}

var guided = head + "<!-- mask: <id> [0-9]{4} -->\n" + `
'''sh
make
'''
'''output
made <id>
'''
'''sh retry exit=35
look
'''
'''output
seen
'''
'''sh
clean
'''
`

// answers are those that the page has.
func answers() map[string][]answer {
	return map[string][]answer{"make": {{output: "made 1234"}}, "look": {{output: "seen\n", exit: 35}}, "clean": {{}}}
}

func TestRun(t *testing.T) {
	for name, x := range map[string]struct {
		change map[string][]answer
		ran    string // the blocks, in order
		diff   []string
		err    []string
	}{
		"as written":             {ran: "make look clean"},
		"seen at last":           {change: map[string][]answer{"look": {{output: "not yet\n"}, {output: "seen\n"}, {output: "seen\n", exit: 35}}}, ran: "make look look look clean"},
		"another output":         {change: map[string][]answer{"make": {{output: "broken\n"}}}, ran: "make look clean", diff: []string{"-made <id>\n+broken\n"}},
		"another status":         {change: map[string][]answer{"make": {{output: "made 1234\n", exit: 3}}}, ran: "make look clean", diff: []string{"-```sh\n+```sh exit=3\n"}},
		"an output of nothing":   {change: map[string][]answer{"make": {{}}}, ran: "make look clean", diff: []string{"-```output\n-made <id>\n-```\n"}},
		"an output at all":       {change: map[string][]answer{"clean": {{output: "oops"}}}, ran: "make look clean", diff: []string{"+```output\n+oops\n+```\n"}},
		"nobody waits then":      {change: map[string][]answer{"make": {{output: "broken"}}, "look": {{output: "no\n", exit: 1}, {output: "seen\n", exit: 35}}}, ran: "make look clean", diff: []string{"+broken\n", "+```sh exit=1 retry\n", "-seen\n+no\n"}},
		"a fence in the output":  {change: map[string][]answer{"make": {{output: "```\nx\n"}}}, ran: "make look clean", diff: []string{"+````output\n+```\n+x\n+````\n"}},
		"an escape sequence":     {change: map[string][]answer{"make": {{output: "\x1b[2Jx\n"}}}, ran: "make look clean", diff: []string{`+\x1b[2Jx`}},
		"the shell is dead":      {change: map[string][]answer{"make": {{err: errors.New("no more")}}}, ran: "make", err: []string{"docs/pages/p.md:8: run the commands: no more"}},
		"the commands never end": {change: map[string][]answer{"make": {{hang: true}}}, ran: "make", err: []string{"docs/pages/p.md:8", "did not end within 50ms"}},
	} {
		p := parse(t, fence(guided))
		shell := &fakeShell{answers: answers()}
		maps.Copy(shell.answers, x.change)
		var heard int
		r := &Runner{Shell: shell, Limits: quick, Each: func(Result) { heard++ }}
		out, err := r.Run(t.Context(), p)
		if got := strings.Join(shell.ran, " "); got != x.ran {
			t.Errorf("%s: ran %s, wanted %s", name, got, x.ran)
		}
		if (err != nil) != (len(x.err) > 0) {
			t.Errorf("%s: %v", name, err)
		}
		for _, w := range x.err {
			if err == nil || !strings.Contains(err.Error(), w) {
				t.Errorf("%s: error %v, wanted %s", name, err, w)
			}
		}
		if err != nil {
			continue
		}
		d := p.Diff(out.Results...)
		for _, w := range x.diff {
			if !strings.Contains(d, w) {
				t.Errorf("%s: the diff is\n%swanted\n%s", name, d, w)
			}
		}
		if out.OK() != (len(x.diff) == 0) || (d == "") != out.OK() || heard != 3 || out.Partly {
			t.Errorf("%s: OK %t, heard of %d, %+v\n%s", name, out.OK(), heard, out, d)
		}
	}
}

// A step that never prints what it must is given up, and a page that learns gives up sooner.
func TestGivesUp(t *testing.T) {
	for _, learn := range []bool{false, true} {
		p := parse(t, fence(guided))
		shell := &fakeShell{answers: answers()}
		shell.answers["look"] = []answer{{output: "never\n"}}
		limit := quick
		if limit.Retry = 20 * time.Millisecond; learn {
			limit.Retry = time.Hour
		}
		out, err := (&Runner{Shell: shell, Limits: limit, Learn: learn}).Run(t.Context(), p)
		if err != nil || out.OK() || len(out.Results) != 3 || out.Results[1].Attempts < 2 || out.Results[1].Output != "never\n" {
			t.Errorf("learn %t: %+v %v", learn, out, err)
		}
	}
}

func TestCancelled(t *testing.T) {
	p := parse(t, fence(guided))
	ctx, cancel := context.WithCancelCause(t.Context())
	shell := &fakeShell{answers: answers()}
	shell.answers["look"] = []answer{{output: "never\n"}}
	r := &Runner{Shell: shell, Limits: quick, Inventory: func(context.Context) (map[string]string, error) { return map[string]string{}, nil }}
	r.Ask = func(s Step) (Decision, error) {
		if s.Retry {
			cancel(errors.New("the cluster died"))
		}
		return RunIt, nil
	}
	if _, err := r.Run(ctx, p); err == nil || !strings.Contains(err.Error(), "docs/pages/p.md:14: the cluster died") {
		t.Error(err)
	}
}

func TestAsk(t *testing.T) {
	p := parse(t, fence(guided))
	for name, x := range map[string]struct {
		decide []Decision
		ran    string
		partly bool
	}{
		"all":  {[]Decision{RunIt, RunIt, RunIt}, "make look clean", false},
		"skip": {[]Decision{SkipIt, RunIt, RunIt}, "look clean", true},
		"quit": {[]Decision{RunIt, Quit}, "make", true},
	} {
		shell := &fakeShell{answers: answers()}
		r := &Runner{Shell: shell, Limits: quick, Inventory: func(context.Context) (map[string]string, error) { return map[string]string{}, nil }}
		r.Ask = func(Step) (Decision, error) {
			d := x.decide[0]
			x.decide = x.decide[1:]
			return d, nil
		}
		out, err := r.Run(t.Context(), p)
		if got := strings.Join(shell.ran, " "); err != nil || got != x.ran || out.Partly != x.partly {
			t.Errorf("%s: ran %s, %+v %v", name, got, out, err)
		}
	}
	failing := &Runner{Shell: &fakeShell{}, Limits: quick, Ask: func(Step) (Decision, error) { return Quit, errors.New("nobody there") }}
	if _, err := failing.Run(t.Context(), p); err == nil || !strings.Contains(err.Error(), "nobody there") {
		t.Error(err)
	}
}

func TestLeft(t *testing.T) {
	before := map[string]string{"a": "1", "b": "1"}
	for name, x := range map[string]struct {
		after []map[string]string // the last one again and again
		left  string
	}{
		"nothing":         {[]map[string]string{before}, ""},
		"gone at last":    {[]map[string]string{{"a": "1", "b": "1", "c": "1"}, before}, ""},
		"something more":  {[]map[string]string{{"a": "1", "b": "1", "c": "1"}}, "c is left behind"},
		"something less":  {[]map[string]string{{"a": "1"}}, "b is gone"},
		"something else":  {[]map[string]string{{"a": "1", "b": "2"}}, "b has changed"},
		"all of the kind": {[]map[string]string{{"b": "2", "c": "1"}}, "b has changed, c is left behind, a is gone"},
	} {
		p := parse(t, fence(guided))
		lists := slices.Concat([]map[string]string{before}, x.after)
		r := &Runner{Shell: &fakeShell{answers: answers()}, Limits: quick, Inventory: func(context.Context) (map[string]string, error) {
			have := lists[0]
			if len(lists) > 1 {
				lists = lists[1:]
			}
			return have, nil
		}}
		out, err := r.Run(t.Context(), p)
		if got := strings.Join(out.Left, ", "); err != nil || got != x.left || out.OK() != (x.left == "") {
			t.Errorf("%s: %q, wanted %q; %v", name, got, x.left, err)
		}
	}
	failing := &Runner{Shell: &fakeShell{answers: answers()}, Limits: quick, Inventory: func(context.Context) (map[string]string, error) { return nil, errors.New("no server") }}
	if _, err := failing.Run(t.Context(), parse(t, fence(guided))); err == nil || !strings.Contains(err.Error(), "list what is there: no server") {
		t.Error(err)
	}
}

func TestBash(t *testing.T) {
	dir := t.TempDir()
	b, err := NewBash(t.Context(), dir, append(os.Environ(), "GREETING=hello"))
	if err != nil {
		t.Fatal(err)
	}
	b.token = "05N" // a digit at once behind an escape of printf would belong to that
	for _, x := range []struct {
		script, output string
		exit           int
	}{
		{"echo $GREETING\n", "hello\n", 0},
		{"export X=1; f() { echo f$X; }\n", "", 0},
		{"f; f >&2\nfalse", "f1\nf1\n", 1}, // what a block makes known is there in the next
		{"cat; read -r y; echo $?", "1\n", 0},
		{"printf 'a\\0b'", "a\x00b", 0},
		{"pwd", dir + "\n", 0},
		{"sleep 60 &\n", "", 0}, // is ended with the shell
		{"exit_status() { return 35; }; exit_status", "", 35},
	} {
		if out, exit, err := b.Run(t.Context(), x.script); out != x.output || exit != x.exit || err != nil {
			t.Errorf("%s: %q %d %v, wanted %q %d", x.script, out, exit, err, x.output, x.exit)
		}
	}
	if out, exit, err := b.Run(t.Context(), "if\n"); !strings.Contains(out, "syntax error") || exit == 0 || err != nil {
		t.Errorf("a syntax error: %q %d %v", out, exit, err)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(b.dir); !os.IsNotExist(err) {
		t.Errorf("the folder of the blocks: %v", err)
	}
}

// A block that does not come to its end is an error, and so is every later one.
func TestBashFaults(t *testing.T) {
	for name, x := range map[string]struct {
		script, want string
		cancel       bool
	}{
		"ends the shell":  {"echo bye; exit 3", `ended the shell; until then they printed "bye\n"`, false},
		"prints for ever": {"yes", "printed more than 1024 KiB", false},
		"does not end":    {"sleep 60", "ended the shell", true},
	} {
		b, err := NewBash(t.Context(), t.TempDir(), os.Environ())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		if x.cancel {
			cancel()
		}
		if _, _, err := b.Run(ctx, x.script); err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: %v, wanted %s", name, err, x.want)
		}
		cancel()
		if _, _, err := b.Run(t.Context(), "true"); err == nil || !strings.Contains(err.Error(), "the shell has ended") {
			t.Errorf("%s, and then: %v", name, err)
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}
	t.Setenv("PATH", t.TempDir())
	if _, err := NewBash(t.Context(), t.TempDir(), nil); err == nil || !strings.Contains(err.Error(), "install the package bash") {
		t.Errorf("without bash: %v", err)
	}
}
