package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mesh-egress-conformance/framework/input"
)

// write makes files below a new folder.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const (
	sound = "claim: c\nsource: s\nfixtures: [../../deploy/*.yaml]\nprobes:\n  - {url: \"https://httpbin.org/headers\", want: BRST OK BRST}\n"
	wrong = "claim: c\nsource: s\nprobes:\n  - {url: \"https://api.cards.example/\", want: BRST OK BRST}\n  - {url: \"tcp://db1.example\", form: client, want: BRST}\n"
	rule  = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: bank}\nspec: {hosts: [httpbin.org], resolution: DNS, ports: [{number: 443, name: tls, protocol: TLS}]}\n"
)

func TestCheck(t *testing.T) {
	dir := write(t, map[string]string{"deploy/bank.yaml": rule, "cases/pay/bank.yaml": sound})
	cases := filepath.Join(dir, "cases")
	code, out, stderr := egressctl(t, "check", cases)
	if code != exitOK || !strings.Contains(out, cases+": 1 case: 0 mistakes") && !strings.Contains(out, "1 case: 0 mistakes") || stderr != "" {
		t.Errorf("exit %d, %q %q", code, out, stderr)
	}
	if !strings.Contains(out, "objects are not compared with the schemas of Istio") { // an empty component cache
		t.Error(out)
	}

	dir = write(t, map[string]string{"pay/bank.yaml": wrong, "pay/old.yaml.bak": wrong})
	code, out, _ = egressctl(t, "check", dir)
	if code != exitFault {
		t.Errorf("exit %d", code)
	}
	at := filepath.Join(dir, "pay/bank.yaml")
	for _, want := range []string{
		at + ":4: api.cards.example is not a host of the hermetic internet\n    add it to hosts.yaml:\n    hosts:\n      - {name: api.cards.example, services: [{port: 443, kind: https}]}\n",
		at + ":5: tcp://db1.example names no port, and tcp has no usual one\n",
		at + ":5: field \"form\" is unknown\n    did you mean from?",
		filepath.Join(dir, "pay/old.yaml.bak") + ": note: it looks like a case",
		"1 case: 3 mistakes\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("want %q in\n%s", want, out)
		}
	}
	code, out, _ = egressctl(t, "check", "--json", dir)
	var got struct {
		Cases             int
		Mistakes, Notices []input.Mistake
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err)
	}
	if code != exitFault || got.Cases != 1 || len(got.Mistakes) != 3 || len(got.Notices) != 2 || got.Mistakes[0].File != at || got.Mistakes[0].Line != 4 {
		t.Errorf("exit %d, %+v", code, got)
	}
}

// Hosts of a file of its own, and none at all for the real internet.
func TestCheckHosts(t *testing.T) {
	dir := write(t, map[string]string{
		"cases/a.yaml": strings.Replace(wrong, "  - {url: \"tcp://db1.example\", form: client, want: BRST}\n", "", 1),
		"hosts.yaml":   "hosts: [{name: api.cards.example, services: [{port: 443, kind: https}]}]\n",
		"bad.yaml":     "hosts: [{name: api.cards.example, colour: red}]\n",
	})
	cases := filepath.Join(dir, "cases")
	for _, x := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{}, exitFault, "api.cards.example is not a host"},
		{[]string{"--hosts", filepath.Join(dir, "hosts.yaml")}, exitOK, "0 mistakes"},
		{[]string{"--hosts", filepath.Join(dir, "bad.yaml")}, exitFault, filepath.Join(dir, "bad.yaml") + `:1: field "colour" is unknown`},
		{[]string{"--hosts", filepath.Join(dir, "gone.yaml")}, exitFault, "gone.yaml: no such file"},
		{[]string{"--internet", "live"}, exitOK, "0 mistakes"},
		{[]string{"--internet", "nonsense"}, exitUsage, ""},
		{[]string{"--istio", "0.1"}, exitUsage, ""},
	} {
		code, out, stderr := egressctl(t, append([]string{"check", cases}, x.args...)...)
		if code != x.code || !strings.Contains(out, x.want) {
			t.Errorf("%v: exit %d, %s%s", x.args, code, out, stderr)
		}
	}
}

// What check finds, list and run find as well, before anything starts.
func TestMistakesStopListAndRun(t *testing.T) {
	dir := write(t, map[string]string{"pay/bank.yaml": wrong})
	for _, args := range [][]string{{"list", "--cases", dir}, {"run", "--cases", dir, "--provider", "embedded", "--out", filepath.Join(dir, "out")}} {
		code, out, stderr := egressctl(t, args...)
		if code != exitFault || out != "" || !strings.Contains(stderr, "3 mistakes in the cases of "+dir) || !strings.Contains(stderr, filepath.Join(dir, "pay/bank.yaml")+":4: api.cards.example is not a host") {
			t.Errorf("%v: exit %d, %q %q", args, code, out, stderr)
		}
	}
	for want, args := range map[string][]string{
		"the folder cannot be read":              {"check", filepath.Join(dir, "gone")},
		"there is no case below this folder":     {"check", t.TempDir()},
		"this is a file and no folder":           {"check", filepath.Join(dir, "pay/bank.yaml")},
		"so nothing was run":                     {"list", "--cases", filepath.Join(dir, "gone")},
		"1 mistake in the cases of " + dir + "/": {"run", "--cases", filepath.Join(dir, "gone")},
	} {
		code, out, stderr := egressctl(t, args...)
		if code != exitFault || !strings.Contains(out+stderr, want) {
			t.Errorf("%v: exit %d, %s%s", args, code, out, stderr)
		}
	}
}

// Without a folder, the current one is meant, if it has cases.
func TestCheckHere(t *testing.T) {
	dir := write(t, map[string]string{"deploy/bank.yaml": rule, "cases/pay/bank.yaml": sound, "wrong/x.yaml": "claim: c\nprobes: 7\n"})
	for where, x := range map[string]struct {
		code int
		want string
	}{
		"cases":  {exitOK, "1 case: 0 mistakes"},
		"wrong":  {exitFault, "x.yaml:2"},
		"deploy": {exitUsage, "egressctl check ./egress"},
	} {
		t.Run(where, func(t *testing.T) {
			t.Chdir(filepath.Join(dir, where))
			code, out, stderr := egressctl(t, "check")
			if code != x.code || !strings.Contains(out+stderr, x.want) {
				t.Errorf("exit %d, %s%s", code, out, stderr)
			}
		})
	}
}
