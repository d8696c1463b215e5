package reporttest

import (
	_ "embed" // the schema
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

//go:embed junit.xsd
var junitSchema []byte

// JUnit returns what checks a document against the schema of JUnit XML (junit.xsd). No Go module without cgo does that and is
// kept up, so xmllint does it (Debian: libxml2-utils); where it is not installed, the test is skipped. scripts/verify-html.sh
// installs it and demands that the tests run.
func JUnit(t testing.TB) func(document []byte) error {
	t.Helper()
	lint, err := exec.LookPath("xmllint")
	if err != nil {
		t.Skip("xmllint is not installed: scripts/verify-html.sh installs it")
	}
	dir := t.TempDir()
	schema, file := filepath.Join(dir, "junit.xsd"), filepath.Join(dir, "junit.xml")
	if err := os.WriteFile(schema, junitSchema, 0o600); err != nil {
		t.Fatal(err)
	}
	return func(document []byte) error {
		if err := os.WriteFile(file, document, 0o600); err != nil {
			return err
		}
		if out, err := exec.CommandContext(t.Context(), lint, "--noout", "--nonet", "--schema", schema, file).CombinedOutput(); err != nil {
			return fmt.Errorf("the document is not as the schema of JUnit XML has it: %w\n%s", err, out)
		}
		return nil
	}
}
