package terminal

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"mesh-egress-conformance/framework/terminal/terminaltest"
)

// Nothing draws by itself in these tests.
const never = time.Hour

func same(what ...string) Draw { return func(int, int) []string { return what } }

func TestScreen(t *testing.T) {
	for name, x := range map[string]struct {
		columns, rows int
		do            func(*Screen, *terminaltest.Terminal)
		want          string
	}{
		"nothing to show is passed on as it comes": {80, 24, func(s *Screen, _ *terminaltest.Terminal) {
			io.WriteString(s, "no line")
			io.WriteString(s, " yet")
		}, "no line yet"},
		"lines stay below what is printed": {80, 24, func(s *Screen, _ *terminaltest.Terminal) {
			s.Show(same("one", "two"), never)
			io.WriteString(s, "a\nb\n")
			io.WriteString(s, "c\n")
		}, "a\nb\nc\none\ntwo"},
		"a line is printed when it has its end": {80, 24, func(s *Screen, _ *terminaltest.Terminal) {
			s.Show(same("one"), never)
			io.WriteString(s, "a\nb")
			io.WriteString(s, "c\nd")
		}, "a\nbc\none"},
		"the end prints the rest": {80, 24, func(s *Screen, _ *terminaltest.Terminal) {
			hide := s.Show(same("one"), never)
			io.WriteString(s, "a\nb")
			hide()
			hide()
			io.WriteString(s, "c\n")
		}, "a\nbc"},
		"fewer lines leave none of the others": {80, 24, func(s *Screen, _ *terminaltest.Terminal) {
			s.Show(same("a long line", "two", "three"), never)
			s.Refresh()
			s.Show(same("short"), never)
			s.Refresh()
		}, "short"},
		"no line leaves nothing": {80, 24, func(s *Screen, _ *terminaltest.Terminal) {
			s.Show(same("one"), never)
			s.Refresh()
			s.Show(same(), never)
			io.WriteString(s, "a\n")
		}, "a"},
		"lines begin a line of their own": {80, 24, func(s *Screen, _ *terminaltest.Terminal) {
			s.Show(same(), never)
			io.WriteString(s, "a prompt")
			s.Show(same("one"), never)
			s.Refresh()
			s.Refresh()
		}, "a prompt\none"},
		"too long, and too many": {6, 3, func(s *Screen, _ *terminaltest.Terminal) {
			s.Show(same("1234567890", "\x1b[31mabcdefghij\x1b[0m", "three"), never)
			s.Refresh()
			io.WriteString(s, "wrapped by the terminal\n")
		}, "wrapped by the terminal\n12345\nabcde"},
		"narrower than before": {40, 24, func(s *Screen, term *terminaltest.Terminal) {
			s.Show(same(strings.Repeat("x", 30), "two"), never)
			io.WriteString(s, "a\n")
			term.Resize(12, 24)
			s.Refresh()
			term.Resize(33, 24)
			io.WriteString(s, "b\n")
		}, "a\nb\n" + strings.Repeat("x", 30) + "\ntwo"},
		"scrolled out": {20, 4, func(s *Screen, _ *terminaltest.Terminal) {
			s.Show(same("one", "two"), never)
			for i := range 9 {
				fmt.Fprintln(s, i)
			}
		}, "0\n1\n2\n3\n4\n5\n6\n7\n8\none\ntwo"},
		"held": {80, 24, func(s *Screen, _ *terminaltest.Terminal) {
			s.Show(same("one"), never)
			s.Refresh()
			release := s.Hold()
			io.WriteString(s, "press Enter")
			s.Refresh()
			io.WriteString(s, "\n")
			release()
			s.Refresh()
		}, "press Enter\none"},
	} {
		t.Run(name, func(t *testing.T) {
			term := terminaltest.New(x.columns, x.rows)
			x.do(New(term, term.Size), term)
			if got := term.String(); got != x.want {
				t.Errorf("it shows\n%s\nand should\n%s", got, x.want)
			}
			if u := term.Unknown(); len(u) > 0 {
				t.Errorf("control characters: %v", u)
			}
		})
	}
}

// What several print at once while lines change stands there whole.
func TestManyWriters(t *testing.T) {
	term := terminaltest.New(80, 10)
	s := New(term, term.Size)
	hide := s.Show(same("one", "two"), time.Millisecond)
	var all sync.WaitGroup
	for w := range 4 {
		all.Go(func() {
			for i := range 50 {
				fmt.Fprintf(s, "%d-%d\n", w, i)
			}
		})
	}
	all.Wait()
	hide()
	got := strings.Split(term.String(), "\n")
	seen := map[string]bool{}
	for _, l := range got {
		seen[l] = true
	}
	if len(got) != 200 || len(seen) != 200 || seen["one"] {
		t.Errorf("%d lines, %d of them different: %q", len(got), len(seen), got)
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("it is gone") }

// A terminal without a size has the usual one, and one that has gone is an error for whoever prints.
func TestNoTerminal(t *testing.T) {
	var out strings.Builder
	s := New(&out, func() (int, int, error) { return 0, 0, errors.New("no terminal") })
	var columns, rows int
	s.Show(func(c, r int) []string { columns, rows = c, r; return nil }, never)
	s.Refresh()
	if columns != usualColumns || rows != usualRows {
		t.Errorf("%d × %d", columns, rows)
	}
	s = New(broken{}, func() (int, int, error) { return 80, 24, nil })
	s.Show(same("one"), never)
	if _, err := io.WriteString(s, "a\n"); err == nil || !strings.Contains(err.Error(), "it is gone") {
		t.Errorf("%v", err)
	}
}
