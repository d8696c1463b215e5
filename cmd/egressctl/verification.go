package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"mesh-egress-conformance/fixtures"
	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/harness"
	"mesh-egress-conformance/framework/input"
	"mesh-egress-conformance/framework/internet"
	"mesh-egress-conformance/framework/manifest"
	"mesh-egress-conformance/framework/provider"
	"mesh-egress-conformance/framework/report"
	"mesh-egress-conformance/framework/verify"
	"mesh-egress-conformance/suites"
)

// verification is one under way: what is to stand, and what is expected of it.
type verification struct {
	flags   *verifyFlags
	now     *reading
	before  *judged // nil where nothing is compared
	since   string  // what before is: a commit, or a cluster
	own     []egress.Client
	harness harness.Options
	out     *report.Folder // nil for none
	// others are the same in other versions of Istio, by version.
	others []elsewhere
}

// elsewhere is a verification in another version of Istio.
type elsewhere struct {
	version string
	*verification
}

// reading is all that was read of a version.
type reading struct {
	judged
	set      *manifest.Set
	expected *verify.Expectations
	// beside are the texts of the files with mesh settings and expectations.
	beside string
}

// judged is what the objects are, or were, with those who ask.
type judged struct {
	model   *verify.Model
	classes []verify.Class
	notices input.Mistakes // of a former version, which the report of the present one has too
}

// clients are those who ask.
func (v *judged) clients() []egress.Client { return v.model.Clients(v.classes) }

// reading reads everything that PATHS and flags name.
func (v *verifyFlags) reading(cmd *cobra.Command, args []string) (*reading, error) {
	o, text, err := v.modelOptions()
	if err != nil {
		return nil, err
	}
	x := &reading{beside: text}
	if x.expected, text, err = expectations(v.expectations); err != nil {
		return nil, err
	}
	x.beside += "\x00" + text
	v.read.Stdin = standardInput(cmd)
	x.set = v.live.under(manifest.Read(cmd.Context(), args, v.read), v.read.Namespace)
	x.judged = v.version(x.set, o)
	if len(x.model.Objects)+len(x.model.Workloads) <= 1 && len(x.model.Mistakes) > 0 {
		return nil, fmt.Errorf("nothing could be read:\n%w", x.model.Mistakes)
	}
	return x, nil
}

// modelOptions say how to read what the objects leave open; with the text of the file that does.
func (v *verifyFlags) modelOptions() (verify.ModelOptions, string, error) {
	mesh, text, err := settingsFile(v.meshConfig)
	return verify.ModelOptions{Namespace: v.read.Namespace, MeshConfig: mesh, Running: v.live.running()}, text, err
}

// prepare reads everything, and starts nothing.
func (v *verifyFlags) prepare(cmd *cobra.Command, args []string) (*verification, error) {
	x := &verification{flags: v}
	var err error
	if x.now, err = v.reading(cmd, args); err != nil {
		return nil, err
	}
	clients := x.now.clients()
	if err := x.compare(cmd.Context(), args); err != nil {
		return nil, err
	}
	if was := x.before; was != nil {
		clients = append(clients, was.model.Apart(was.classes, x.now.model, clients)...)
	}
	if err := x.outside(); err != nil {
		return nil, err
	}
	if x.own, err = ownClients(); err != nil {
		return nil, err
	}
	if x.others, err = v.elsewhere(cmd, x); err != nil {
		return nil, err
	}
	x.harness, err = v.session(cmd, v.o, slices.Concat(x.own, clients))
	return x, err
}

// compare reads what the present state is compared with: the objects at the commit of --base, or those of a cluster without the files.
func (x *verification) compare(ctx context.Context, args []string) (err error) {
	v := x.flags
	switch {
	case v.base != "":
		x.since = v.base
		x.before, err = v.former(ctx, args)
	case v.live != nil && len(args) > 0 && !v.watch:
		o, _, err := v.modelOptions()
		if err != nil {
			return err
		}
		was := v.version(v.live.under(&manifest.Set{}, v.read.Namespace), o)
		x.since, x.before = v.live.snapshot.Name, &was
	}
	return err
}

// outside makes the outside once before anything starts: what keeps it from being made is told then.
func (x *verification) outside() error {
	hosts, err := internet.DefaultHosts()
	if err == nil {
		_, err = verify.NewOutside(hosts, x.now.expected, x.models()...)
	}
	return err
}

// models are the versions that are asked, the present one first.
func (x *verification) models() []*verify.Model {
	if x.before == nil {
		return []*verify.Model{x.now.model}
	}
	return []*verify.Model{x.now.model, x.before.model}
}

// elsewhere prepares the same for all versions of --istio but the last, which becomes the version of x.
func (v *verifyFlags) elsewhere(cmd *cobra.Command, x *verification) ([]elsewhere, error) {
	if !strings.Contains(v.o.istio, ",") {
		return nil, nil
	}
	versions, err := v.o.istioVersions(cmd.Context(), strings.Split(v.o.istio, ","))
	if err != nil {
		return nil, usage(err)
	}
	o, _, err := v.modelOptions()
	if err != nil {
		return nil, err
	}
	var out []elsewhere
	last := len(versions) - 1
	for _, version := range versions[:last] {
		now := *x.now
		now.judged = v.version(x.now.set, o) // what the mesh refuses is noted in it
		other := &verification{flags: v, now: &now, own: x.own}
		if other.harness, err = v.session(cmd, v.o.on(version), slices.Concat(x.own, now.clients())); err != nil {
			return nil, err
		}
		out = append(out, elsewhere{version, other})
	}
	v.o = v.o.on(versions[last])
	return out, nil
}

func (v *verifyFlags) version(set *manifest.Set, o verify.ModelOptions) judged {
	m := verify.NewModel(set, o)
	return judged{model: m, classes: m.Classes(v.every)}
}

// ownClients are those that every session has: one of them calls whatever the others call, past all proxies.
func ownClients() ([]egress.Client, error) {
	_, all, err := suites.Load()
	return slices.DeleteFunc(all, func(c egress.Client) bool { return c.Name != "client" && c.Name != egress.ControlClient }), err
}

// session are the options of a session with those who ask.
func (v *verifyFlags) session(cmd *cobra.Command, o *options, clients []egress.Client) (harness.Options, error) {
	ho, err := o.session(cmd, selected{clients: clients, fixtures: fixtures.FS})
	if err != nil {
		return ho, err
	}
	if ho.Provider == provider.Existing {
		return ho, errors.New("objects are tried in a cluster of the harness's own, and not in somebody else's: use --provider embedded or kind")
	}
	if !v.verbose {
		ho.Log = nil
	}
	return ho, nil
}

// run brings everything up, asks, has the report told, and takes everything down. With --watch it goes on until ctx ends, and the
// report is the last one.
func (x *verification) run(cmd *cobra.Command, tell func(*verify.Report) error) (*verify.Report, error) {
	ctx := cmd.Context()
	compare, err := x.askElsewhere(cmd)
	if err != nil {
		return nil, err
	}
	if err := x.flags.live.isAnother(ctx, x.harness); err != nil {
		return nil, err
	}
	s, err := raise(ctx, x.harness, x.flags.o.steps(cmd), harness.Open)
	if err != nil {
		return nil, err
	}
	now, err := x.in(ctx, s)
	if err == nil {
		compare(now.report)
		err = tell(now.report) // taking down what stood takes as long again
	}
	if x.flags.watch && err == nil {
		now, err = x.watch(cmd, s, now)
	}
	if x.flags.keep && err == nil {
		err = s.Keep()
	}
	err = errors.Join(err, s.Close(context.WithoutCancel(ctx)))
	if err != nil {
		return nil, err
	}
	return now.report, nil
}

// askElsewhere asks other versions of Istio, one mesh after the other; what it returns adds what they say to a report. A version that
// cannot be asked is told there, and keeps no other from being asked.
func (x *verification) askElsewhere(cmd *cobra.Command) (func(*verify.Report), error) {
	reports, errs := make([]*verify.Report, len(x.others)), make([]error, len(x.others))
	for i, e := range x.others {
		fmt.Fprintf(x.flags.o.steps(cmd), "asking Istio %s\n", e.version)
		reports[i], errs[i] = e.run(cmd, func(*verify.Report) error { return nil })
		if err := cmd.Context().Err(); err != nil {
			return nil, errors.Join(err, errs[i])
		}
	}
	return func(r *verify.Report) {
		for i, e := range x.others {
			if errs[i] != nil {
				r.NotAsked(e.version, errs[i])
				continue
			}
			r.Compare(reports[i])
		}
	}, nil
}

// proof is what was proven of a version.
type proof struct {
	of      *reading
	outside *verify.Outside
	report  *verify.Report
}

// in verifies in a session.
func (x *verification) in(ctx context.Context, s *harness.Session) (*proof, error) {
	outside, err := outsideFor(ctx, s, x.now.expected, x.models()...)
	if err != nil {
		return nil, err
	}
	var was []verify.Answer
	var notes []string
	if x.before != nil {
		heard, more, err := x.before.hear(ctx, s, outside, false)
		if err != nil {
			return nil, fmt.Errorf("ask of %s: %w", x.since, err)
		}
		was, notes = x.before.model.Answers(outside, heard), more
	}
	out, err := x.prove(ctx, s, x.now, outside)
	if err != nil {
		return nil, err
	}
	out.report.Faults = slices.Concat(notes, out.report.Faults)
	if x.before != nil {
		out.report.Since(x.since, x.before.model, was, x.now.model)
		out.report.Notices = append(out.report.Notices, x.before.notices...)
	}
	return out, nil
}

// outsideFor makes the outside of models, and has the session's internet serve it.
func outsideFor(ctx context.Context, s *harness.Session, expected *verify.Expectations, models ...*verify.Model) (*verify.Outside, error) {
	outside, err := verify.NewOutside(s.InternetHosts(), expected, models...)
	if err != nil {
		return nil, err
	}
	return outside, s.SetGuests(ctx, outside.Guests)
}

// prove lets a version stand, and reports what was heard of it.
func (x *verification) prove(ctx context.Context, s *harness.Session, now *reading, outside *verify.Outside) (*proof, error) {
	heard, notes, err := now.hear(ctx, s, outside, true)
	if err != nil {
		return nil, err
	}
	rep := verify.NewReport(now.model, outside, heard)
	rep.Istio, rep.Timings, rep.Faults = s.Environment().Istio, s.Timings(), notes
	if now.expected != nil {
		rep.Against(now.expected)
	}
	return &proof{now, outside, rep}, nil
}

// hear lets a version stand, and asks.
func (v *judged) hear(ctx context.Context, s *harness.Session, outside *verify.Outside, stays bool) ([]verify.Heard, []string, error) {
	m := v.model
	st := harness.Standing{Config: m.Mesh.Config, Objects: m.Applied(), Secrets: slices.Concat(m.Permissions(), m.Secrets()), Gateways: m.Gateways, GatewayAPI: m.GatewayAPI(), Stays: stays}
	for _, c := range v.classes {
		st.Clients = append(st.Clients, c.Client)
	}
	for _, q := range outside.Questions {
		st.Probes = append(st.Probes, q.Probe(""))
	}
	got, err := s.Examine(ctx, st)
	if err != nil {
		return nil, nil, err
	}
	for i, why := range got.Refused {
		m.Refused(i, why)
	}
	return heardOf(m, v.classes, got), got.Notes, nil
}

// heardOf is what classes were told; a class that was not heard is noted in the model.
func heardOf(m *verify.Model, classes []verify.Class, got *harness.Examined) []verify.Heard {
	var out []verify.Heard
	for _, c := range classes {
		if why := got.Unstarted[c.Client]; why != nil {
			m.Unstarted(c, why)
			continue
		}
		if why := got.Unheard[c.Client]; why != nil {
			m.Unheard(c, why)
			continue
		}
		h := got.Heard[c.Client]
		out = append(out, verify.Heard{Class: c, Results: h.Results, Around: h.Around})
	}
	return out
}
