package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/harness"
	"mesh-egress-conformance/framework/report"
)

// versions stands in for the sessions of a matrix: what each version comes to, by its number. A version that it does not have
// conforms.
type versions map[string]func(context.Context) error

func (v versions) conduct(ctx context.Context, o harness.Options, how conducted) (*report.Report, error) {
	defer how.tell.over()
	if fails := v[o.Components.Istio]; fails != nil {
		if err := fails(ctx); err != nil {
			return nil, err
		}
	}
	how.tell.round(len(o.Cases))
	var results []egress.Result
	for _, c := range o.Cases {
		res := egress.Result{Case: c, Verdict: egress.Conforms}
		how.tell.result(res)
		results = append(results, res)
	}
	return report.New(report.Environment{Provider: o.Provider, Istio: o.Components.Istio}, time.Now(), results), nil
}

// matrixOf runs two cases on three versions, one after another, and reads comparison.json: why a column has no run, or how many of
// its cases conform.
func matrixOf(t *testing.T, v versions) (code int, said string, columns map[string]string) {
	t.Helper()
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	out := t.TempDir()
	var stdout, stderr bytes.Buffer
	code = runWith([]string{"matrix", "--provider", "embedded", "--istio", "1.29,1.30,1.31", "--case", "http-serviceentry,tcp-cidr-v1", "--side-by-side", "1", "--out", out}, &stdout, &stderr, v.conduct)
	said = stdout.String() + stderr.String()
	b, err := os.ReadFile(filepath.Join(out, comparisonJSON))
	if err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	var c struct {
		Columns []struct {
			Name   string        `json:"name"`
			Failed string        `json:"failed"`
			Counts report.Counts `json:"counts"`
		} `json:"columns"`
	}
	if err := json.Unmarshal(b, &c); err != nil {
		t.Fatal(err)
	}
	columns = map[string]string{}
	for _, x := range c.Columns {
		columns[x.Name] = x.Failed
		if x.Failed == "" {
			columns[x.Name] = fmt.Sprintf("%d conform", x.Counts.Conforms)
			if _, err := os.Stat(filepath.Join(out, x.Name, "report.json")); err != nil {
				t.Error(err)
			}
		}
	}
	for _, f := range []string{comparisonMD, comparisonJUnit} {
		if _, err := os.Stat(filepath.Join(out, f)); err != nil {
			t.Error(err)
		}
	}
	return code, said, columns
}

// A version that does not start has a column that says so, and the others run.
func TestMatrixVersionFails(t *testing.T) {
	code, said, columns := matrixOf(t, versions{"1.30": func(context.Context) error { return errors.New("istiod 1.30 never became ready") }})
	want := map[string]string{"1.29": "2 conform", "1.30": "istiod 1.30 never became ready", "1.31": "2 conform"}
	if code != exitFault || fmt.Sprint(columns) != fmt.Sprint(want) || !strings.Contains(said, "NO RUN: istiod 1.30 never became ready") {
		t.Errorf("exit %d, %v\n%s", code, columns, said)
	}
}

// After Ctrl-C the columns that were finished are compared; the one that was running says why it has no run, and none begins.
func TestMatrixInterrupted(t *testing.T) {
	began := 0
	code, said, columns := matrixOf(t, versions{
		"1.30": func(ctx context.Context) error {
			if err := syscall.Kill(os.Getpid(), syscall.SIGINT); err != nil {
				return err
			}
			<-ctx.Done()
			return fmt.Errorf("wait for istiod: %w", context.Cause(ctx))
		},
		"1.31": func(context.Context) error { began++; return nil },
	})
	if code != exitFault || began != 0 || columns["1.29"] != "2 conform" || !strings.HasPrefix(columns["1.30"], "wait for istiod: ") || columns["1.31"] != "interrupted before it began" {
		t.Errorf("exit %d, %v, %d began\n%s", code, columns, began, said)
	}
}
