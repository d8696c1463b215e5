package internet

import (
	"regexp"
	"strconv"
	"strings"
)

// column is one column of the only row that a database answers.
type column struct{ name, value string }

// number says that the value is a small whole number.
func (c column) number() (int32, bool) {
	n, err := strconv.ParseInt(c.value, 10, 32)
	return int32(n), err == nil
}

var (
	sqlComment = regexp.MustCompile(`(?s)/\*.*?\*/|--[^\n]*|(?m:^#[^\n]*$)`)
	sqlAlias   = regexp.MustCompile(`(?is)^(.*?)\s+as\s+["` + "`" + `]?([^"` + "`" + `\s]+)["` + "`" + `]?$`)
	sqlEnd     = regexp.MustCompile(`(?is)\s+(from|where|limit|order|group|into|union)\s.*$`)
)

// maxColumns bounds a row.
const maxColumns = 200

// answerSQL is what the databases answer: one row for a select, whose values are its literals, and 1 for everything
// else; nothing for other statements, whose first word is returned. "" stands for an empty query.
func answerSQL(query string) (row []column, verb string) {
	query = strings.TrimRight(strings.TrimSpace(sqlComment.ReplaceAllString(query, " ")), "; \t\r\n")
	if query == "" {
		return nil, ""
	}
	first := strings.Fields(query)[0]
	rest := query[len(first):]
	verb = strings.ToUpper(first)
	switch verb {
	case "SHOW":
		return []column{{strings.ToLower(strings.TrimSpace(rest)), "1"}}, verb
	case "SELECT":
	default:
		return nil, verb
	}
	for _, e := range splitList(sqlEnd.ReplaceAllString(" "+rest, "")) {
		c := column{name: e, value: "1"}
		if m := sqlAlias.FindStringSubmatch(e); m != nil {
			e, c.name = strings.TrimSpace(m[1]), m[2]
		}
		switch {
		case len(e) > 1 && e[0] == '\'' && e[len(e)-1] == '\'':
			c.value = strings.ReplaceAll(e[1:len(e)-1], "''", "'")
		default:
			if _, err := strconv.ParseInt(e, 10, 32); err == nil {
				c.value = e
			}
		}
		if len(row) < maxColumns {
			row = append(row, c)
		}
	}
	return row, verb
}

// splitList splits at commas that stand in no parentheses and no quotes.
func splitList(s string) []string {
	var out []string
	depth, quoted, from := 0, false, 0
	for i, r := range s {
		switch {
		case r == '\'':
			quoted = !quoted
		case quoted:
		case r == '(':
			depth++
		case r == ')':
			depth--
		case r == ',' && depth == 0:
			out, from = append(out, strings.TrimSpace(s[from:i])), i+1
		}
	}
	return append(out, strings.TrimSpace(s[from:]))
}
