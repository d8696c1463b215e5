package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

var update = flag.Bool("update", false, "write docs/reference.md again")

const referenceFile = "../../docs/reference.md"

// reference is the help of all commands as one page.
func reference(t *testing.T) []byte {
	t.Helper()
	t.Setenv("CI", "") // which decides about a default
	root := rootCommand()
	root.DisableAutoGenTag = true
	root.InitDefaultCompletionCmd()
	var b bytes.Buffer
	b.WriteString("# Reference\n\nThe help of all commands, as `--help` prints it. Generated: `go test ./cmd/egressctl -run TestReference -update`.\n" +
		"Completion for the shell: [completion](#egressctl-completion). Exit statuses: 0 as wanted, 1 not as wanted, 2 not proven or a fault, 64 wrong usage,\n" +
		"141 the reader of the output has gone.\n\n")
	var add func(c *cobra.Command)
	add = func(c *cobra.Command) {
		if !c.IsAvailableCommand() && c != root {
			return
		}
		if err := doc.GenMarkdownCustom(c, &b, anchor); err != nil {
			t.Fatal(err)
		}
		b.WriteString("\n")
		for _, sub := range c.Commands() {
			add(sub)
		}
	}
	add(root)
	return b.Bytes()
}

// anchor turns the name of a command's own page into that of its heading.
func anchor(page string) string {
	return "#" + strings.ReplaceAll(strings.TrimSuffix(page, ".md"), "_", "-")
}

func TestReference(t *testing.T) {
	want := reference(t)
	if *update {
		if err := os.WriteFile(referenceFile, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(referenceFile)
	if err != nil || !bytes.Equal(have, want) {
		t.Errorf("docs/reference.md is not the help of the commands (%v): go test ./cmd/egressctl -run TestReference -update", err)
	}
	for _, gone := range []string{"Auto generated", os.Getenv("HOME") + "/"} {
		if bytes.Contains(want, []byte(gone)) {
			t.Errorf("the reference has %q, which is another one elsewhere", gone)
		}
	}
}

// Whoever asks for help sees how a command is used.
func TestHelpHasExamples(t *testing.T) {
	var look func(c *cobra.Command)
	look = func(c *cobra.Command) {
		if c.HasSubCommands() {
			for _, sub := range c.Commands() {
				look(sub)
			}
		}
		if !strings.Contains(c.Example, strings.TrimSpace(c.CommandPath())) {
			t.Errorf("%s has no example", c.CommandPath())
		}
		if c.Short == "" || strings.HasSuffix(c.Short, ".") {
			t.Errorf("%s: %q", c.CommandPath(), c.Short)
		}
	}
	root := rootCommand()
	root.InitDefaultCompletionCmd()
	addExamples(root)
	look(root)
	if _, out, _ := egressctl(t, "completion", "bash", "--help"); !strings.Contains(out, "/etc/bash_completion.d/") {
		t.Errorf("completion has no example:\n%s", out)
	}
}

// What lists something does so for programs too.
func TestJSONOfListings(t *testing.T) {
	for _, args := range [][]string{{"status"}, {"list", "--area", "tcp"}, {"components", "list"}, {"components", "verify"}, {"components", "prune"}, {"docs", "list"}, {"version"}, {"run", "--dry-run"}} {
		_, out, stderr := egressctl(t, append(args, "--json")...)
		var v any
		if err := json.Unmarshal([]byte(out), &v); err != nil || v == nil {
			t.Errorf("%v: %v\n%.300s %s", args, err, out, stderr)
		}
	}
	if _, out, _ := egressctl(t, "status", "--json"); out != "[]\n" {
		t.Errorf("no cluster is %q", out)
	}
}

func TestCompletion(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if code, out, _ := egressctl(t, "completion", shell); code != exitOK || !strings.Contains(out, "egressctl") {
			t.Errorf("%s: exit %d", shell, code)
		}
	}
	for args, want := range map[string]string{
		"explain http-service":            "http-serviceentry",
		"run --case tcp-other":            "tcp-other-port",
		"run --case a,tcp-other":          "a,tcp-other-port",
		"run --area htt":                  "http",
		"why http://a/ --from cont":       "control",
		"probe http://a/ --from client-d": "client-dns",
		"run --sabotage allow":            "allow-any",
		"up --provider emb":               "embedded",
		"run --istio 1.3":                 "1.31",
		"components fetch --source imag":  "image",
		"docs run tcp":                    "tcp-egress",
		"docs verify gift":                "gift-shop",
	} {
		_, out, _ := egressctl(t, append([]string{"__complete"}, strings.Fields(args)...)...)
		if !strings.Contains(fmt.Sprintf("\n%s", out), "\n"+want) {
			t.Errorf("%s: %q is not offered:\n%s", args, want, out)
		}
	}
}
