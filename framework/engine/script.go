package engine

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/probe"
	"mesh-egress-conformance/framework/probe/wire"
)

// Every probe gets client ports of its own, below the range from which the kernel picks
// (net.ipv4.ip_local_port_range). The kernel would give one port to several connections with
// different destinations; redirected to the sidecar they clash, and conntrack, which remembers a
// closed connection for two minutes, then changes the port on the way, so that the client's log and
// the sidecar's no longer name the same connection. A document's command, which may make several
// connections and cannot tell their ports, is found by its range where it is curl, and by the kernel's range and the
// time in which it ran otherwise, see commands.go.
const (
	firstPort    = 2000
	lastPort     = 32700
	probePorts   = 2 // the second one is for when the first is taken
	commandPorts = 4
	// The sidecar listens on ports of its own among these (istio.io, "Ports used by Istio").
	firstSidecarPort = 15000
	lastSidecarPort  = 15100
	// portCycle is how long it takes until a port is used again. Which ports are handed out follows the clock,
	// so that a run does not meet those of an earlier one in the same pods, however long that took.
	portCycle = 180 * time.Second
)

// idSource hands out probe ids and, for each pod by its name in ClientInfo, client ports.
type idSource struct {
	prefix string

	mu    sync.Mutex
	n     int64
	ports map[string]int64        // by pod: how many ports have gone by since 1970, at the clock's pace or faster
	given map[podPort][]time.Time // when each was handed out

	commands map[string]*podCommands // by pod
}

// podPort is a port of a pod, which is named as in ClientInfo.
type podPort struct {
	pod  string
	port int
}

// ids is shared by all engines of this process: they use the same control client.
var ids = newIDSource()

func newIDSource() *idSource {
	b := make([]byte, 4)
	_, _ = rand.Read(b) // never fails, see crypto/rand
	return &idSource{prefix: hex.EncodeToString(b), ports: map[string]int64{}, given: map[podPort][]time.Time{}, commands: map[string]*podCommands{}}
}

func (s *idSource) id() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.n++
	return fmt.Sprintf("%s-%d", s.prefix, s.n)
}

// TakePorts hands out client ports of a pod, as ClientInfo.Pod names it, for a connection that is no probe's. Without them the
// kernel would pick one of those by which the connections of commands are known.
func TakePorts(pod string) [2]int { return ids.take(pod, probePorts) }

// portsByNow is how many ports have gone by since 1970 at the clock's pace.
func portsByNow() int64 {
	return int64(float64(time.Now().UnixNano()) / float64(portCycle) * (lastPort - firstPort))
}

const (
	// conntrackMemory is how long the kernel remembers a connection that has ended.
	conntrackMemory = 120 * time.Second
	// longest is how long a connection lives at most, near enough: an attempt that is not answered takes ten seconds, one that is held
	// lives on through phases.
	longest = 40 * time.Second
)

// ahead is how long to wait before a pod may be given further ports, because so many were handed out faster than the
// clock's pace that they would come round before the kernel has forgotten them.
func (s *idSource) ahead(pod string, count int) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	lead := s.ports[pod] + int64(count) - portsByNow()
	const spare = portCycle - conntrackMemory - longest
	return max(0, time.Duration(float64(lead)/(lastPort-firstPort)*float64(portCycle))-spare)
}

// pace waits until a pod may be given further ports.
func (s *idSource) pace(ctx context.Context, pod string, count int) error {
	wait := s.ahead(pod, count)
	if wait == 0 {
		return nil
	}
	select {
	case <-time.After(wait):
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait until client ports of the pod %s are free again: %w", pod, ctx.Err())
	}
}

// take hands out the next ports of a pod.
func (s *idSource) take(pod string, count int) [2]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	const all = lastPort - firstPort
	next := max(s.ports[pod], portsByNow())
	port := firstPort + int(next%all)
	skip := 0
	switch {
	case port+count > lastPort:
		skip = lastPort - port
	case port <= lastSidecarPort && port+count > firstSidecarPort:
		skip = lastSidecarPort + 1 - port
	}
	next += int64(skip)
	port = firstPort + int(next%all)
	s.ports[pod] = next + int64(count)
	for p := port; p < port+count; p++ {
		s.given[podPort{pod, p}] = append(s.given[podPort{pod, p}], time.Now())
	}
	return [2]int{port, port + count - 1}
}

// gave says whether a port of a pod was handed out within a time.
func (s *idSource) gave(pod string, port int, from, to time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.given[podPort{pod, port}], func(t time.Time) bool { return !t.Before(from) && !t.After(to) })
}

// seconds is a limit as curl takes it.
func seconds(d time.Duration) int { return int(d.Seconds()) }

// script turns a probe into a request to the probe agent.
func (r *run) script(p egress.Probe, client, pod string, t *try) Script {
	count := probePorts
	if p.Command != "" {
		count = commandPorts
	}
	return r.scriptFrom(p, client, ids.take(pod, count), t)
}

// scriptFrom is script with given client ports.
func (r *run) scriptFrom(p egress.Probe, client string, ports [2]int, t *try) Script {
	id := ids.id()
	s := Script{ID: id, Ports: ports}
	s.Timeout = int(r.e.ProbeTimeout.Milliseconds())
	total, connect := seconds(r.e.Limits.Probe.Total), seconds(r.e.Limits.Probe.Connect)
	patience := total * 1000 // of the agent, in milliseconds
	if p.Dead {              // nobody will answer: do not wait long to see it
		connect = seconds(r.e.Limits.Probe.Dead)
		if client == egress.ControlClient && t.probe.From != client { // where it is asked itself, a timeout would be its answer
			patience = connect * 1000
		}
	}
	switch {
	case p.Command != "":
		// curl reads its configuration from CURL_HOME, so the command itself stays as the document has it.
		s.Script = fmt.Sprintf("export CURL_HOME=/tmp/.curl-%[1]s; mkdir -p $CURL_HOME\n"+
			"printf 'header = \"%[2]s: %[1]s\"\nlocal-port = %[3]d-%[4]d\nconnect-timeout = %[5]d\nmax-time = %[6]d\n' >$CURL_HOME/.curlrc\n"+
			"%[7]s\nrc=$?; rm -rf $CURL_HOME; exit $rc", id, wire.ProbeHeader, s.Ports[0], s.Ports[1], connect, total, p.Command)
	case !r.byCurl(p):
		s.Spec = &probe.Spec{URL: p.URL, Connect: p.Connect, SNI: p.SNI, Send: p.Send, Bare: p.Bare, ID: id, Ports: s.Ports, Timeout: patience}
		if p.Protocol().Keeps { // one connection for each probe of each case
			mark := "?"
			if strings.Contains(p.URL, "?") {
				mark = "&"
			}
			s.Spec.URL += fmt.Sprintf("%sconn=%s-%s-%d", mark, r.id, client, t.index)
		}
		s.Spec.Hold = r.holding(p, client, t)
	default:
		s.Argv = []string{
			"curl", "-sS", "-o", "/dev/null", "-w", "%{json}", "--local-port", fmt.Sprintf("%d-%d", s.Ports[0], s.Ports[1]),
			"--connect-timeout", strconv.Itoa(connect), "-m", strconv.Itoa(total), "-H", wire.ProbeHeader + ": " + id,
		}
		if p.Connect != "" {
			s.Argv = append(s.Argv, "--connect-to", "::"+p.Connect)
		}
		s.Argv = append(append(s.Argv, p.Args...), p.URL)
	}
	return s
}

// holding is what the agent is to do with a connection after its first exchange; nil for nothing.
func (r *run) holding(p egress.Probe, client string, t *try) *probe.Hold {
	switch h := p.Hold; {
	case h.Opens(t.phase):
		return &probe.Hold{Name: fmt.Sprintf("%s-%s-%d", r.id, client, t.index), Open: true}
	case h.Resumes(t.phase):
		return &probe.Hold{Name: fmt.Sprintf("%s-%s-%d", r.id, client, t.index), Resume: true, Pause: int(time.Duration(h.Pause).Milliseconds()), Then: h.Then}
	case h.Within():
		return &probe.Hold{Pause: int(time.Duration(h.Pause).Milliseconds()), Then: h.Then}
	}
	return nil
}

// byCurl says whether curl makes an attempt, and not the probe agent itself.
func (r *run) byCurl(p egress.Probe) bool { return p.Protocol().Web && (r.c.Curl || len(p.Args) > 0) }

// curlReport is the part of curl's %{json} that matters.
type curlReport struct {
	ExitCode   int     `json:"exitcode"`
	HTTPCode   int     `json:"http_code"`
	GRPC       string  `json:"grpc_status"` // the probe agent's own
	LocalIP    string  `json:"local_ip"`
	LocalPort  int     `json:"local_port"`
	RemoteIP   string  `json:"remote_ip"`
	RemotePort int     `json:"remote_port"`
	Total      float64 `json:"time_total"`
	Output     string  `json:"output"` // the probe agent's own
	Error      string  `json:"errormsg"`
	Held       string  `json:"held"` // the probe agent's own
}

// execute runs a probe once from a client.
func (r *run) execute(ctx context.Context, client string, p egress.Probe, t *try) (x round) {
	info, err := r.e.Clients.Describe(client)
	if err != nil {
		x.err = err
		return x
	}
	if p.Command != "" {
		if x.command, x.err = r.beginCommand(ctx, info.pod()); x.err != nil {
			return x
		}
		defer func() { x.command.end(x.exec) }()
	}
	if x.err = ids.pace(ctx, info.pod(), commandPorts); x.err != nil {
		return x
	}
	x.script = r.script(p, client, info.pod(), t)
	patience := r.e.ProbeTimeout
	if p.Hold != nil {
		patience += time.Duration(p.Hold.Pause)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	start := time.Now()
	x.exec, x.err = r.e.Clients.Do(ctx, client, x.script.Request)
	x.client = egress.ClientWitness{Command: p.String(), Took: time.Since(start)}
	if x.err != nil {
		return x
	}
	x.client.ExitCode, x.client.Stderr = x.exec.ExitCode, shorten(x.exec.Stderr)
	if p.Command != "" {
		x.client.Shell, x.client.Command, x.client.Stdout = true, p.Command, shorten(x.exec.Stdout)
		return x
	}
	var rep curlReport
	if err := json.Unmarshal([]byte(x.exec.Stdout), &rep); err != nil {
		x.err = fmt.Errorf("the probe (exit %d) gave no report: %w: %.200q %.200q", x.exec.ExitCode, err, x.exec.Stdout, x.exec.Stderr)
		return x
	}
	if rep.ExitCode != x.exec.ExitCode {
		x.err = fmt.Errorf("the probe reports exit %d and the agent %d", rep.ExitCode, x.exec.ExitCode)
		return x
	}
	r.report(&x, rep, p, info)
	return x
}

// report fills in what an attempt's report says.
func (r *run) report(x *round, rep curlReport, p egress.Probe, from ClientInfo) {
	x.client.HTTPCode, x.client.GRPC, x.client.Raw, x.client.Held = rep.HTTPCode, rep.GRPC, p.Raw(), rep.Held
	if !r.byCurl(p) {
		x.client.Stdout, x.client.Stderr = shorten(rep.Output), shorten(rep.Error)
	}
	if rep.LocalPort > 0 {
		x.client.Local = net.JoinHostPort(from.toward(rep.RemoteIP), strconv.Itoa(rep.LocalPort))
	}
	if rep.RemotePort > 0 {
		x.client.Remote = net.JoinHostPort(rep.RemoteIP, strconv.Itoa(rep.RemotePort))
	}
}

// batchSize is how many attempts of a probe one request to an agent has.
const batchSize = 50

// batch makes attempts of probes of one client, which the agent makes itself, by one request, one after another: as many as there is
// time for, see probe.Request.
func (r *run) batch(ctx context.Context, tries []*try) []round {
	from := tries[0].probe.From
	info, err := r.e.Clients.Describe(from)
	if err != nil {
		return []round{{err: err}}
	}
	out := make([]round, min(len(tries), batchSize))
	// They are made one after another, so each one's spare port may be the next one's first.
	count := len(out) + probePorts - 1
	if err := ids.pace(ctx, info.pod(), count); err != nil {
		return []round{{err: err}}
	}
	ports := ids.take(info.pod(), count)
	var q probe.Request
	for i := range out {
		out[i].script = r.scriptFrom(tries[i].probe, from, [2]int{ports[0] + i, ports[0] + i + probePorts - 1}, tries[i])
		q.Batch = append(q.Batch, *out[i].script.Spec)
	}
	ctx, cancel := context.WithTimeout(ctx, r.e.ProbeTimeout)
	defer cancel()
	start := time.Now()
	exec, err := r.e.Clients.Do(ctx, from, q)
	var reports []curlReport
	if err == nil {
		err = json.Unmarshal([]byte(exec.Stdout), &reports)
	}
	if err == nil && (len(reports) == 0 || len(reports) > len(out)) {
		err = fmt.Errorf("%d reports of %d attempts", len(reports), len(out))
	}
	if err != nil {
		return []round{{err: fmt.Errorf("make %d attempts from client %q: %w", len(out), from, err)}}
	}
	took := time.Since(start) / time.Duration(len(reports))
	for i, rep := range reports {
		out[i].exec = Execution{ExitCode: rep.ExitCode}
		out[i].client = egress.ClientWitness{Command: tries[i].probe.String(), ExitCode: rep.ExitCode, Took: took}
		r.report(&out[i], rep, tries[i].probe, info)
	}
	return out[:len(reports)]
}

func shorten(s string) string {
	const limit = 2000
	if len(s) > limit {
		return s[:limit] + "…"
	}
	return s
}
