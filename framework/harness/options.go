package harness

import (
	"context"
	"fmt"
	"io"
	"io/fs"

	"mesh-egress-conformance/framework/cluster"
	"mesh-egress-conformance/framework/components"
	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/internet"
	"mesh-egress-conformance/framework/limits"
	"mesh-egress-conformance/framework/provider"
	"mesh-egress-conformance/framework/schedule"
)

// Options say what to run in.
type Options struct {
	Provider string
	Place    provider.Options
	Name     string
	// Components are what a cluster is made of that is brought up. A running one is refused that has another Istio than they name, or
	// lacks one of Also.
	Components components.Options
	// AlsoOfCases has a cluster that is brought up carry those Istios, too, that clients of Cases are bound to and that are in the
	// cache: they become Components.AlsoCached.
	AlsoOfCases bool
	Port        int
	Lanes       int // how many cases may run side by side; 0 means DefaultLanes
	// Watch lets a session into a cluster in which a run is at work. It only observes.
	Watch bool
	// StrictCluster refuses a cluster of the harness's own in which something is that it has not installed.
	StrictCluster bool
	// Internet is the one that cases call. "" is that of the running cluster, or the hermetic one.
	Internet cluster.InternetKind
	// Profile is what a cluster is made for that is brought up (Up).
	Profile cluster.Profile
	// Hosts are what cases may call; nil means those that are built in.
	Hosts    *internet.Hosts
	Sabotage Sabotage
	Clients  []egress.Client // all that cases may name
	Fixtures fs.FS
	// AllowInstall lets a session on somebody else's cluster install Istio where there is none.
	AllowInstall bool
	// Cases that are going to run, and the image of client pods ("" chooses): for a cluster of somebody else.
	Cases []egress.Case
	// OwnCases says that they are the user's own: on such a cluster, it is an error and no reason to skip one that
	// it would make objects outside the run's own namespaces.
	OwnCases    bool
	ClientImage string
	// Command runs the same cases again, as a shell's words: program, subcommand, and the flags that were given, but for
	// those that select cases or name the cluster. Nil means egressctl run.
	Command []string
	// OnFail hears of a case that fails while all that it has applied is still there; the case goes on when it returns. nil
	// hears nothing.
	OnFail func(context.Context, Failing)
	// OnStep hears of each step of the bring-up that is complete, at once, and OnStage of the cases that Run runs. nil hears
	// nothing.
	OnStep  func(step string)
	OnStage schedule.Listener
	// Limits are the time limits; left out, those of this process (limits.SlowEnv).
	Limits limits.Limits
	Log    io.Writer // one line for each step; nil drops them
}

func (o *Options) logf(format string, a ...any) {
	if o.Log != nil {
		fmt.Fprintf(o.Log, format+"\n", a...)
	}
}
