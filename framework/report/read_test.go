package report

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRead(t *testing.T) {
	dir := t.TempDir()
	write(t, all(), dir)
	if back, err := Read(filepath.Join(dir, "report.json")); err != nil || back.Counts != all().Counts {
		t.Errorf("%+v %v", back, err)
	}
	good, err := os.ReadFile(filepath.Join(dir, "report.json"))
	if err != nil {
		t.Fatal(err)
	}
	replace := func(old, by string) string { return strings.Replace(string(good), old, by, 1) }
	for want, content := range map[string]string{
		"unexpected end":    `{"schema":`,
		`schema "other/v9"`: `{"schema":"other/v9"}`,
		"counts":            replace(`"violates": 1`, `"violates": 0`),
		"is in it twice":    replace(`"name": "http-bad"`, `"name": "http-good"`),
		"unknown verdict":   replace(`"verdict": "conforms",`, `"verdict": "excellent",`),
		"duplicate field":   replace(`"tookSeconds"`, `"schema": "mesh-egress-conformance/report/v2", "tookSeconds"`),
	} {
		f := filepath.Join(dir, "spoiled")
		if err := os.WriteFile(f, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(f); err == nil || !strings.Contains(err.Error(), f) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	if _, err := Read("/dev/zero"); err == nil || !strings.Contains(err.Error(), "device") {
		t.Errorf("/dev/zero is a report: %v", err)
	}
}
