package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"
)

const recipes = "../../docs/ci"

// parsed says what is wrong with a command line: an unknown command or flag, a value that none takes. Nothing is run.
func parsed(words []string) error {
	root := rootCommand()
	var idle func(c *cobra.Command)
	idle = func(c *cobra.Command) {
		c.RunE = func(*cobra.Command, []string) error { return nil }
		for _, sub := range c.Commands() {
			idle(sub)
		}
	}
	for _, c := range root.Commands() {
		idle(c)
	}
	root.SetArgs(words)
	return root.Execute()
}

// variables of CI systems, and what they come to.
var variables = regexp.MustCompile(`\$\{\{[^}]*\}\}|\$\([a-z.]+\)|"?\$\w+"?`)

var commandRE = regexp.MustCompile(`egressctl ((?:run|merge) [^'&&\n}]*)`)

func TestRecipes(t *testing.T) {
	files, err := filepath.Glob(recipes + "/*")
	if err != nil || len(files) < 6 {
		t.Fatalf("%v %v", files, err)
	}
	index, err := os.ReadFile(recipes + "/README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if filepath.Base(f) == "README.md" {
			continue
		}
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		text := string(b)
		if n := strings.Count(text, "\n"); n > 30 {
			t.Errorf("%s has %d lines, and 30 is what one reads", f, n)
		}
		if !strings.Contains(string(index), "]("+filepath.Base(f)+")") {
			t.Errorf("%s is not in the README", f)
		}
		if filepath.Ext(f) == ".yaml" {
			var doc map[string]any
			if err := yaml.UnmarshalStrict(b, &doc); err != nil || len(doc) == 0 {
				t.Errorf("%s: %v", f, err)
			}
		}
		plain := strings.NewReplacer(`"`, "").Replace(variables.ReplaceAllString(text, "1"))
		seen := map[string]bool{}
		for _, m := range commandRE.FindAllStringSubmatch(plain, -1) {
			words := strings.Fields(m[1])
			seen[words[0]] = true
			if err := parsed(words); err != nil {
				t.Errorf("%s: egressctl %s: %v", f, m[1], err)
			}
		}
		if !seen["run"] || !seen["merge"] {
			t.Errorf("%s: the test has found only %v", f, seen)
		}
	}
}

// The recipes for two CI systems say how many machines there are in two places.
func TestRecipesRunEveryShard(t *testing.T) {
	for file, re := range map[string]string{
		"github-actions.yaml": `shard: \[([^\]]*)\][\s\S]*--shard \S*\s?\S*\s?\S*/(\d+)`,
		"Jenkinsfile":         `values ([^\n}]*)}[\s\S]*--shard \$SHARD/(\d+)`,
		"tekton.yaml":         `value: \[([^\]]*)\][\s\S]*--shard \$\(params.shard\)/(\d+)`,
		"docker.sh":           `for shard in ([^;]*);[\s\S]*--shard "\$shard/(\d+)"`,
	} {
		b, err := os.ReadFile(filepath.Join(recipes, file))
		if err != nil {
			t.Fatal(err)
		}
		m := regexp.MustCompile(re).FindSubmatch(b)
		if m == nil {
			t.Errorf("%s: no shards are found", file)
			continue
		}
		shards := strings.Fields(strings.NewReplacer(",", " ", "'", "", `"`, "").Replace(string(m[1])))
		if n := len(shards); string(m[2]) != shards[n-1] {
			t.Errorf("%s: shards %v of %s", file, shards, m[2])
		}
	}
}

// Every example of the help can be typed as it stands.
func TestExamples(t *testing.T) {
	n := 0
	var look func(c *cobra.Command)
	look = func(c *cobra.Command) {
		for line := range strings.Lines(c.Example) {
			line, _, _ = strings.Cut(line, "  #")
			_, args, own := strings.Cut(strings.TrimSpace(line), "egressctl ")
			if !own || strings.ContainsAny(line, "$(") {
				continue
			}
			args, _, _ = strings.Cut(strings.ReplaceAll(args, " > ", " | "), " | ")
			n++
			if err := parsed(strings.Fields(strings.ReplaceAll(args, "'", ""))); err != nil {
				t.Errorf("%s: %v", line, err)
			}
		}
		for _, sub := range c.Commands() {
			look(sub)
		}
	}
	look(rootCommand())
	if n < 15 {
		t.Errorf("only %d examples are found", n)
	}
}
