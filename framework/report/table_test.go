package report

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mesh-egress-conformance/framework/egress"
)

var update = flag.Bool("update", false, "write the golden files anew")

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s", file, got, want)
	}
}

// came is a case of one probe that came out otherwise than wanted in phase applied.
func came(name string, v egress.Verdict, want, got egress.Outcome, why string) egress.Result {
	c := egress.Case{
		Name: name, Area: "http", Claim: "a claim", Source: "a document",
		Probes: []egress.Probe{egress.GET("client", "https://api.example.com/v1/charges").Want(egress.Blocked, want, egress.Blocked)},
	}
	p := egress.ProbeResult{Probe: c.Probes[0].String(), Phase: egress.Applied, Want: want, Got: got, Verdict: v, Why: why, Evidence: "client: exit 0 status 200; sidecar: outbound|443||api.example.com"}
	blocked := egress.ProbeResult{Probe: p.Probe, Want: egress.Blocked, Got: egress.BRST, Verdict: egress.Conforms}
	r := egress.Result{Case: c, Verdict: v, Took: time.Second, Phases: []egress.PhaseResult{
		{Phase: egress.Before, Probes: []egress.ProbeResult{blocked}}, {Phase: egress.Applied, Acknowledged: true, Probes: []egress.ProbeResult{p}}, {Phase: egress.Removed, Probes: []egress.ProbeResult{blocked}},
	}}
	if why != "" {
		r.Why = "phase applied, " + p.Probe + ": " + why
		r.Rerun = "bin/egressctl run --provider embedded --name default --cases 'my cases' --case " + name
	}
	return r
}

func differing() []egress.Result {
	restarted := came("pod-restarted", egress.Conforms, egress.OK, egress.OK, "")
	restarted.Verdict, restarted.Why = egress.Violates, `client "client" changed while the case ran: a, then b`
	changes := came("changes", egress.Conforms, egress.OK, egress.OK, "")
	changes.Case.Delete = []string{"ServiceEntry/api"}
	changes.Phases = append(changes.Phases, egress.PhaseResult{Phase: egress.Changed, Probes: []egress.ProbeResult{{Want: egress.BRST, Got: egress.BRST, Verdict: egress.Conforms}}})
	return []egress.Result{
		came("as-wanted", egress.Conforms, egress.OK, egress.OK, ""),
		changes,
		came("one-of-two", egress.Conforms, egress.OK|egress.S503UF, egress.S503UF, ""),
		came("other-outcome", egress.Violates, egress.OK, egress.Pass, "PASS, wanted OK"),
		came("past-the-sidecar", egress.Violates, egress.Blocked, egress.Direct, "DIRECT, wanted blocked"),
		came("other-host", egress.Violates, egress.OK, egress.OK, "arrived at evil.example, wanted api.example.com"),
		came("plain-text", egress.Violates, egress.OK, egress.OK, "arrived in plain text, wanted TLS"),
		came("other-cluster", egress.Violates, egress.OK, egress.OK, `the sidecar's line has upstream_cluster "outbound|80||api.example.com", wanted ^outbound\|443`),
		came("other-output", egress.Violates, egress.OK, egress.OK, `OK, but the output is "nginx"`),
		came("network", egress.Inconclusive, egress.Blocked, egress.TMO, "TMO, wanted blocked: the client timed out: network, not mesh"),
		came("unproven", egress.Inconclusive, egress.Blocked, egress.BRST, "blocked, but api.example.com has an unexplained arrival from this pod (10.0.0.1:1)"),
		came("nothing-known", egress.Inconclusive, egress.OK, 0, "the command failed\nits log"),
		restarted,
		{Case: egress.Case{Name: "elsewhere"}, Verdict: egress.Skipped, Why: "needs ipv6: pods with IPv6 addresses"},
	}
}

func TestTable(t *testing.T) {
	r := New(Environment{}, time.Now(), differing())
	var plain, codes bytes.Buffer
	Text{}.table(&plain, r)
	golden(t, "table.txt", plain.String())
	Text{Codes: true}.table(&codes, r)
	golden(t, "table-codes.txt", codes.String())
	for _, want := range []string{"PASS", "B502", "DIRECT", "TMO"} {
		if strings.Contains(plain.String(), want) {
			t.Errorf("the table needs a legend for %s", want)
		}
	}
}

// Every outcome beside every wanted one: a cell that is not as wanted says what differs, never the same twice.
func TestCellsSayWhatDiffers(t *testing.T) {
	for want := egress.OK; want.Single(); want <<= 1 {
		for got := egress.OK; got.Single(); got <<= 1 {
			x := egress.ProbeResult{Want: want, Got: got, Verdict: egress.Violates, Why: got.String() + ", wanted " + want.String()}
			if got == want {
				x.Why = "arrived at b, wanted a"
			}
			s := Text{}.cell(&x)
			if strings.Contains(s, want.Words()+", wanted "+want.Words()) || got == want && !strings.HasSuffix(s, ", but arrived at b, wanted a") {
				t.Errorf("%s beside %s: %q", got, want, s)
			}
		}
	}
}

func TestExplain(t *testing.T) {
	all := differing()
	golden(t, "explain-outcome.txt", Explain(all[3]))
	golden(t, "explain-detail.txt", Explain(all[5]))
	golden(t, "explain-codes.txt", Text{Codes: true}.Explain(all[3]))
}
