package report

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/invopop/jsonschema"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/report/reporttest"
)

// schema is the JSON Schema of report.json, from the Go types and their comments.
func schema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	s := reporttest.Reflect(t, &Report{}, "framework/egress", "framework/report")
	s.Title = "report.json of mesh-egress-conformance"
	reporttest.Property(t, s, "Report", "schema").Const = Schema
	return s
}

func TestSchemaIsThatOfTheTypes(t *testing.T) {
	reporttest.Published(t, "report.schema.json", schema(t), *update)
}

// complete is a report in which as much as possible is set.
func complete() *Report {
	r := every()
	r.Shard = &Shard{Number: 1, Of: 2, Selection: "sha256:1", Cases: 9}
	r.Environment = Environment{
		Provider: "embedded", Deviations: []string{"x"}, Timings: map[string]float64{"ready": 1.5}, Foreign: []string{"ServiceEntry x"},
		Components: []Component{{Name: "etcd", Source: "build", Digest: "sha256:1"}},
	}
	from := egress.Applied
	c := &r.Cases[0].Case
	c.Needs, c.Labels, c.Setup = []egress.Feature{egress.Hermetic}, []string{"source"}, []egress.Object{{"kind": "ServiceEntry", "spec": map[string]any{"hosts": []any{"a"}}}}
	c.DNS = map[egress.Phase]map[string]string{egress.Changed: {"a.example": "NXDOMAIN"}}
	p := &c.Probes[0]
	p.ArrivesAt, p.Encrypted, p.Arrivals = egress.Always("b.example"), egress.ByPhase[bool]{egress.Applied: true}, egress.Always(2)
	p.Arrival, p.Counts = egress.Always(map[string]string{"sni": "a"}), egress.Always(map[string]int64{"tcp.x": 1})
	p.Hold = &egress.Hold{Pause: egress.Duration(90 * time.Second), From: &from}
	p.Spread = map[egress.Phase]egress.Spread{egress.Applied: {"a.example": {Min: 0.3, Max: 0.7}}}
	p.Overflow = map[egress.Phase]egress.Count{egress.Applied: {Min: 2, Max: 5}, egress.Before: {}}
	p.Wants[egress.Changed] = egress.OK | egress.Blocked
	o := &r.Cases[0].Phases[1].Probes[0].Observations[0]
	o.Hops, o.Counters, o.Arrivals[0].Extra = []egress.Hop{{Gateway: "a", Line: &egress.AccessLog{}}, {Gateway: "b"}}, map[string]int64{"tcp.x": 1}, map[string]string{"header a": "b"}
	r.Cases[0].Phases[1].Probes[0].Unexplained = []egress.Arrival{{Time: time.Now()}}
	return r
}

func TestReportsAreAsTheSchemaHasThem(t *testing.T) {
	for name, r := range map[string]*Report{
		"every verdict": every(), "complete": complete(), "hostile": hostile(), "differing": New(Environment{}, time.Now(), differing()), "empty": New(Environment{}, time.Now(), nil),
		"none": None(Environment{}, time.Now(), []egress.Case{every().Cases[0].Case}, errors.New("no room")),
	} {
		b, err := r.JSON()
		if err != nil {
			t.Fatal(err)
		}
		if err := reporttest.Validate(b); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	good, err := complete().JSON()
	if err != nil {
		t.Fatal(err)
	}
	for what, replace := range map[string][2]string{
		"another schema":     {`report/v2"`, `report/v1"`},
		"an unknown field":   {`"tookSeconds"`, `"unheardOf": 1, "tookSeconds"`},
		"an unknown verdict": {`"verdict": "violates"`, `"verdict": "fine"`},
		"an unknown phase":   {`"phase": "applied"`, `"phase": "later"`},
		"a lacking count":    {`"violates": 1,`, ``},
		"a number as text":   {`"exitCode": 0`, `"exitCode": "0"`},
		"no time":            {`"started": "20`, `"started": "yesterday 20`},
	} {
		bad := strings.Replace(string(good), replace[0], replace[1], 1)
		if bad == string(good) {
			t.Errorf("%s: nothing was spoiled", what)
		}
		if reporttest.Validate([]byte(bad)) == nil {
			t.Errorf("the schema accepts %s", what)
		}
	}
}
