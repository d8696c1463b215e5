package input

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
)

func TestFiles(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, err := range []error{
		os.WriteFile(at("good"), []byte("a: b"), 0o600),
		os.Symlink("good", at("link")),
		os.Symlink("nowhere", at("broken")),
		os.Symlink("/dev/zero", at("zero")),
		os.Mkdir(at("folder"), 0o700),
		syscall.Mkfifo(at("pipe"), 0o600),
		os.WriteFile(at("long"), nil, 0o600),
		os.Truncate(at("long"), MaxFile+1),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	var lc net.ListenConfig
	ln, err := lc.Listen(t.Context(), "unix", at("socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	for name, want := range map[string]string{
		"good": "", "link": "", "broken": "no such file", "zero": "device", "pipe": "named pipe",
		"socket": "socket", "long": "too long: at most 4 MiB", "gone": "no such file",
	} {
		b, err := ReadFile(at(name), MaxFile)
		c, err2 := fs.ReadFile(Dir(dir), name)
		for _, err := range []error{err, err2} {
			if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, wanted %q", name, err, want)
			}
		}
		if want == "" && (string(b) != "a: b" || string(c) != "a: b") {
			t.Errorf("%s: read %q and %q", name, b, c)
		}
	}
	if _, err := ReadFile(at("folder"), MaxFile); err == nil || !strings.Contains(err.Error(), "folder") {
		t.Errorf("a folder: %v", err)
	}
	if _, err := Dir(dir).Open("../" + filepath.Base(dir) + "/good"); err == nil {
		t.Error("a path that leads out of the folder was opened")
	}
	if _, err := ReadAll(strings.NewReader(strings.Repeat("x", 11)), "standard input", 10); err == nil {
		t.Error("an input of 11 bytes was read with a limit of 10")
	}
}

// A file that grows behind its size, as those of /proc do, is cut off by an error.
func TestGrowingFile(t *testing.T) {
	p := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(p, make([]byte, 100), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := open(p, 100, false)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := os.WriteFile(p, make([]byte, 101), 0o600); err != nil {
		t.Fatal(err)
	}
	var total int
	for buf := make([]byte, 64); err == nil; {
		var n int
		n, err = f.Read(buf)
		total += n
	}
	if !strings.Contains(err.Error(), "too long") || total > 100 {
		t.Errorf("%d bytes, then %v", total, err)
	}
}

func decode(t *testing.T, text string) ([]any, error) {
	t.Helper()
	docs, err := Documents("f.yaml", []byte(text))
	var out []any
	for _, d := range docs {
		var v any
		if err := Decode(d, &v); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		out = append(out, v)
	}
	return out, err
}

func TestDocuments(t *testing.T) {
	for text, want := range map[string]string{
		"a: 1\n---\n---\n# nothing\n---\nb: yes\n": `[{"a":1},{"b":true}]`,
		"a: &x {k: v}\nb: *x\nc: [*x]":             `[{"a":{"k":"v"},"b":{"k":"v"},"c":[{"k":"v"}]}]`,
		"a: &x {k: v, n: 1}\nb: {<<: *x, n: 2}":    `[{"a":{"k":"v","n":1},"b":{"k":"v","n":2}}]`,
		"a: {<<: [{k: 1}, {k: 2, l: 3}]}":          `[{"a":{"k":1,"l":3}}]`,
		"on: 1\nyes: 2\n443: 3":                    `[{"443":3,"on":1,"yes":2}]`,
		"a: &k key\n*k : v":                        `[{"a":"key","key":"v"}]`,
	} {
		got, err := decode(t, text)
		b, _ := json.Marshal(got)
		if err != nil || string(b) != want {
			t.Errorf("%q: got %s %v, want %s", text, b, err, want)
		}
	}
	bomb := "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
	for i := 1; i < 10; i++ {
		bomb += fmt.Sprintf("a%d: &a%d [%s*a%d]\n", i, i, strings.Repeat(fmt.Sprintf("*a%d, ", i-1), 9), i-1)
	}
	for text, want := range map[string]string{
		"a: 1\nb: 2\na: 3":                      `f.yaml:3: key "a" is given twice, first in line 1`,
		"l:\n- {x: 1,\n   x: 2}":                `f.yaml:3: key "x" is given twice, first in line 2`,
		"a: 1\n---\nb: {\"c\": 1, c: 2}":        `f.yaml:3: key "c" is given twice`,
		"a: &x [*x]":                            `f.yaml:1: anchor "x" contains itself`,
		"a: &x {b: {c: *x}}":                    "contains itself",
		"a: *nobody":                            "unknown anchor",
		"[a, b]: c":                             "a key must be",
		"a: {<<: 3}":                            "<< takes a mapping",
		bomb:                                    "more than 200000 keys and values",
		strings.Repeat("---\n", MaxDocuments+2): "more than 10000 documents",
		strings.Repeat("a", MaxFile+1):          "too long",
		strings.Repeat("[", 20_000):             "depth",
		strings.Repeat("a: {", 20_000):          "depth",
		"a:\n \t- wrong":                        "f.yaml",
	} {
		if _, err := Documents("f.yaml", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: got %v, want %q", text, err, want)
		}
	}
}

func TestUnmarshal(t *testing.T) {
	type named struct {
		Name string `json:"name"`
	}
	for text, want := range map[string]string{
		"- name: a\n- {name: b}": "", "name: a": "cannot unmarshal", "- {nam: a}": `unknown field "[0].nam"`,
		"- {Name: a}": "unknown field", "": "one document is expected", "[]\n---\n[]": "there are 2", "- {name: a, name: b}": "twice",
	} {
		var got []named
		err := Unmarshal("f.yaml", []byte(text), &got)
		if (err == nil) != (want == "") || err != nil && (!strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "f.yaml:")) {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
		if want == "" && !reflect.DeepEqual(got, []named{{"a"}, {"b"}}) {
			t.Errorf("%v", got)
		}
	}
}

func FuzzDocuments(f *testing.F) {
	for _, s := range []string{"a: &x {k: v}\nb: {<<: *x}\n", "- 1\n---\n? x\n: y\n", "a: !!binary aGk=\nb: 2001-01-01\nc: .inf\nd: 0o7\n", "a: |\n  x\n  y\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(_ *testing.T, b []byte) {
		docs, err := Documents("f.yaml", b)
		if err != nil {
			return
		}
		for _, d := range docs {
			var v any
			_ = Decode(d, &v) // it may be an error, and must be no more
		}
	})
}
