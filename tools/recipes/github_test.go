// Package recipes looks at the recipes for CI systems with programs that are no part of the product. It is a module of its own:
// the linter does not build with the parser that other tools need.
package recipes

import (
	"io"
	"os"
	"testing"

	"github.com/rhysd/actionlint"
)

func TestGitHubRecipe(t *testing.T) {
	const file = "../../docs/ci/github-actions.yaml"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lint, err := actionlint.NewLinter(io.Discard, &actionlint.LinterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	found, err := lint.Lint(file, text, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range found {
		t.Error(e)
	}
	// The linter looks at all.
	if found, err := lint.Lint(file, append(text, "  more: {runs-on: ubuntu-24.04, step: []}\n"...), nil); err != nil || len(found) == 0 {
		t.Errorf("a job without steps is taken: %v", err)
	}
}
