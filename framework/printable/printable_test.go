package printable

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode"
)

func TestText(t *testing.T) {
	for in, want := range map[string]string{
		"plain ✓ → ⇢ é 漢字":      "plain ✓ → ⇢ é 漢字",
		"two\nlines\tand a tab": "two\nlines\tand a tab",
		"a\r\nb\rc":             "a\nb\\x0dc",
		"\x1b]0;title\x07":      `\x1b]0;title\x07`,
		"C1 \u009b31m":          `C1 \u009b31m`,
		"bidi \u202eexe\u2066":  `bidi \u202eexe\u2066`,
		"bad \xff\xfe byte":     `bad \xff\xfe byte`,
		"not XML \ufffe\x00":    `not XML \ufffe\x00`,
		"tag \U000e0041":        `tag \U000e0041`,
	} {
		if got := Text(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
	if got := Line("one\ntwo\tthree\x1b"); got != `one two three\x1b` {
		t.Errorf("%q", got)
	}
	var b bytes.Buffer
	w := Writer(&b)
	if n, err := w.Write([]byte("a\x1b[2Jb\n")); n != 7 || err != nil || b.String() != "a\\x1b[2Jb\n" {
		t.Errorf("%d %v %q", n, err, b.String())
	}
	if Raw(w) != &b || Raw(&b) != &b {
		t.Error("Raw is not the writer below")
	}
}

func TestCopy(t *testing.T) {
	type inner struct{ S string }
	type outer struct {
		P    *inner
		L    []inner
		M    map[string]any
		When time.Time
		N    int
	}
	in := outer{P: &inner{"\x1b"}, L: []inner{{"\u202e"}}, M: map[string]any{"\x00k": []any{"\x07", 1.5, nil}}, When: time.Now(), N: 3}
	got := Copy(in)
	want := outer{P: &inner{`\x1b`}, L: []inner{{`\u202e`}}, M: map[string]any{`\x00k`: []any{`\x07`, 1.5, nil}}, When: in.When, N: 3}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if in.P.S != "\x1b" || in.L[0].S != "\u202e" {
		t.Error("the original has changed")
	}
}

func FuzzText(f *testing.F) {
	for _, s := range []string{"plain", "\x1b[31m\r\n", "\u202e\xff\U000e0041\ufffe"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := Text(s)
		for _, r := range got {
			if r != '\n' && r != '\t' && !unicode.IsGraphic(r) {
				t.Errorf("%q became %q", s, got)
			}
		}
		if Text(got) != got {
			t.Errorf("%q: not the same the second time", got)
		}
		b, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var back string
		safe := JSON(b)
		if err := json.Unmarshal(safe, &back); err != nil || back != strings.ToValidUTF8(s, "\ufffd") && back != string([]rune(s)) {
			t.Errorf("%q: %s became %q (%v)", s, safe, back, err)
		}
		if strings.ContainsFunc(string(safe), func(r rune) bool { return !unicode.IsGraphic(r) }) {
			t.Errorf("%q: %s", s, safe)
		}
	})
}
