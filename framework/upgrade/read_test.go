package upgrade

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"mesh-egress-conformance/framework/report/reporttest"
)

// Reports of any age can be read: testdata has one of the first egressctl that upgraded, written by it, and one of today.
func TestReadOfAnyAge(t *testing.T) {
	for file, moments := range map[string]int{"v1-first.json": 0, "v1-last.json": 2} {
		r, err := Read(filepath.Join("testdata", file))
		if err != nil {
			t.Fatal(err)
		}
		if r.From != "1.29" || r.Leaks != 2 || r.LeakSeconds != 0.5 || len(r.Phases) != 2 || len(r.Phases[0].Versions) != 1 || r.ExitCode() != 1 {
			t.Errorf("%s: %+v", file, r)
		}
		var leak TimelineItem
		for _, i := range r.Timeline {
			if i.Kind == ItemLeak {
				leak = i
			}
		}
		if leak.Count != 2 || !strings.HasSuffix(leak.What, "a saw it") || len(leak.Moments) != moments {
			t.Errorf("%s: %+v", file, leak)
		}
	}
}

// What is written today is what is read, and as the schema has it: when this fails, the format has changed, and the report
// that was today's joins the older ones in testdata.
func TestReadIsWritten(t *testing.T) {
	full := Of(record(stream("a", "http", 0, "..FF?"), stream("a", "evil", 0, "LL..")))
	file := filepath.Join(t.TempDir(), "upgrade.json")
	if err := os.WriteFile(file, valid(t, full), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := Read(file); err != nil || !reflect.DeepEqual(got, full) {
		t.Errorf("%v\n%+v\nis not\n%+v", err, got, full)
	}
	last, err := os.ReadFile("testdata/v1-last.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := reporttest.ValidateUpgrade(last); err != nil {
		t.Error(err)
	}
}

func TestReadRefuses(t *testing.T) {
	b, err := os.ReadFile("testdata/v1-first.json")
	if err != nil {
		t.Fatal(err)
	}
	good := string(b)
	replace := func(old, by string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("no %q in the sample", old)
		}
		return strings.Replace(good, old, by, 1)
	}
	for content, want := range map[string]string{
		"":                                 "cut off",
		good[:len(good)/2]:                 "cut off after",
		"<html>":                           "it is no upgrade.json",
		"[1, 2]":                           "it is no upgrade.json",
		`{"a":1}`:                          `schema "" is no report of an upgrade`,
		replace("upgrade/v1", "report/v2"): `schema "mesh-egress-conformance/report/v2" is no report of an upgrade`,
		`{"schema":"mesh-egress-conformance/upgrade/v9","phases":"many"}`: `"mesh-egress-conformance/upgrade/v9" is of another egressctl, a newer one, which can render it`,
		replace(`"leaks": 2`, `"leaks": 0`):                               "its counts are {Requests:98 Failures:2 Leaks:0",
		replace(`"requests": 18`, `"requests": 17`):                       `its counts of phase "one" are {Requests:50`,
		replace(`"kind": "leak"`, `"kind": "flood"`):                      `unknown kind "flood"`,
		replace(`"strategy"`, `"from": "x", "strategy"`):                  "duplicate",
	} {
		file := filepath.Join(t.TempDir(), "spoiled.json")
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(file); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), file) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
	if _, err := Read(filepath.Join(t.TempDir(), "none.json")); err == nil {
		t.Error("a file that is not there is read")
	}
}
