package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

// egressctl runs the command line as main does.
func egressctl(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	var out, errOut bytes.Buffer
	code = run(args, &out, &errOut)
	return code, out.String(), errOut.String()
}

func TestUsage(t *testing.T) {
	for want, args := range map[string][]string{
		"unknown flag":                          {"run", "--no-such-flag"},
		"no case is named":                      {"run", "--case", "nonsense"},
		"label filter":                          {"run", "--label-filter", "a &&"},
		"no case matches":                       {"list", "--label-filter", "nonsense"},
		"sabotage":                              {"run", "--sabotage", "nonsense"},
		"component source":                      {"run", "--source", "nonsense"},
		"provider":                              {"status", "--provider", "nonsense"},
		"accepts 1 arg":                         {"logs"},
		`"nonsense" for "egressctl"`:            {"nonsense"},
		"did you mean probe":                    {"prob", "http://httpbin.org/"},
		`"nonsense" for "egressctl components"`: {"components", "nonsense"},
		"did you mean list":                     {"components", "lsit"},
		"did you mean html":                     {"report", "htmk"},
		"did you mean verify":                   {"docs", "veryfi"},
		"did you mean matrix":                   {"martix"},
		"requires at least 1":                   {"probe"},
		`profile "nonsense" is unknown`:         {"up", "--profile", "nonsense"},
		"no archive of images":                  {"image", "load", "main_test.go"},
		"scheme is none of dns, grpc":           {"why", "httpbin.org"},
		`--want: outcome "fine" is unknown`:     {"probe", "http://httpbin.org/", "--want", "fine"},
	} {
		code, _, stderr := egressctl(t, args...)
		if code != exitUsage || !strings.Contains(stderr, want) {
			t.Errorf("%v: exit %d, %q; want exit %d and %q", args, code, stderr, exitUsage, want)
		}
	}
}

func TestNoCluster(t *testing.T) {
	for _, args := range [][]string{{"down"}, {"kubeconfig"}, {"kubectl", "--", "get", "pods"}, {"istioctl", "--", "version"}, {"env"}, {"certificates", "nowhere"}, {"logs", "etcd"}, {"shell"}, {"probe", "http://httpbin.org/"}, {"why", "http://httpbin.org/"}} {
		code, _, stderr := egressctl(t, args...)
		if code != exitFault || !strings.Contains(stderr, "no such cluster") {
			t.Errorf("%v: exit %d, %q", args, code, stderr)
		}
	}
	if code, out, _ := egressctl(t, "status"); code != exitOK || !strings.Contains(out, "no cluster") {
		t.Errorf("exit %d, %q", code, out)
	}
}

func TestList(t *testing.T) {
	code, out, _ := egressctl(t, "list", "--json", "--label-filter", "tcp")
	var l struct {
		Count  int
		Areas  map[string]int
		States map[string]int
		Cases  []struct{ Name, Claim string }
	}
	if err := json.Unmarshal([]byte(out), &l); err != nil {
		t.Fatal(err)
	}
	if code != exitOK || l.Count == 0 || l.Count != len(l.Cases) || l.Areas["tcp"] != l.Count || l.States["run"] != l.Count {
		t.Errorf("exit %d, %+v", code, l)
	}
	for _, c := range l.Cases {
		if !strings.HasPrefix(c.Name, "tcp-") || c.Claim == "" {
			t.Errorf("%+v", c)
		}
	}
}

func TestReplacements(t *testing.T) {
	got, err := replacements([]string{"example.com/a=v1.0.0", "example.com/b=v0.0.0-1"})
	if err != nil || len(got) != 2 || got["example.com/a"] != "v1.0.0" {
		t.Errorf("%v %v", got, err)
	}
	for _, bad := range []string{"example.com/a", "=v1.0.0", "example.com/a="} {
		if _, err := replacements([]string{bad}); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}
