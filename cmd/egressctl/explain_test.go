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
	"mesh-egress-conformance/suites"
)

func TestEveryCaseCanBeExplained(t *testing.T) {
	all, _, err := suites.Load()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range all {
		var b strings.Builder
		if err := explanation(&b, c.On("1.31"), fixtures.FS, "1.31"); err != nil {
			t.Errorf("%s: %v", c.Name, err)
		}
		text := b.String()
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

func TestExplainCommand(t *testing.T) {
	t.Chdir(t.TempDir())
	code, out, _ := egressctl(t, "explain", "http-serviceentry")
	for _, want := range []string{"claim:    a ServiceEntry opens", "phase applied: its objects are there; outbound policy REGISTRY_ONLY", "allowed [OK]: answered by the intended server", "kind: ServiceEntry", "last result: none in reports/out/report.json"} {
		if code != exitOK || !strings.Contains(out, want) {
			t.Errorf("exit %d, %q is not in\n%s", code, want, out)
		}
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
