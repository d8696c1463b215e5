package verify

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/input"
)

// told are changes in short.
func told(changes []Change) string {
	var out []string
	for _, c := range changes {
		from := slices.Sorted(slices.Values(c.From))
		out = append(out, string(c.Kind)+" "+strings.Join(from, ",")+" "+c.To)
	}
	return strings.Join(out, "\n")
}

// job is a CronJob of a name.
func job(name string) string {
	return "---\napiVersion: batch/v1\nkind: CronJob\nmetadata: {name: " + name + ", namespace: shop}\nspec: {jobTemplate: {spec: {template: {metadata: {labels: {app: job-" + name + "}}, spec: {containers: [{name: c, image: x}]}}}}}\n"
}

// selecting is a Sidecar for some workloads, by which they are classes of their own.
const selecting = "---\napiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: some, namespace: shop}\nspec: {workloadSelector: {labels: {app: job-cart}}}\n"

// Workloads of one name are told apart by their kind, wherever they are compared; one whose kind changes stays who it is.
func TestNamesakes(t *testing.T) {
	const ssh = "tcp://unregistered.example:22"
	opens := func(kind string) mesh {
		return func(c Class, q Question) fate {
			if q.Key() == ssh && c.Members[0].Kind == kind {
				return fate{got: egress.Pass}
			}
			return strict(c, q)
		}
	}
	both := basic + job("cart") + selecting
	for name, x := range map[string]struct {
		before, after string
		says          mesh
		want          string
	}{
		"the one":                    {both, both, opens("Deployment"), "opens shop/cart (Deployment) " + ssh},
		"the other":                  {both, both, opens("CronJob"), "opens shop/cart (CronJob) " + ssh},
		"one whose kind has changed": {strings.Replace(basic, "kind: Deployment", "kind: StatefulSet", 1), basic, strict, ""},
		"a second one comes":         {basic, both, strict, "opens shop/cart (CronJob) https://api.example\nopens shop/cart (CronJob) udp://unregistered.example:4433"},
	} {
		was, _, _ := reported(t, x.before, strict)
		now, _, _ := reported(t, x.after, x.says)
		if got := told(Changes(was.Answers, now.Answers)); got != x.want {
			t.Errorf("%s:\n%s\nwant\n%s", name, got, x.want)
		}
	}
	now, _, _ := reported(t, both, opens("CronJob"))
	b, err := Present(now.Answers).YAML()
	if err != nil {
		t.Fatal(err)
	}
	e, err := ParseExpectations("egress.yaml", b)
	if err != nil {
		t.Fatal(err)
	}
	if d, _ := e.Judge(now.Answers); len(d) != 0 {
		t.Errorf("the present state is not as expected: %+v\n%s", d, b)
	}
	e.Allow = slices.DeleteFunc(e.Allow, func(x Allow) bool { return slices.Contains(x.To, ssh) })
	now.Expected = "egress.yaml"
	now.Deviations, _ = e.Judge(now.Answers)
	junit, err := now.JUnit()
	if err != nil || strings.Count(string(junit), "<failure") != 1 || !strings.Contains(string(junit), `classname="egress.shop/cart (CronJob)"`) {
		t.Errorf("%v %+v\n%s", err, now.Deviations, junit)
	}
	named, err := ParseExpectations("egress.yaml", []byte("allow: [{from: [shop/cart], to: ['*']}, {from: ['*'], to: ['udp://*']}]"))
	if err != nil {
		t.Fatal(err)
	}
	if d, _ := named.Judge(now.Answers); slices.ContainsFunc(d, func(x Deviation) bool { return x.Kind == Leak }) {
		t.Errorf("a name is that of both: %+v", d)
	}
}

// What is wrong with the version that changes are counted from is told, and nothing is made of it.
func TestOfTheBase(t *testing.T) {
	for name, x := range map[string]struct {
		spoil func(m *Model, classes []Class, heard []Heard) []Heard // of the base
		want  string
		exit  int
	}{
		"a base without a fault": {func(_ *Model, _ []Class, h []Heard) []Heard { return h }, "", exitFine},
		"a base that could not be read whole": {func(m *Model, _ []Class, h []Heard) []Heard {
			m.Mistakes = append(m.Mistakes, input.Mistake{File: "main:a.yaml", What: "broken"})
			return h
		}, "", exitFault},
		"a stand-in of the base that did not start": {func(m *Model, c []Class, h []Heard) []Heard {
			at := slices.IndexFunc(c, func(c Class) bool { return c.Label() == "shop/cart" })
			m.Unstarted(c[at], errors.New("no memory"))
			return slices.Delete(h, at, at+1)
		}, "", exitFault},
		"an answer of the base that was not proven": {func(_ *Model, c []Class, h []Heard) []Heard {
			at := slices.IndexFunc(c, func(c Class) bool { return c.Label() == "shop/cart" })
			h[at].Results[0] = egress.ProbeResult{Verdict: egress.Inconclusive}
			return h
		}, "unclear shop/cart https://api.example", exitFault},
	} {
		rep, now, o := reported(t, basic, strict)
		was := modelOf(t, basic)
		heard := x.spoil(was, was.Classes(false), hear(t, was, o, strict))
		rep.Since("main", was, was.Answers(o, heard), now)
		if got := told(rep.Changes); got != x.want || rep.ExitCode() != x.exit || (len(was.Mistakes) > 0) != rep.Partial() {
			t.Errorf("%s: exit %d, mistakes %v\n%s", name, rep.ExitCode(), rep.Mistakes, got)
		}
	}
}

// An answer in short goes on "was ..., is ...".
func TestBrief(t *testing.T) {
	for want, x := range map[string]struct {
		of   Answer
		lost bool
	}{
		"no such workload":                                                     {Answer{}, true},
		"allowed directly, in plain text":                                      {Answer{State: Allowed, Registered: true, Via: Direct, Encrypted: ByNobody}, false},
		"allowed (passthrough) directly, in TLS of the workload":               {Answer{State: Allowed, Passthrough: true, Via: Direct, Encrypted: ByWorkload}, false},
		"allowed (past the sidecar) directly, in plain text, at other.example": {Answer{State: Allowed, Via: Direct, Encrypted: ByNobody, Landed: "other.example"}, false},
		"failing (404NR)":                                                      {Answer{State: Fails, Outcome: egress.S404NR}, false},
		"failing (503UC), gets out through shop/out, in plain text":            {Answer{State: Fails, Outcome: egress.S503UC, Arrived: true, Via: "shop/out", Encrypted: ByNobody}, false},
		"led to bank.example":                                                  {Answer{State: Led, As: "bank.example"}, false},
		"blocked (B502)":                                                       {Answer{State: Blocked, Outcome: egress.B502}, false},
	} {
		if got := brief(x.of, !x.lost); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
