package pages

import (
	"fmt"
	"strings"
	"testing"
	"testing/fstest"

	"mesh-egress-conformance/framework/input"
)

// root is a repository with what pages name.
var root = fstest.MapFS{
	"fixtures/http/a.yaml": {Data: []byte("kind: A\n")},
	"samples/b.yaml":       {Data: []byte("kind: B")}, // without a line feed at the end
	"secret.yaml":          {Data: []byte("kind: Secret\n")},
}

const head = "# Title\n\n<!-- verified -->\n> Verified on 2026-01-02 with Istio 1.31.0. More.\n\n"

// fence makes blocks readable: ' stands for `.
func fence(s string) string { return strings.ReplaceAll(s, "'", "`") }

func parse(t *testing.T, text string) *Page {
	t.Helper()
	p, mistakes := Parse("docs/pages/p.md", []byte(text), root)
	if len(mistakes) > 0 {
		t.Fatalf("%v, in\n%s", mistakes, text)
	}
	return p
}

func TestParse(t *testing.T) {
	p := parse(t, head+fence(`Intro.

<!-- mask: <pod> web-[a-z]+ -->
<!-- include: fixtures/http/a.yaml -->
'''yaml
kind: A
'''

'''sh exit=35 retry
kubectl apply -f fixtures/http/a.yaml
kubectl get pods
'''

'''output
<pod> is there
'''
Between.

~~~~sh
true
~~~~
`))
	if p.Name != "p" || p.Title != "Title" || p.VerifiedOn() != "2026-01-02 with Istio 1.31.0" || len(p.Stale) > 0 {
		t.Errorf("%+v", p)
	}
	if len(p.Steps) != 2 || len(p.Masks) != 1 || len(p.includes) != 1 {
		t.Fatalf("%+v", p)
	}
	s := p.Steps[0]
	if s.Where() != "docs/pages/p.md:14" || s.Script != "kubectl apply -f fixtures/http/a.yaml\nkubectl get pods\n" || s.Output != "<pod> is there\n" || s.Exit != 35 || !s.Retry {
		t.Errorf("%+v", s)
	}
	if s.Before != "# Title\n\n> Verified on 2026-01-02 with Istio 1.31.0. More.\n\nIntro.\n\n```yaml\nkind: A\n```" {
		t.Errorf("a reader is shown %q", s.Before)
	}
	if s := p.Steps[1]; s.Script != "true\n" || s.Output != "" || s.Exit != 0 || s.Retry || s.Before != "Between." {
		t.Errorf("%+v", s)
	}
}

// step is a page's smallest body.
const step = "```sh\ntrue\n```\n"

func TestMistakes(t *testing.T) {
	for name, x := range map[string]struct{ text, want string }{
		"unknown directive":         {head + step + "<!-- inclde: a -->\n", `9: the directive "inclde" is unknown; did you mean <!-- include: FILE -->`},
		"a directive like no other": {head + step + "<!-- zzzzzzzz -->\n", "there are include, mask, verified"},
		"a comment":                 {head + step + "<!-- Hello there! -->\n", `9: "<!-- Hello there! -->" is no directive`},
		"a comment with text":       {head + step + "<!-- include: samples/b.yaml --> text\n", "is no directive"},
		"a directive within text":   {head + step + "Text <!-- include: samples/b.yaml -->\n", "9: <!-- include: samples/b.yaml --> is HTML"},
		"HTML":                      {head + step + "Text <pod> text\n", "<pod> is HTML, of which a reader sees nothing; write it in backquotes"},
		"a missing file":            {head + step + "<!-- include: fixtures/none.yaml -->\n", "9: include: fixtures/none.yaml: file does not exist; name a file of the repository"},
		"a file elsewhere":          {head + step + "<!-- include: secret.yaml -->\n", `include: "secret.yaml" is no file of fixtures/ or samples/`},
		"a way out":                 {head + step + "<!-- include: fixtures/../secret.yaml -->\n", "is no file of fixtures/"},
		"an absolute path":          {head + step + "<!-- include: /etc/passwd -->\n", "is no file of fixtures/"},
		"a folder":                  {head + step + "<!-- include: fixtures/http -->\n", "include: fixtures/http: "},
		"YAML that is typed":        {head + step + "```yaml\nkind: A\n```\n", "9: YAML that is typed into a page is checked by nobody"},
		"YAML in a command":         {head + "```sh\nkubectl apply -f - <<E\nE\n```\n", "6: what is typed into a command is checked by nobody"},
		"a file that is named":      {head + "```sh\nkubectl apply -f fixtures/http/none.yaml\n```\n", "6: the commands name fixtures/http/none.yaml: file does not exist"},
		"another language":          {head + step + "```json\n{}\n```\n", "a block of json is checked by nobody"},
		"no language":               {head + step + "```\nx\n```\n", "9: a block of code without a language"},
		"an indented block":         {head + step + "\n    x\n", "10: a block of code that is indented"},
		"a block in a list":         {head + step + "* x\n\n  ```sh\n  true\n  ```\n", "11: a block of code that is indented, or within a list"},
		"a block in a quote":        {head + step + "\n> ```sh\n> true\n> ```\n", "within a list or a quote"},
		"an empty block in a list":  {head + step + "* ```sh\n", "within a list"},
		"an end that is missing":    {head + "```sh\ntrue\n", "6: the block of code does not end"},
		"nothing but a fence":       {head + "```sh", "6: the block of code does not end"},
		"an output of nothing":      {head + "```output\nx\n```\n" + step, "6: an output has to follow its commands at once"},
		"an output after text":      {head + step + "Text.\n\n```output\nx\n```\n", "11: an output has to follow its commands"},
		"two outputs":               {head + step + "```output\nx\n```\n```output\nx\n```\n", "12: an output has to follow"},
		"an empty output":           {head + step + "```output\n```\n", "9: the output is empty"},
		"no commands in a block":    {head + "```sh\n\n```\n", "6: a block of commands is empty"},
		"no commands":               {head, "the page has no commands"},
		"no title":                  {"<!-- verified -->\n> Verified on x. y\n\n" + step, "the page has no title"},
		"no place for the stamp":    {"# T\n\n" + step, "the page has 0 places that say what it was verified on"},
		"two places for it":         {head + step + "<!-- verified -->\n", "the page has 2 places"},
		"an unknown word":           {head + "```sh sudo\ntrue\n```\n", `6: "sudo" is unknown behind sh`},
		"a status that is none":     {head + "```sh exit=0\ntrue\n```\n", `"exit=0" is unknown`},
		"a word behind output":      {head + step + "```output retry\nx\n```\n", "nothing can follow output"},
		"a mask without name":       {head + step + "<!-- mask: [0-9]+ -->\n", `mask: "[0-9]+" is no name with an expression`},
		"a mask without expression": {head + step + "<!-- mask: <pod> -->\n", "is no name with an expression"},
		"an expression that is bad": {head + step + "<!-- mask: <pod> ( -->\n", "mask: error parsing regexp"},
		"a mask of everything":      {head + step + "<!-- mask: <pod> x* -->\n", "matches nothing at all"},
		"several groups":            {head + step + "<!-- mask: <pod> (x)(y) -->\n", "several groups"},
		"no UTF-8":                  {head + step + "\xff\n", "bytes that are not UTF-8"},
		"carriage returns":          {strings.ReplaceAll(head+step, "\n", "\r\n"), "carriage returns"},
		"an escape sequence":        {head + step + "\x1b[2J\n", "control characters"},
	} {
		_, mistakes := Parse("docs/pages/p.md", []byte(x.text), root)
		if len(mistakes) == 0 || !strings.Contains(mistakes.Error(), x.want) || !strings.HasPrefix(mistakes.Error(), "docs/pages/p.md:") {
			t.Errorf("%s: got %v, wanted %s", name, mistakes, x.want)
		}
	}
}

// What Rewrite mends is found, and is no mistake that only the writer could mend.
func TestStale(t *testing.T) {
	for name, x := range map[string]struct{ text, want string }{
		"another text":    {head + "<!-- include: samples/b.yaml -->\n```yaml\nkind: C\n```\n" + step, "6: the block is not samples/b.yaml as it is now"},
		"no block":        {head + "<!-- include: samples/b.yaml -->\n\nText.\n\n" + step, "6: the block is not samples/b.yaml"},
		"another block":   {head + "<!-- include: samples/b.yaml -->\n" + step, "6: the block is not samples/b.yaml"},
		"at the end":      {head + step + "<!-- include: samples/b.yaml -->", "9: the block is not samples/b.yaml"},
		"two in a row":    {head + step + "<!-- include: fixtures/http/a.yaml -->\n<!-- include: samples/b.yaml -->\n```yaml\nkind: B\n```\n", "9: the block is not fixtures/http/a.yaml"},
		"not verified":    {"# T\n\n<!-- verified -->\n\n" + step, "3: the page does not say what it was verified on"},
		"an unused mask":  {head + "<!-- mask: <pod> x -->\n" + step, "6: no output has <pod>"},
		"another's quote": {"# T\n\n<!-- verified -->\nText.\n\n> Quote.\n\n" + step, "does not say"},
	} {
		p := parse(t, x.text)
		if len(p.Stale) != 1 || !strings.Contains(p.Stale.Error(), x.want) {
			t.Errorf("%s: got %v, wanted %s", name, p.Stale, x.want)
		}
		if name == "an unused mask" {
			continue
		}
		after := parse(t, string(p.Rewrite(nil, &Stamp{Date: "2026-01-02", On: []string{"Istio 1.31.0"}})))
		if len(after.Stale) != 0 {
			t.Errorf("%s: written anew, it has %v:\n%s", name, after.Stale, after.source)
		}
	}
}

func TestMasks(t *testing.T) {
	p := parse(t, head+"<!-- mask: <pod> web-[a-z]+ -->\n<!-- mask: <time> \"at\":([0-9]+|never) -->\n<!-- mask: <x> z(y)? -->\n```sh\ntrue\n```\n```output\n<pod> <time> <x>\n```\n")
	for in, want := range map[string]string{
		"web-abc web-x":        "<pod> <pod>",
		`{"at":12,"at":never}`: `{"at":<time>,"at":<time>}`,
		`zy z`:                 "z<x> z", // only the group, and nothing where it takes no part
		"":                     "",
	} {
		if got := p.Masked(in); got != want {
			t.Errorf("%q is shown as %q, wanted %q", in, got, want)
		}
	}
}

func TestLoad(t *testing.T) {
	at := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }
	fs := fstest.MapFS{"docs/pages/one.md": at(head + step), "docs/pages/two.md": at(head), "docs/pages/note.txt": at("x"), "docs/three.md": at("x")}
	for _, n := range []string{"one", "one.md", "docs/pages/one.md", `docs\pages\one.md`} {
		if list, err := Load(fs, n, "one"); err != nil || len(list) != 1 || list[0].File != "docs/pages/one.md" {
			t.Errorf("%s: %v %v", n, list, err)
		}
	}
	var wrong input.Mistakes
	if _, err := Load(fs); !asMistakes(err, &wrong) || len(wrong) != 1 || wrong[0].File != "docs/pages/two.md" {
		t.Errorf("all: %v", err)
	}
	if _, err := Load(fs, "ont"); err == nil || !strings.Contains(err.Error(), "did you mean one?") {
		t.Errorf("a name that is none: %v", err)
	}
	if _, err := Load(fstest.MapFS{}); err == nil || !strings.Contains(err.Error(), "no page is in docs/pages") {
		t.Errorf("no pages: %v", err)
	}
}

func asMistakes(err error, m *input.Mistakes) (ok bool) {
	*m, ok = err.(input.Mistakes) //nolint:errorlint // it must not be wrapped: callers print it line by line
	return ok
}

// FuzzParse feeds the reader of pages anything. A page that it takes is the same when nothing has changed; and when the
// commands have printed something else, the page says just that afterwards.
func FuzzParse(f *testing.F) {
	f.Add([]byte(head+step), "x\n")
	f.Add([]byte(head+"<!-- include: samples/b.yaml -->\n\n```sh retry exit=3\ntrue\n```\n\n~~~output\nx\n~~~"), "```\n````\n")
	f.Add([]byte(head+"   ```sh\n   true\n   ```\n   ```output\n  x\n   ```\n"), "")
	f.Add([]byte("# T\n<!-- verified -->\n```sh\ntrue\n```\n<!-- mask: <a> b+ -->\n> q\n"), "<a>\n")
	f.Fuzz(func(t *testing.T, src []byte, output string) {
		p, mistakes := Parse("docs/pages/p.md", src, root)
		for _, m := range append(mistakes, p.Stale...) {
			if m.Line < 1 || m.Line > 1+strings.Count(string(src), "\n") || m.What == "" {
				t.Errorf("%+v", m)
			}
		}
		if len(mistakes) > 0 {
			return
		}
		var same, other []Result
		output = ended(clean(output))
		for i, s := range p.Steps {
			same = append(same, Result{Step: s, Output: s.Output, Exit: s.Exit})
			other = append(other, Result{Step: s, Output: output, Exit: i % 3})
		}
		if len(p.includes) == 0 && string(p.Rewrite(same, nil)) != string(src) || p.Diff(same...) != "" {
			t.Errorf("nothing has changed, and the page has:\n%s", p.Diff(same...))
		}
		text := p.Rewrite(other, &Stamp{Date: "2026-01-02", On: []string{"x"}})
		q, mistakes := Parse("docs/pages/p.md", text, root)
		if len(mistakes) > 0 || len(q.Steps) != len(p.Steps) {
			t.Fatalf("%v, %d steps of %d, in\n%s", mistakes, len(q.Steps), len(p.Steps), text)
		}
		for i, s := range q.Steps {
			if s.Output != output || s.Exit != i%3 || s.Script != p.Steps[i].Script || s.Retry != p.Steps[i].Retry {
				t.Errorf("step %d is %+v, wanted output %q, exit %d", i, s, output, i%3)
			}
		}
		for _, m := range q.Stale {
			if !strings.HasPrefix(m.What, "no output has") {
				t.Errorf("still %v", m)
			}
		}
	})
}

// clean leaves out of an output what Run would have escaped.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r >= ' ' && r < 0x7f {
			return r
		}
		return -1
	}, s)
}

func ExamplePage_Diff() {
	p, _ := Parse("docs/pages/p.md", []byte(head+"```sh\ncurl example.com\n```\n```output\n000\n```\n"), root)
	fmt.Print(p.Diff(Result{Step: p.Steps[0], Output: "200\n"}))
	// Output:
	// --- docs/pages/p.md
	// +++ docs/pages/p.md (as it came out)
	// @@ -7,5 +7,5 @@
	//  curl example.com
	//  ```
	//  ```output
	// -000
	// +200
	//  ```
}
