// Package terminal keeps a few lines up to date at the lower end of a terminal, below what is printed meanwhile. It knows
// nothing of what they say. It writes four control sequences and no others: up, erase the line, erase what follows, and
// the colours that its user puts into the lines.
//
// Libraries for this either are frameworks that take the terminal's input and signals for themselves, or lose what is
// printed while nothing is shown; what is needed here is one write at a time, of which nothing gets lost.
package terminal

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"
)

// Size says how large a terminal is, in characters. It is asked before each drawing, so that no signal is needed.
type Size func() (columns, rows int, err error)

// Draw makes the lines, without line feeds, for a terminal of that size. Lines that are too long are cut, and so are lines
// that are too many. No lines show nothing.
type Draw func(columns, rows int) []string

// Sizes of a terminal that does not tell its own, in characters.
const (
	usualColumns = 80
	usualRows    = 24
)

// Screen is a writer to a terminal. Whatever is written to it appears above the lines that it shows. Its methods may be
// called by several at once.
type Screen struct {
	w    io.Writer
	size Size

	mu    sync.Mutex
	draw  Draw   // nil: nothing is shown
	rest  []byte // what was written of a line that has no end yet, while something is shown
	drawn []int  // the widths of the lines that stand on the terminal, in characters
	held  int    // how many want nothing to be drawn
	open  bool   // what was printed last has no line end
}

// New is a screen on a terminal, which shows nothing yet.
func New(w io.Writer, size Size) *Screen { return &Screen{w: w, size: size} }

// Unwrap is the terminal.
func (s *Screen) Unwrap() io.Writer { return s.w }

// Write prints above the lines that are shown. While there are some, a line is printed when it is complete.
func (s *Screen) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(b) == 0 {
		return 0, nil
	}
	lines, columns := s.lines()
	if len(lines)+len(s.drawn)+len(s.rest) == 0 {
		s.open = b[len(b)-1] != '\n'
		return s.w.Write(b) //nolint:wrapcheck // it is a writer
	}
	s.rest = append(s.rest, b...)
	end := bytes.LastIndexByte(s.rest, '\n') + 1
	if end == 0 {
		return len(b), nil
	}
	whole := string(s.rest[:end])
	s.rest = bytes.Clone(s.rest[end:])
	if err := s.redraw(whole, lines, columns); err != nil {
		return 0, err
	}
	return len(b), nil
}

// lines are those to show now, on a terminal of so many columns. The caller holds the lock.
func (s *Screen) lines() (lines []string, columns int) {
	columns, rows := s.measure()
	if s.draw == nil || s.held > 0 {
		return nil, columns
	}
	lines = s.draw(columns, rows)
	return lines[:min(len(lines), rows-1)], columns // the cursor stands below the last
}

// Show shows lines, and draws them again in this interval, until hide is called, which erases them. A screen shows those of
// one at a time: whoever calls last.
func (s *Screen) Show(d Draw, every time.Duration) (hide func()) {
	s.mu.Lock()
	s.draw = d
	s.mu.Unlock()
	stop := make(chan struct{})
	var drawing sync.WaitGroup
	drawing.Go(func() {
		t := time.NewTicker(every)
		defer t.Stop()
		for {
			select {
			case <-stop:
				return
			case <-t.C:
				s.Refresh()
			}
		}
	})
	return sync.OnceFunc(func() {
		close(stop)
		drawing.Wait()
		s.Close()
	})
}

// Refresh draws the lines anew. That the terminal has gone is found by whoever prints next.
func (s *Screen) Refresh() {
	s.mu.Lock()
	defer s.mu.Unlock()
	lines, columns := s.lines()
	_ = s.redraw("", lines, columns)
}

// Close erases the lines, and prints what was held back. The screen can be used on: what is written to it is passed on.
func (s *Screen) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.erase()
	s.draw = nil
}

// Hold erases the lines until release is called: the terminal belongs to somebody who reads from it.
func (s *Screen) Hold() (release func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held++
	s.erase()
	return sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.held--
	})
}

// erase leaves the terminal with nothing but what was printed. The caller holds the lock.
func (s *Screen) erase() {
	columns, _ := s.measure()
	printed := string(s.rest)
	s.rest = nil
	_ = s.redraw(printed, nil, columns)
	s.open = printed != "" && !strings.HasSuffix(printed, "\n")
}

// Control sequences (ECMA-48: CUU, EL, ED).
const (
	up         = "\x1b[%dA"
	eraseRight = "\x1b[K"
	eraseBelow = "\x1b[J"
)

// redraw prints text in the place of the lines that stand on the terminal, and others below it, in one write. The caller
// holds the lock.
func (s *Screen) redraw(printed string, lines []string, columns int) error {
	if len(lines) == 0 && len(s.drawn) == 0 && printed == "" {
		return nil
	}
	var b strings.Builder
	if s.open {
		b.WriteString("\n")
		s.open = false
	}
	if n := s.standing(columns); n > 0 {
		top := "\r" + fmt.Sprintf(up, n)
		b.WriteString(top)
		if printed != "" || len(lines) == 0 { // tmux keeps what is erased to the end from the upper left corner
			b.WriteString(strings.Repeat(eraseRight+"\n", n) + top)
		}
	}
	b.WriteString(printed)
	s.drawn = s.drawn[:0]
	for _, l := range lines {
		l = text.Trim(l, columns-1) // in the last column some terminals begin a new line, others do not
		s.drawn = append(s.drawn, text.StringWidthWithoutEscSequences(l))
		b.WriteString(l + eraseRight + "\n")
	}
	if len(lines) > 0 {
		b.WriteString(eraseBelow)
	}
	if _, err := io.WriteString(s.w, b.String()); err != nil {
		return fmt.Errorf("write to the terminal: %w", err)
	}
	return nil
}

// standing is how many rows of the terminal the lines take that stand on it, which has wrapped them where it has become
// narrower since.
func (s *Screen) standing(columns int) int {
	n := 0
	for _, w := range s.drawn {
		n += max(1, (w+columns-1)/columns)
	}
	return n
}

// measure is the size of the terminal, at least two columns and two rows.
func (s *Screen) measure() (columns, rows int) {
	columns, rows, err := s.size()
	if err != nil || columns <= 0 || rows <= 0 {
		return usualColumns, usualRows
	}
	return max(2, columns), max(2, rows)
}
