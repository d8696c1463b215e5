package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mesh-egress-conformance/framework/compare"
	"mesh-egress-conformance/framework/compare/html"
	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/report"
	"mesh-egress-conformance/framework/report/reporttest"
)

func TestMatrixUsage(t *testing.T) {
	for want, args := range map[string][]string{
		"0.8":                                    {"matrix", "--istio", "0.8,1.31"},
		"two versions or more":                   {"matrix", "--istio", "1.31"},
		"is in it twice":                         {"matrix", "--istio", "1.31,1.31"},
		`version "1.28" is none of 1.29, 1.31`:   {"matrix", "--istio", "1.29,1.31", "--sabotage", "1.28=allow-any"},
		`sabotage "nonsense" is unknown`:         {"matrix", "--istio", "1.29,1.31", "--sabotage", "1.29=nonsense"},
		"before and after its upgrade":           {"matrix", "--kubeconfig", "x"},
		"no case is named":                       {"matrix", "--istio", "1.29,1.31", "--case", "nonsense", "--provider", "embedded"},
		"requires at least 2":                    {"compare", "x"},
		"--istio-source is one version: run it,": {"matrix", "--istio-source", "x"},
	} {
		code, _, stderr := egressctl(t, args...)
		if code != exitUsage || !strings.Contains(stderr, want) {
			t.Errorf("%v: exit %d, %q; want exit %d and %q", args, code, stderr, exitUsage, want)
		}
	}
}

func TestSabotagedColumnsComeLast(t *testing.T) {
	m := &matrix{o: &options{istio: "1.28,1.29,1.31"}, spoil: map[string]string{"1.28": "allow-any"}}
	got, err := m.versions(t.Context())
	if err != nil || !slices.Equal(got, []string{"1.29", "1.31", "1.28"}) {
		t.Errorf("%v %v", got, err)
	}
	m = &matrix{o: &options{}}
	if got, err = m.versions(t.Context()); err != nil || !slices.IsSortedFunc(got, strings.Compare) || len(got) < 3 {
		t.Errorf("all versions: %v %v", got, err)
	}
}

// So many at once and no more, in their order; once it is over none begins.
func TestSideBySide(t *testing.T) {
	var mu sync.Mutex
	var order []int
	now, most := 0, 0
	full, release := make(chan struct{}), make(chan struct{})
	ctx, stop := context.WithCancel(t.Context())
	var done []*report.Report
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		done = sideBySide(ctx, 2, 5, func(i int) *report.Report {
			mu.Lock()
			order = append(order, i)
			now++
			if most = max(most, now); len(order) == 2 {
				close(full)
			}
			mu.Unlock()
			<-release
			mu.Lock()
			defer mu.Unlock()
			now--
			return &report.Report{}
		})
	}()
	<-full
	stop()
	close(release)
	<-ended
	slices.Sort(order)
	if most != 2 || !slices.Equal(order, []int{0, 1}) || done[1] == nil || done[2] != nil || len(done) != 5 {
		t.Errorf("%d at once, order %v, %v", most, order, done)
	}
}

func TestRoom(t *testing.T) {
	f := filepath.Join(t.TempDir(), "meminfo")
	if err := os.WriteFile(f, []byte("MemTotal:       24684000 kB\nMemFree: 1 kB\nMemAvailable:    3145728 kB\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if mib, known := freeMemory(f); mib != 3072 || !known {
		t.Errorf("%d %t", mib, known)
	}
	var say bytes.Buffer
	for asked, want := range map[int]int{2: 1, 1: 1, 0: 1} { // 3072 MiB are room for one
		if got := fitting(asked, 3072, &say); got != want {
			t.Errorf("%d asked: %d", asked, got)
		}
	}
	if got := fitting(2, 100, &say); got != 1 || !strings.Contains(say.String(), "the others in turn") {
		t.Errorf("%d, %s", got, say.String())
	}
	if got := fitting(3, 9000, &say); got != 3 {
		t.Errorf("%d", got)
	}
	if _, known := freeMemory(filepath.Join(t.TempDir(), "none")); known {
		t.Error("memory of a machine that does not say it is known")
	}
}

// Lines of several runs stay whole, whatever pieces they come in.
func TestPrefixes(t *testing.T) {
	var b bytes.Buffer
	p := &prefixes{w: &b}
	one, two := p.of("1.30"), p.of("1.31")
	for _, x := range []struct {
		w    interface{ Write([]byte) (int, error) }
		text string
	}{{one, "a"}, {two, "b\nc"}, {one, "a\n"}, {two, "c\n"}} {
		if _, err := x.w.Write([]byte(x.text)); err != nil {
			t.Fatal(err)
		}
	}
	if got := b.String(); got != "1.31   b\n1.30   aa\n1.31   cc\n" {
		t.Errorf("%q", got)
	}
}

func ran(istio string, v egress.Verdict, faults ...string) *report.Report {
	c := egress.Case{Name: "c", Area: "a", Claim: "x", Source: "y", Probes: []egress.Probe{egress.GET("client", "http://httpbin.org/").Want(egress.OK, egress.OK, egress.OK)}}
	return report.New(report.Environment{Istio: istio, Provider: "embedded"}, time.Now(), []egress.Result{{Case: c, Verdict: v}}, faults...)
}

func TestBaselines(t *testing.T) {
	m := &matrix{baselines: t.TempDir()}
	if err := m.writeBaselines([]*report.Report{ran("1.30", egress.Conforms), ran("1.31", egress.Violates)}); err != nil {
		t.Fatal(err)
	}
	at := func(v string) string { return filepath.Join(m.baselines, v, "embedded.json") }
	if _, err := compare.ReadAll(at("1.30"), at("1.31")); err != nil {
		t.Error(err)
	}
	sabotaged := ran("1.29", egress.Violates)
	sabotaged.Environment.Sabotage = "allow-any"
	for _, r := range []*report.Report{ran("1.29", egress.Inconclusive), ran("1.29", egress.Conforms, "clean-up"), sabotaged, nil} {
		if err := m.writeBaselines([]*report.Report{r}); err == nil {
			t.Errorf("a baseline was made of %+v", r)
		}
	}
	if _, err := os.Stat(at("1.29")); err == nil {
		t.Error("a baseline that proves nothing was written")
	}
	// The command on two files: a regression exits 1, the other way round 0, and the folder has all three forms.
	out := t.TempDir()
	code, stdout, stderr := egressctl(t, "compare", at("1.30"), at("1.31"), "--out", out)
	if code != 1 || !strings.Contains(stdout, "regression") || !strings.Contains(stdout, "1 regression") {
		t.Errorf("exit %d\n%s\n%s", code, stdout, stderr)
	}
	for _, f := range []string{comparisonJSON, html.File, comparisonMD, comparisonJUnit} {
		b, err := os.ReadFile(filepath.Join(out, f))
		if err != nil || !bytes.Contains(b, []byte("regression")) || !strings.Contains(stdout, filepath.Join(out, f)) {
			t.Errorf("%s: %v\n%s", f, err, b)
		}
		if f == comparisonJSON {
			if err := reporttest.ValidateComparison(b); err != nil {
				t.Error(err)
			}
		}
	}
	if code, stdout, _ = egressctl(t, "compare", at("1.31"), at("1.30")); code != 0 || !strings.Contains(stdout, "1 fixed") {
		t.Errorf("exit %d\n%s", code, stdout)
	}
	if code, stdout, _ = egressctl(t, "compare", at("1.31"), at("1.30"), "--json"); code != 0 || !json.Valid([]byte(stdout)) || !strings.Contains(stdout, `"changes"`) {
		t.Errorf("exit %d, %s", code, stdout)
	}
	if code, _, _ = egressctl(t, "compare", at("1.31"), at("1.30"), "--strict"); code != 1 {
		t.Errorf("strict: exit %d", code)
	}
	own := filepath.Join(out, "own.yaml")
	if err := os.WriteFile(own, []byte("- {since: '1.31', cases: [c], what: they broke it, source: our ticket, from: conforms, to: violates}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if code, stdout, _ = egressctl(t, "compare", at("1.30"), at("1.31"), "--known", own, "-v"); code != 0 || !strings.Contains(stdout, "our ticket") {
		t.Errorf("exit %d\n%s", code, stdout)
	}
	cut := filepath.Join(out, "cut.json")
	b, err := os.ReadFile(at("1.31"))
	if err == nil {
		err = os.WriteFile(cut, b[:len(b)/2], 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	if code, _, stderr = egressctl(t, "compare", at("1.30"), cut); code != exitFault || !strings.Contains(stderr, "cut off") || !strings.Contains(stderr, cut) {
		t.Errorf("exit %d: %s", code, stderr)
	}
}

func TestAbout(t *testing.T) {
	var ee *exitError
	if err := about("1.31", &exitError{exitFault, errors.New("wrong")}); !errors.As(err, &ee) || ee.code != exitFault || fmt.Sprint(err) != "for Istio 1.31: wrong" {
		t.Error(err)
	}
}

// A version has the others beside it, and not itself once more.
func TestOthers(t *testing.T) {
	also := []string{"1.28", "1.29.7", "1.30"}
	for v, want := range map[string][]string{
		"1.28": {"1.29.7", "1.30"}, "1.29": {"1.28", "1.30"}, "1.30.4": {"1.28", "1.29.7"}, "1.31": also, "1.3": also,
	} {
		if got := others(also, v); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", v, got, want)
		}
	}
}
