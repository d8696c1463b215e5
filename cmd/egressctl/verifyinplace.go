package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"mesh-egress-conformance/fixtures"
	"mesh-egress-conformance/framework/cluster"
	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/harness"
	"mesh-egress-conformance/framework/internet"
	"mesh-egress-conformance/framework/mesh"
	"mesh-egress-conformance/framework/provider"
	"mesh-egress-conformance/framework/report"
	"mesh-egress-conformance/framework/snapshot"
	"mesh-egress-conformance/framework/verify"
)

// inPlaceFlags are those of asking in a live cluster itself.
type inPlaceFlags struct {
	set      bool
	stranger string
}

// checkInPlace finds flags that contradict --in-place, or that are for it alone.
func (v *verifyFlags) checkInPlace(args []string) error {
	given := v.inPlace.set
	switch {
	case !given && v.inPlace.stranger != "":
		return errors.New("--stranger is a host for --in-place: the dry mesh has one of its own")
	case !given && v.o.clientImage != "":
		return errors.New("--client-image is for --in-place: the dry mesh has its own")
	case !given:
		return nil
	case !v.isLive():
		return errors.New("--in-place asks in a live cluster itself: name it with --kubeconfig FILE or --context NAME")
	case len(args) > 0:
		return errors.New("--in-place asks what holds in the cluster as it is: leave the files out, or leave --in-place out to see in a dry mesh what they would change")
	case v.base != "":
		return errors.New("--base is about files, and --in-place about a cluster: leave one of them out")
	case v.watch:
		return errors.New("--watch proves again when a file is saved, and --in-place reads none: leave one of them out")
	case v.o.istio != "" || v.o.istioSource != "":
		return errors.New("--istio and --istio-source say of which version a dry mesh is, and --in-place asks the Istio that the cluster has: leave them out")
	case v.o.allowInstall:
		return errors.New("--allow-install puts Istio into a cluster, and --in-place changes nothing: leave it out")
	case v.meshConfig != "":
		return errors.New("--mesh-config is for a dry mesh, and with --in-place the cluster's own settings hold: leave it out")
	case v.keep:
		return errors.New("--keep leaves a cluster that this brought up, and --in-place brings none up: leave it out")
	case v.o.provider != provider.Auto && v.o.provider != provider.Existing:
		return fmt.Errorf("--provider %s makes a cluster, and --in-place asks one that is there: leave it out", v.o.provider)
	case v.inPlace.stranger != "" && v.standIns():
		return errors.New("--stranger is called at the real outside; with --internet hermetic a pod plays one")
	}
	if s := v.inPlace.stranger; s != "" {
		if why := internet.NameFault(s); why != "" || !strings.Contains(s, ".") || strings.Contains(s, "*") {
			return fmt.Errorf("--stranger %s: give the name of a host, such as example.com, that may be called with GET of /", s)
		}
	}
	_, err := cluster.ParseInternet(v.o.internet)
	return err
}

// standIns says whether pods are to play the outside.
func (v *verifyFlags) standIns() bool { return v.o.internet == string(cluster.Hermetic) }

// asking is one verification in place.
type asking struct {
	flags    *verifyFlags
	snapshot *snapshot.Snapshot
	model    *verify.Model
	classes  []verify.Class
	chosen   []verify.Class // that can be asked
	outside  *verify.Outside
	left     []verify.Unasked
	safe     verify.Safe
	expected *verify.Expectations
}

// runInPlace asks in the live cluster itself, and reports.
func (v *verifyFlags) runInPlace(cmd *cobra.Command, start time.Time) error {
	x, err := v.prepareInPlace(cmd)
	if err != nil {
		return err
	}
	return v.reported(cmd, start, func(_ *report.Folder, tell tellReport) (*verify.Report, error) { return x.run(cmd, tell) })
}

// prepareInPlace reads the cluster and says what is to be asked; it makes nothing.
func (v *verifyFlags) prepareInPlace(cmd *cobra.Command) (*asking, error) {
	x := &asking{flags: v, safe: verify.Safe{StandIns: v.standIns(), Stranger: v.inPlace.stranger}}
	var err error
	if x.expected, _, err = expectations(v.expectations); err != nil {
		return nil, err
	}
	if x.snapshot, err = v.readLive(cmd, snapshot.Options{Namespaces: v.namespaces, InPlace: true}); err != nil {
		return nil, err
	}
	x.model = verify.NewModel(x.snapshot.Set, verify.ModelOptions{Running: x.snapshot.Running, InPlace: true})
	x.classes = x.model.Classes(v.every)
	hosts, err := internet.DefaultHosts()
	if err != nil {
		return nil, err
	}
	all, err := verify.NewOutside(hosts, x.expected, x.model)
	if err != nil {
		return nil, err
	}
	x.outside, x.left = all.Safe(x.model, x.safe)
	if len(x.outside.Questions) == 0 {
		return nil, fmt.Errorf("%s: nothing can be asked in place, and nothing was made: no object names a host that is safe to call%s; --expectations FILE names what to ask, --stranger HOST a host that should be closed", x.snapshot.Name, whys(x.left))
	}
	return x, nil
}

// whys are the reasons why something is not asked.
func whys(left []verify.Unasked) string {
	var out strings.Builder
	for _, u := range left {
		fmt.Fprintf(&out, "\n  %s: %s", strings.Join(u.What[:min(len(u.What), 3)], ", "), u.Why)
	}
	return out.String()
}

// choose says who asks, by what sidecars log.
func (x *asking) choose(l mesh.Logging) ([]egress.Client, error) {
	var err error
	x.chosen, err = x.model.InPlace(x.snapshot.Set, x.classes, verify.Logs(l))
	return x.model.InPlaceClients(x.chosen), err
}

func (x *asking) run(cmd *cobra.Command, tell func(*verify.Report) error) (*verify.Report, error) {
	ctx := cmd.Context()
	own, err := ownClients()
	if err != nil {
		return nil, err
	}
	ho, err := x.flags.o.session(cmd, selected{clients: own, fixtures: fixtures.FS})
	if err != nil {
		return nil, err
	}
	if !x.flags.verbose {
		ho.Log = nil
	}
	in := harness.InPlaceOptions{Choose: x.choose}
	if x.safe.StandIns {
		in.Hosts, in.Players = x.outside.Hosts(), x.outside.Players(x.model)
	}
	s, err := harness.OpenInPlace(ctx, ho, in)
	if err != nil {
		return nil, err
	}
	rep, err := x.ask(ctx, s)
	if err == nil {
		err = tell(rep)
	}
	return rep, errors.Join(err, s.Close(context.WithoutCancel(ctx)))
}

// ask asks, and reads the answers.
func (x *asking) ask(ctx context.Context, s *harness.Session) (*verify.Report, error) {
	var probes []egress.Probe
	for _, q := range x.outside.Questions {
		probes = append(probes, q.Probe(""))
	}
	got, err := s.AskInPlace(ctx, probes, x.model.Deciding(), x.model.Mesh.Policy)
	if err != nil {
		return nil, err
	}
	heard := heardOf(x.model, x.chosen, got)
	rep := verify.NewReport(x.model, x.outside, heard)
	rep.InPlace = verify.InPlaceOf(x.snapshot.Name, x.safe, len(x.chosen), x.left)
	rep.Istio, rep.Timings, rep.Faults, rep.Notices = s.Environment().Istio, s.Timings(), got.Notes, x.snapshot.Notices
	if x.expected != nil {
		rep.Against(x.expected)
	}
	return rep, nil
}
