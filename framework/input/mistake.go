package input

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	yamlv3 "go.yaml.in/yaml/v3"
)

// Mistake is something wrong in what a user has written: where it stands, what it is and what to write instead.
type Mistake struct {
	File   string `json:"file"`
	Line   int    `json:"line,omitempty"` // 0 means the file as a whole
	What   string `json:"what"`
	Remedy string `json:"remedy,omitempty"`
}

// Where is the file with the line.
func (m Mistake) Where() string {
	if m.Line == 0 {
		return m.File
	}
	return fmt.Sprintf("%s:%d", m.File, m.Line)
}

// Error is the mistake in one line. A text that begins with its place, as that of an object of a cluster does, has it once.
func (m Mistake) Error() string {
	text := m.What
	if !strings.HasPrefix(text, m.Where()+" ") {
		text = m.Where() + ": " + text
	}
	if m.Remedy != "" {
		text += "; " + strings.Join(strings.Fields(m.Remedy), " ")
	}
	return text
}

// Mistakes are all that were found; as an error they are one line each.
type Mistakes []Mistake

// Error lists the mistakes, one in a line.
func (m Mistakes) Error() string {
	lines := make([]string, len(m))
	for i, x := range m {
		lines[i] = x.Error()
	}
	return strings.Join(lines, "\n")
}

// Err is the mistakes as an error, nil where there are none.
func (m Mistakes) Err() error {
	if len(m) == 0 {
		return nil
	}
	return m
}

// Sorted is the mistakes by file and line, each once.
func (m Mistakes) Sorted() Mistakes {
	out := slices.Clone(m)
	slices.SortStableFunc(out, func(a, b Mistake) int {
		return cmp.Or(strings.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), strings.Compare(a.What, b.What))
	})
	return slices.Compact(out)
}

var yamlLineRE = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

// AsMistake is an error about a file as a mistake; one that has its place already keeps it.
func AsMistake(file string, line int, err error) Mistake {
	var m Mistake
	if errors.As(err, &m) {
		return m
	}
	return Mistake{File: file, Line: line, What: err.Error()}
}

var placeRE = regexp.MustCompile(`^([^:]+):(\d+): (.*)$`)

// Lines are the lines of an error as mistakes; those that begin with file and line have them as their place.
func Lines(file string, err error) Mistakes {
	var out Mistakes
	var known Mistakes
	if err == nil {
		return nil
	}
	if errors.As(err, &known) {
		return known
	}
	for line := range strings.Lines(err.Error()) {
		m := Mistake{File: file, What: strings.TrimSpace(line)}
		if place := placeRE.FindStringSubmatch(m.What); place != nil {
			m.File, m.What = place[1], place[3]
			m.Line, _ = strconv.Atoi(place[2]) // digits; too many of them leave 0
		}
		out = append(out, m)
	}
	return out
}

// syntax is an error of the YAML parser with the line in its place.
func syntax(file string, err error) Mistake {
	text := err.Error()
	m := Mistake{File: file, What: "this is no YAML: " + yamlLineRE.ReplaceAllString(text, "")}
	if line := yamlLineRE.FindStringSubmatch(text); len(line) > 1 {
		m.Line, _ = strconv.Atoi(line[1]) // digits; "" leaves 0
	}
	return m
}

// At follows keys (string) and indices (int) from a node as far as they exist. Where the last step is a key it returns
// the key, so that the line is that of the field.
func At(n *Node, path ...any) *Node {
	found := n
	for _, step := range path {
		key, value := child(n, step)
		if value == nil {
			break
		}
		found, n = key, value
	}
	return found
}

// Value follows keys and indices to a value; nil where there is none.
func Value(n *Node, path ...any) *Node {
	for _, step := range path {
		if _, n = child(n, step); n == nil {
			return nil
		}
	}
	return n
}

// child is the key and the value of one step; an element of a list is both.
func child(n *Node, step any) (key, value *Node) {
	switch step := step.(type) {
	case int:
		if n.Kind == yamlv3.SequenceNode && step >= 0 && step < len(n.Content) {
			return n.Content[step], n.Content[step]
		}
	case string:
		if n.Kind != yamlv3.MappingNode {
			return nil, nil
		}
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == step {
				return n.Content[i], n.Content[i+1]
			}
		}
	}
	return nil, nil
}

// Near is the known word that a misspelled one is likely to mean; "" if none is close.
func Near(word string, known []string) string { return Within(max(1, len(word)/3), word, known) }

// Within is the known word that is the closest to another one, if at most so many letters are wrong; "" if there is none.
func Within(letters int, word string, known []string) string {
	best, least := "", letters+1
	for _, k := range known {
		if d := distance(strings.ToLower(word), strings.ToLower(k)); d < least {
			best, least = k, d
		}
	}
	return best
}

// distance counts the letters that must be added, removed, replaced or swapped with their neighbour.
func distance(a, b string) int {
	rows := [3][]int{make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)}
	for j := range rows[1] {
		rows[1][j] = j
	}
	for i := 1; i <= len(a); i++ {
		before, above, row := rows[0], rows[1], rows[2]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			same := 1
			if a[i-1] == b[j-1] {
				same = 0
			}
			row[j] = min(above[j]+1, row[j-1]+1, above[j-1]+same)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		rows = [3][]int{above, row, before}
	}
	return rows[1][len(b)]
}
