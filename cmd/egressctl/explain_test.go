package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mesh-egress-conformance/fixtures"
	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/fixture"
	"mesh-egress-conformance/framework/report"
	"mesh-egress-conformance/framework/why"
)

func TestEveryCaseCanBeExplained(t *testing.T) {
	what := built(t)
	for _, c := range what.cases {
		var b strings.Builder
		if err := explanation(t.Context(), &b, c.On("1.31"), what, "1.31"); err != nil {
			t.Errorf("%s: %v", c.Name, err)
		}
		text := b.String()
		probes := 0
		for range c.Phases() {
			probes += len(c.Probes)
		}
		if n := strings.Count(text, "\n    because: "); n != probes || strings.Contains(text, "because: \n") {
			t.Errorf("%s: %d probes in all phases, %d of them are explained:\n%s", c.Name, probes, n, text)
		}
		for _, ph := range c.Phases() {
			if !strings.Contains(text, "\nphase "+ph.String()+": ") {
				t.Errorf("%s: phase %s is not explained:\n%s", c.Name, ph, text)
			}
		}
		if !strings.Contains(text, strings.Fields(c.Claim)[0]) || strings.Contains(text, "]: \n") {
			t.Errorf("%s: the claim, or what an outcome means, is missing:\n%s", c.Name, text)
		}
		var objects strings.Builder
		if err := writeObjects(&objects, c, fixtures.FS); err != nil {
			t.Errorf("%s: %v", c.Name, err)
		}
		if n := len(c.Objects) + len(c.Setup) + len(c.Change) + len(c.Fixtures); n == 0 {
			continue
		}
		if got, err := fixture.Parse(t.Context(), []byte(objects.String())); err != nil || len(got) < len(c.Objects)+len(c.Setup) {
			t.Errorf("%s: the objects cannot be applied by hand: %v\n%s", c.Name, err, objects.String())
		}
	}
}

// built are the built-in cases.
func built(t *testing.T) selected {
	t.Helper()
	what, err := (&selection{}).load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return what
}

func TestExplainCommand(t *testing.T) {
	t.Chdir(t.TempDir())
	code, out, _ := egressctl(t, "explain", "http-serviceentry")
	for _, want := range []string{
		"claim:    a ServiceEntry opens", "phase applied: its objects are there; outbound policy REGISTRY_ONLY", "allowed [OK]: answered by the intended server", "kind: ServiceEntry",
		"because: no ServiceEntry or Service of the case names edition.cnn.com, and the outbound policy is REGISTRY_ONLY",
		"because: ServiceEntry httpbin-ext names httpbin.org and has port 80 (HTTP)\n", "names httpbin.org, but has no port 8080, only 80 (HTTP)", "last result: none in reports/out/report.json",
	} {
		if code != exitOK || !strings.Contains(out, want) {
			t.Errorf("exit %d, %q is not in\n%s", code, want, out)
		}
	}
	if _, out, _ := egressctl(t, "explain", "vis-sidecar-hosts-aa"); !strings.Contains(out, "phase before: nothing of the case is there yet; but its setup; outbound policy ALLOW_ANY\n") {
		t.Errorf("the policy is not that of the base configuration:\n%s", out)
	}
	_, out, _ = egressctl(t, "explain", "http-serviceentry", "--objects")
	if !strings.HasPrefix(out, "---\n") || strings.Contains(out, "claim:") {
		t.Error(out)
	}
	for want, args := range map[string][]string{
		`no case is named "nonsense"`: {"explain", "nonsense"},
		"accepts 1 arg":               {"explain"},
	} {
		if code, _, stderr := egressctl(t, args...); code != exitUsage || !strings.Contains(stderr, want) {
			t.Errorf("%v: exit %d, %q", args, code, stderr)
		}
	}
	if code, _, stderr := egressctl(t, "explain", "http-serviceentry", "--report", "none.json"); code != exitFault || !strings.Contains(stderr, "none.json") {
		t.Errorf("exit %d, %q", code, stderr)
	}
}

func TestReasonsAreSaidOnce(t *testing.T) {
	one, other := []why.Reason{{Object: "a", What: "is"}}, []why.Reason{{Object: "a", What: "is"}, {What: "b"}}
	g := grounds{
		egress.Before:  {one, other, other},
		egress.Applied: {one, one, other},
		egress.Removed: {one, other, one},
	}
	for ph, want := range map[egress.Phase][]string{
		egress.Before:  {"a is", "a is/b", "as for the probe above"},
		egress.Applied: {"a is", "a is", "as in phase before"},
		egress.Removed: {"a is", "as in phase before", "a is"},
	} {
		for i, w := range want {
			if got := strings.Join(g.lines(ph, i), "/"); got != w {
				t.Errorf("phase %s, probe %d: %s, wanted %s", ph, i, got, w)
			}
		}
	}
}

func TestExplainLastResult(t *testing.T) {
	r := report.New(report.Environment{Istio: "1.31"}, time.Now(), []egress.Result{{
		Case: egress.Case{Name: "http-serviceentry", Area: "http"}, Verdict: egress.Violates, Why: "phase applied, x: B502, wanted OK", Started: time.Now(),
		Phases: []egress.PhaseResult{{Phase: egress.Applied, Probes: []egress.ProbeResult{{
			Probe: "x", Want: egress.OK, Got: egress.B502, Verdict: egress.Violates, Why: "B502, wanted OK",
			Observations: []egress.Observation{{Client: egress.ClientWitness{HTTPCode: 502, Stderr: "\x1b[2J"}, Mesh: []egress.AccessLog{{ResponseCode: 502, RouteName: "block_all"}}}},
		}}}},
	}})
	b, err := r.JSON()
	file := filepath.Join(t.TempDir(), "report.json")
	if err == nil {
		err = os.WriteFile(file, b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	_, out, _ := egressctl(t, "explain", "http-serviceentry", "--report", file)
	for _, want := range []string{"✗ violates", "blocked (502), wanted allowed", `route "block_all"`, "destination: nothing of it arrived"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	if strings.Contains(out, "\x1b") {
		t.Error("a control character reaches the terminal")
	}
	if _, out, _ := egressctl(t, "explain", "tcp-other-port", "--report", file); !strings.Contains(out, "the case is not in "+file) {
		t.Error(out)
	}
}

func TestOpen(t *testing.T) {
	dir := written(t)
	code, out, _ := egressctl(t, "open", dir)
	if code != exitOK || out != filepath.Join(dir, "report.html")+"\n" {
		t.Errorf("exit %d, %q", code, out)
	}
	if err := os.Remove(filepath.Join(dir, "report.html")); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := egressctl(t, "open", dir); code != exitFault || !strings.Contains(stderr, "egressctl report html "+filepath.Join(dir, "report.json")) {
		t.Errorf("exit %d, %q", code, stderr)
	}
	if code, _, stderr := egressctl(t, "open", t.TempDir()); code != exitFault || !strings.Contains(stderr, "egressctl run writes it") {
		t.Errorf("exit %d, %q", code, stderr)
	}
	for want, x := range map[string]struct {
		system string
		env    map[string]string
	}{
		"open": {"darwin", nil}, "xdg-open": {"linux", map[string]string{"WAYLAND_DISPLAY": "wayland-0"}}, "": {"linux", nil},
	} {
		if got := browser(x.system, func(name string) string { return x.env[name] }); got != want {
			t.Errorf("%+v: %q", x, got)
		}
	}
}

func TestEnvLines(t *testing.T) {
	e := shellEnvironment{Kubeconfig: "/run/a b/kubeconfig", Path: []string{"/cache/kubectl", "/cache/it's"}}
	if got, want := e.shell(), "export KUBECONFIG='/run/a b/kubeconfig'\nexport PATH='/cache/kubectl:/cache/it'\"'\"'s':\"$PATH\"\n"; got != want {
		t.Errorf("%s wanted\n%s", got, want)
	}
	if got := (shellEnvironment{Kubeconfig: "/k"}).shell(); got != "export KUBECONFIG=/k\n" {
		t.Error(got)
	}
}
