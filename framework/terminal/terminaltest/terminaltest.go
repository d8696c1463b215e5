// Package terminaltest is a terminal for tests: it understands the control sequences that framework/terminal writes, and
// says of any other that it does not. Every character takes one column.
package terminaltest

import (
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"
)

// Terminal is a terminal with all that has ever scrolled out of it. It may be used by several at once.
type Terminal struct {
	mu            sync.Mutex
	columns, rows int
	lines         []row // the last of them are on the screen
	at, column    int   // the cursor
	rest          []byte
	unknown       []string
}

// row is one row of the terminal.
type row struct {
	text    []rune
	wrapped bool // the line goes on in the next row
}

// New is an empty terminal.
func New(columns, rows int) *Terminal {
	return &Terminal{columns: columns, rows: rows, lines: []row{{}}}
}

// Size is the terminal's.
func (t *Terminal) Size() (columns, rows int, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.columns, t.rows, nil
}

// Resize changes the size, and wraps what stands there anew, as most terminals do.
func (t *Terminal) Resize(columns, rows int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var whole []row
	at := 0
	for i, l := range t.lines {
		if i > 0 && t.lines[i-1].wrapped {
			whole[len(whole)-1].text = append(whole[len(whole)-1].text, l.text...)
		} else {
			whole = append(whole, row{text: append([]rune(nil), l.text...)})
		}
		if i == t.at {
			at = len(whole) - 1
		}
	}
	t.columns, t.rows, t.lines = columns, rows, nil
	for i, l := range whole {
		if i == at {
			t.at = len(t.lines)
		}
		for len(l.text) > columns {
			t.lines = append(t.lines, row{l.text[:columns:columns], true})
			l.text = l.text[columns:]
		}
		t.lines = append(t.lines, l)
	}
	t.column = min(t.column, columns-1)
}

// String is all that stands on the terminal or has scrolled out of it, without the empty lines at its end.
func (t *Terminal) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var b strings.Builder
	for _, l := range t.lines {
		b.WriteString(string(l.text))
		if !l.wrapped {
			b.WriteByte('\n')
		}
	}
	return strings.TrimRight(b.String(), " \n")
}

// Unknown are the control sequences and characters that it was sent and does not know.
func (t *Terminal) Unknown() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append(append([]string(nil), t.unknown...), quoted(t.rest)...)
}

func quoted(rest []byte) []string {
	if len(rest) == 0 {
		return nil
	}
	return []string{strconv.Quote(string(rest)) + ", which has no end"}
}

var sequence = regexp.MustCompile(`^\x1b\[([0-9;]*)([A-Za-z])`)

// Write is what a program does that is on the terminal.
func (t *Terminal) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rest = append(t.rest, b...)
	for len(t.rest) > 0 {
		if t.rest[0] == 0x1b {
			m := sequence.FindSubmatch(t.rest)
			if m == nil {
				if len(t.rest) > 16 {
					return 0, fmt.Errorf("no control sequence: %q", t.rest)
				}
				return len(b), nil // the rest is still to come
			}
			t.obey(string(m[1]), string(m[2]))
			t.rest = t.rest[len(m[0]):]
			continue
		}
		if !utf8.FullRune(t.rest) {
			return len(b), nil
		}
		r, n := utf8.DecodeRune(t.rest)
		t.rest = t.rest[n:]
		t.put(r)
	}
	return len(b), nil
}

func (t *Terminal) obey(parameters, final string) {
	switch l := &t.lines[t.at]; {
	case final == "A":
		n, err := strconv.Atoi(parameters)
		if err != nil {
			n = 1
		}
		t.at = max(max(0, len(t.lines)-t.rows), t.at-n)
	case final == "K" && parameters == "":
		l.text, l.wrapped = l.text[:min(len(l.text), t.column)], false
	case final == "J" && parameters == "" && t.at == max(0, len(t.lines)-t.rows) && t.column == 0: // as tmux, which keeps what stood on the whole screen
		t.lines = append(t.lines, row{})
		t.at = len(t.lines) - 1
	case final == "J" && parameters == "":
		l.text, l.wrapped = l.text[:min(len(l.text), t.column)], false
		for i := t.at + 1; i < len(t.lines); i++ {
			t.lines[i] = row{}
		}
	case final == "m":
	default:
		t.unknown = append(t.unknown, fmt.Sprintf("%q", "\x1b["+parameters+final))
	}
}

func (t *Terminal) put(r rune) {
	switch {
	case r == '\n': // as the kernel's terminals, which make CR LF of it
		t.down()
		t.column = 0
	case r == '\r':
		t.column = 0
	case r < ' ' || r == 0x7f:
		t.unknown = append(t.unknown, strconv.QuoteRune(r))
	default:
		if t.column == t.columns {
			t.lines[t.at].wrapped = true
			t.down()
			t.column = 0
		}
		l := &t.lines[t.at]
		for len(l.text) <= t.column {
			l.text = append(l.text, ' ')
		}
		l.text[t.column] = r
		t.column++
	}
}

func (t *Terminal) down() {
	t.at++
	if t.at == len(t.lines) {
		t.lines = append(t.lines, row{})
	}
}

var _ io.Writer = (*Terminal)(nil)
