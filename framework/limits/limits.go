// Package limits has every time limit of the harness, in one struct with names, units and reasons. They are for a
// machine of usual speed; Stretched makes those for a slower one. Nothing becomes slower by a longer limit where things
// are fast: it only says when to give up.
//
// The package opens nothing and waits for nothing. Process alone reads the environment, once; what is below a program's
// main function gets a Limits from its caller.
package limits

import (
	"os"
	"strconv"
	"sync"
	"time"
)

// Limits are all time limits. The zero value is no valid one: use Default, or OrDefault where a caller may have left
// it out.
type Limits struct {
	// Slowness is by how much the limits were stretched; 1 for none.
	Slowness int

	Cluster Cluster
	Pods    Pods
	Control Control
	Push    Push
	Log     Log
	Probe   Probe
	Page    Page
}

// Cluster bounds the start and the end of clusters.
type Cluster struct {
	// APIServer bounds the start of the API server, and of what answers only when it does.
	APIServer time.Duration
	// Connect bounds the wait for one connection into a sandbox, which its supervisor makes.
	Connect time.Duration
	// Part bounds the start of one part of an embedded cluster: etcd with an empty disk takes the longest.
	Part time.Duration
	// Node bounds the start of what a node of kind must have before it can be used.
	Node time.Duration
	// Answer bounds one question to the API server of somebody else's cluster, which may be far away, or gone.
	Answer time.Duration
	// List bounds one page of a list of such a cluster: five hundred pods are some MiB.
	List time.Duration
	// Chart bounds the installation of one Helm chart, without the start of its pods.
	Chart time.Duration
	// GatewayAPI bounds the wait until istiod watches CRDs that it has just been given. It looks for them every few
	// seconds.
	GatewayAPI time.Duration
	// Death is how much later than its effects the death of a cluster may be known.
	Death time.Duration
	// PodDeath is how much later than its end the kubelet may report that of a container.
	PodDeath time.Duration
	// Back bounds the wait until an istiod that has ended serves again, and its proxies are connected to it.
	Back time.Duration
	// Close bounds the removal of everything that a run has made. On a busy machine the end of twenty namespaces takes minutes, for each
	// of which every kind is listed; an API server that does not answer is given up long before.
	Close time.Duration
	// Bundle bounds the collection of one debug bundle, which is best effort.
	Bundle time.Duration
}

// Pods bounds what is done with client pods.
type Pods struct {
	// Ready bounds the start of one pod, its image being on the node or near.
	Ready time.Duration
	// Slow takes the place of Ready where nothing has gone wrong with a pod so far: on a busy machine it is slow.
	Slow time.Duration
	// Connected bounds the wait until the istiod that serves the proxy of a running pod knows it, which it may have to be told
	// again after a restart: Envoy tries anew after a pause that grows to 30 s (RetryMaxDelayMs of its xDS subscriptions).
	Connected time.Duration
	// Request bounds one request that the harness makes from a pod for itself.
	Request time.Duration
}

// Control bounds questions to the control plane of the test: the hermetic internet and its names.
type Control struct {
	// Internet bounds one request to the hermetic internet's control API, which answers from memory, and may be slow to get a
	// processor.
	Internet time.Duration
	// InternetStart bounds the start of a hermetic internet that has its own container.
	InternetStart time.Duration
	// Renew bounds the wait until a proxy asks for a name again. The answers may be kept for a second; a DNS server in
	// between may keep them for some more.
	Renew time.Duration
	// GiveUp is how long after its last question a resolver has surely given up: it asks again at once a few times
	// when it is told of a failure.
	GiveUp time.Duration
	// Reach bounds one connection to a host, to see whether it is there at all.
	Reach time.Duration
	// Enforce bounds the wait until a NetworkPolicy is in the packet filter of every node, or out of it. It is a fraction
	// of a second on an idle machine: all rules of all pods are written anew.
	Enforce time.Duration
}

// Log bounds the wait for lines of access logs.
type Log struct {
	// Flush bounds the wait for a line that the proxy surely writes, through the kubelet of a busy machine too.
	Flush time.Duration
	// Line bounds the wait for one that may never come. Envoy flushes every second unless told otherwise.
	Line time.Duration
	// Attach bounds the wait for each line by which a log stream shows that it follows. The kubelet may begin to follow
	// only after that line was written, so it must be short.
	Attach time.Duration
}

// Probe bounds probes and phases.
type Probe struct {
	// Connect and Total bound the connection and the whole of an attempt, as curl's options of the same name do. They
	// have whole seconds.
	Connect, Total time.Duration
	// Dead takes the place of Connect where nobody is going to answer: it is the least that curl can be told.
	Dead time.Duration
	// Command bounds a probe's command as a whole, with the way into the pod.
	Command time.Duration
	// Phase bounds the repetitions of a phase whose result is not the wanted one.
	Phase time.Duration
	// Resolve takes the place of Phase where a proxy has no address of a name that has one: Istio has it ask again a minute after a
	// question to DNS that was not answered.
	Resolve time.Duration
	// Restore bounds what a case takes back at its end, also when it was cut short.
	Restore time.Duration
}

// Page bounds the commands of pages of documentation.
type Page struct {
	// Block bounds one block of commands: the longest waits for a pod.
	Block time.Duration
	// Retry bounds the repetitions of a block that does not print yet what the page has, and Pace is the time between two.
	Retry, Pace time.Duration
	// Learn bounds the repetitions where the page is going to be rewritten. What comes then is taken for what comes at last, so it
	// has to be longer than a change takes to reach a proxy.
	Learn time.Duration
	// Settle bounds the wait until what a page has deleted is gone, with what belonged to it.
	Settle time.Duration
}

// Default are the limits for a machine of usual speed.
func Default() Limits {
	return Limits{
		Slowness: 1,
		Cluster: Cluster{
			APIServer: 60 * time.Second, Connect: 30 * time.Second, Part: 60 * time.Second, Node: 30 * time.Second, Answer: 10 * time.Second, List: 60 * time.Second, Chart: 2 * time.Minute,
			GatewayAPI: 30 * time.Second, Death: time.Second, PodDeath: 3 * time.Second, Back: 20 * time.Second, Close: 5 * time.Minute, Bundle: 15 * time.Second,
		},
		Pods:    Pods{Ready: 60 * time.Second, Slow: 5 * time.Minute, Connected: 45 * time.Second, Request: 5 * time.Second},
		Control: Control{Internet: 20 * time.Second, InternetStart: 20 * time.Second, Renew: 20 * time.Second, GiveUp: 300 * time.Millisecond, Reach: 3 * time.Second, Enforce: 30 * time.Second},
		Push:    pushLimits(debounce),
		Log:     Log{Flush: 30 * time.Second, Line: 5 * time.Second, Attach: 300 * time.Millisecond},
		Probe: Probe{
			Connect: 3 * time.Second, Total: 10 * time.Second, Dead: time.Second, Command: 20 * time.Second, Phase: 3 * time.Second, Resolve: 75 * time.Second,
			Restore: 30 * time.Second,
		},
		Page: Page{Block: 2 * time.Minute, Retry: 20 * time.Second, Pace: 200 * time.Millisecond, Learn: 5 * time.Second, Settle: 20 * time.Second},
	}
}

// Stretched returns limits that are so many times as long; a factor below 1 counts as 1. Paces and istiod's own
// settings (Page.Pace, Push.Debounce, Push.Ask.Pause, Push.Ask.Relist, Push.Sent.Soonest) stay as they are, and so do counts of answers: slow answers
// already take their time.
func (l Limits) Stretched(factor int) Limits {
	factor = max(1, factor)
	l.Slowness *= factor
	for _, d := range l.durations() {
		*d *= time.Duration(factor)
	}
	return l
}

// durations are all that stretches.
func (l *Limits) durations() []*time.Duration {
	return []*time.Duration{
		&l.Cluster.APIServer, &l.Cluster.Connect, &l.Cluster.Part, &l.Cluster.Node, &l.Cluster.Answer, &l.Cluster.List, &l.Cluster.Chart, &l.Cluster.GatewayAPI,
		&l.Cluster.Death, &l.Cluster.PodDeath, &l.Cluster.Back, &l.Cluster.Close, &l.Cluster.Bundle,
		&l.Pods.Ready, &l.Pods.Slow, &l.Pods.Connected, &l.Pods.Request,
		&l.Control.Internet, &l.Control.InternetStart, &l.Control.Renew, &l.Control.GiveUp, &l.Control.Reach, &l.Control.Enforce,
		&l.Push.Gathering, &l.Push.Sent.Unheard, &l.Push.Change.EndpointEcho, &l.Push.Ask.Answer, &l.Push.Ask.Silence,
		&l.Push.Sent.Unconcerned.Time, &l.Push.Sent.Next.Time, &l.Push.Rest.Quiet.Time, &l.Push.Rest.Computed.Time, &l.Push.Sent.Acknowledged.Time, &l.Push.Sent.Answered.Time,
		&l.Push.Change.Seen.Time, &l.Push.Change.Addresses.Time, &l.Push.Rest.Becomes.Time,
		&l.Log.Flush, &l.Log.Line, &l.Log.Attach,
		&l.Probe.Connect, &l.Probe.Total, &l.Probe.Dead, &l.Probe.Command, &l.Probe.Phase, &l.Probe.Resolve, &l.Probe.Restore,
		&l.Page.Block, &l.Page.Retry, &l.Page.Learn, &l.Page.Settle,
	}
}

// OrDefault returns Default for limits that were left out.
func (l Limits) OrDefault() Limits {
	if l == (Limits{}) {
		return Default()
	}
	return l
}

// SlowEnv names the environment variable that stretches every limit of a process, for machines that are much
// slower than usual, such as an emulated one: EGRESS_SLOW=20 waits twenty times as long before giving up.
const SlowEnv = "EGRESS_SLOW"

// Process are the limits of this process, by SlowEnv as it was when they were first asked for. It is for programs, and
// for parts of a cluster that are processes of their own; libraries get theirs from whoever calls them.
var Process = sync.OnceValue(func() Limits { return parse(os.Getenv(SlowEnv)) })

// parse makes the limits that a value of SlowEnv means. What is no number of at least 1 counts as 1.
func parse(slowness string) Limits {
	n, err := strconv.Atoi(slowness)
	if err != nil {
		n = 1
	}
	return Default().Stretched(n)
}

// Env is SlowEnv for a child process, as NAME=VALUE.
func (l Limits) Env() string { return SlowEnv + "=" + strconv.Itoa(max(1, l.Slowness)) }
