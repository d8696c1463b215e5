package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"mesh-egress-conformance/fixtures"
	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/harness"
	"mesh-egress-conformance/framework/manifest"
	"mesh-egress-conformance/framework/provider"
	"mesh-egress-conformance/framework/verify"
	"mesh-egress-conformance/suites"
)

// verification is one under way: what is to stand, and what is expected of it.
type verification struct {
	flags    *verifyFlags
	now      judged
	before   *judged // nil without --base
	expected *verify.Expectations
	harness  harness.Options
}

// judged is what the objects are, or were, with those who ask.
type judged struct {
	model   *verify.Model
	classes []verify.Class
}

// prepare reads everything, and starts nothing.
func (v *verifyFlags) prepare(cmd *cobra.Command, args []string) (*verification, error) {
	x := &verification{flags: v}
	mesh, err := settingsFile(v.meshConfig)
	if err != nil {
		return nil, err
	}
	if x.expected, err = expectations(v.expectations); err != nil {
		return nil, err
	}
	v.read.Stdin = standardInput(cmd)
	o := verify.ModelOptions{Namespace: v.read.Namespace, MeshConfig: mesh}
	x.now = v.version(manifest.Read(cmd.Context(), args, v.read), o)
	if len(x.now.model.Objects)+len(x.now.model.Workloads) <= 1 && len(x.now.model.Mistakes) > 0 {
		return nil, fmt.Errorf("nothing could be read:\n%w", x.now.model.Mistakes)
	}
	clients := x.now.model.Clients(x.now.classes)
	if v.base != "" {
		set, err := manifest.ReadAt(cmd.Context(), v.base, args, v.read)
		if err != nil {
			return nil, err
		}
		was := v.version(set, o)
		x.before = &was
		clients = append(clients, verify.Apart(was.classes, was.model.Clients(was.classes), clients)...)
	}
	x.harness, err = v.session(cmd, clients)
	return x, err
}

func (v *verifyFlags) version(set *manifest.Set, o verify.ModelOptions) judged {
	m := verify.NewModel(set, o)
	return judged{m, m.Classes(v.every)}
}

// session are the options of a session with those who ask.
func (v *verifyFlags) session(cmd *cobra.Command, clients []egress.Client) (harness.Options, error) {
	_, all, err := suites.Load()
	if err != nil {
		return harness.Options{}, err
	}
	own := slices.DeleteFunc(all, func(c egress.Client) bool { return c.Name != "client" && c.Name != egress.ControlClient })
	ho, err := v.o.session(cmd, selected{clients: append(own, clients...), fixtures: fixtures.FS})
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

// run brings everything up, asks, has the report told, and takes everything down.
func (x *verification) run(cmd *cobra.Command, tell func(*verify.Report) error) (*verify.Report, error) {
	ctx := cmd.Context()
	s, err := harness.Open(ctx, x.harness)
	if err != nil {
		return nil, err
	}
	rep, err := x.in(ctx, s)
	if err == nil {
		err = tell(rep) // taking down what stood takes as long again
	}
	if x.flags.keep && err == nil {
		err = s.Keep()
	}
	return rep, errors.Join(err, s.Close(context.WithoutCancel(ctx)))
}

// in verifies in a session.
func (x *verification) in(ctx context.Context, s *harness.Session) (*verify.Report, error) {
	models := []*verify.Model{x.now.model}
	if x.before != nil {
		models = append(models, x.before.model)
	}
	outside, err := verify.NewOutside(s.InternetHosts(), x.expected, models...)
	if err != nil {
		return nil, err
	}
	if err := s.SetGuests(ctx, outside.Guests); err != nil {
		return nil, err
	}
	var was []verify.Answer
	var notes []string
	if x.before != nil {
		heard, more, err := x.before.hear(ctx, s, outside, false)
		if err != nil {
			return nil, fmt.Errorf("ask of %s: %w", x.flags.base, err)
		}
		was, notes = x.before.model.Answers(outside, heard), more
	}
	heard, more, err := x.now.hear(ctx, s, outside, true)
	if err != nil {
		return nil, err
	}
	rep := verify.NewReport(x.now.model, outside, heard)
	rep.Istio, rep.Timings, rep.Faults = s.Environment().Istio, s.Timings(), slices.Concat(notes, more)
	if x.before != nil {
		rep.Since(x.flags.base, x.before.model, was, x.now.model)
	}
	if x.expected != nil {
		rep.Against(x.expected)
	}
	return rep, nil
}

// hear lets a version stand, and asks.
func (v *judged) hear(ctx context.Context, s *harness.Session, outside *verify.Outside, last bool) ([]verify.Heard, []string, error) {
	m := v.model
	st := harness.Standing{Config: m.Mesh.Config, Objects: m.Applied(), Secrets: m.Secrets(), Gateways: m.Gateways, GatewayAPI: m.GatewayAPI(), Last: last}
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
	var out []verify.Heard
	for _, c := range v.classes {
		if why := got.Unstarted[c.Client]; why != nil {
			m.Unstarted(c, why)
			continue
		}
		h := got.Heard[c.Client]
		out = append(out, verify.Heard{Class: c, Results: h.Results, Around: h.Around})
	}
	return out, got.Notes, nil
}
