package engine

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"mesh-egress-conformance/framework/egress"
)

// ProbeHeader carries a probe's id to the destination's log. It is evidence beside the connection's
// address, never instead of it.
const ProbeHeader = "X-Egress-Probe"

// Time limits of one curl call, in seconds.
const (
	connectTimeout = 3
	totalTimeout   = 10
)

// Every probe gets client ports of its own, below the range from which the kernel picks
// (net.ipv4.ip_local_port_range). The kernel would give one port to several connections with
// different destinations; redirected to the sidecar they clash, and conntrack then changes the port
// on the way, so that the client's log and the sidecar's no longer name the same connection. A
// document's command, which cannot tell which port it used, is found by its range.
const (
	firstPort = 11000
	lastPort  = 30000
	portRange = 4
)

type idSource struct {
	prefix string
	n      *atomic.Int64
}

func newIDSource() idSource {
	b := make([]byte, 4)
	_, _ = rand.Read(b) // never fails, see crypto/rand
	n := &atomic.Int64{}
	n.Store(time.Now().UnixMilli() / 25) // a run on the same pods begins where no recent one was
	return idSource{prefix: hex.EncodeToString(b), n: n}
}

func (s idSource) next() (id string, port int) {
	n := s.n.Add(1)
	slots := int64((lastPort - firstPort) / portRange)
	return fmt.Sprintf("%s-%d", s.prefix, n), firstPort + int(n%slots)*portRange
}

// script turns a probe into a shell script.
func (e *Engine) script(p egress.Probe) Script {
	id, port := e.ids.next()
	s := Script{ID: id, Ports: [2]int{port, port + portRange - 1}}
	if p.Command != "" {
		// curl reads its configuration from CURL_HOME, so the command itself stays as the document has it.
		s.Text = fmt.Sprintf("export CURL_HOME=/tmp/.curl-%[1]s; mkdir -p $CURL_HOME\n"+
			"printf 'header = \"%[2]s: %[1]s\"\\nlocal-port = %[3]d-%[4]d\\nconnect-timeout = %[5]d\\nmax-time = %[6]d\\n' >$CURL_HOME/.curlrc\n"+
			"%[7]s\nrc=$?; rm -rf $CURL_HOME; exit $rc", id, ProbeHeader, s.Ports[0], s.Ports[1], connectTimeout*egress.Slowness(), totalTimeout*egress.Slowness(), p.Command)
		return s
	}
	args := []string{
		"curl", "-sS", "-o", "/dev/null", "-w", "'%{json}'",
		"--local-port", fmt.Sprintf("%d-%d", s.Ports[0], s.Ports[1]), "--connect-timeout", strconv.Itoa(connectTimeout * egress.Slowness()), "-m", strconv.Itoa(totalTimeout * egress.Slowness()), "-H", quote(ProbeHeader + ": " + id),
	}
	for _, a := range p.Args {
		args = append(args, quote(a))
	}
	s.Text = strings.Join(append(args, quote(p.URL)), " ")
	return s
}

// quote makes one shell word.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// curlReport is the part of curl's %{json} that matters.
type curlReport struct {
	ExitCode   int     `json:"exitcode"`
	HTTPCode   int     `json:"http_code"`
	LocalIP    string  `json:"local_ip"`
	LocalPort  int     `json:"local_port"`
	RemoteIP   string  `json:"remote_ip"`
	RemotePort int     `json:"remote_port"`
	Total      float64 `json:"time_total"`
}

// execute runs a probe once from a client.
func (r *run) execute(ctx context.Context, client string, p egress.Probe) round {
	x := round{script: r.e.script(p)}
	ctx, cancel := context.WithTimeout(ctx, r.e.ProbeTimeout)
	defer cancel()
	start := time.Now()
	x.exec, x.err = r.e.Clients.Exec(ctx, client, x.script.Text)
	x.client = egress.ClientWitness{Command: p.String(), Took: time.Since(start)}
	if x.err != nil {
		return x
	}
	info, err := r.e.Clients.Describe(client)
	if err != nil {
		x.err = err
		return x
	}
	x.client.ExitCode, x.client.Stderr = x.exec.ExitCode, shorten(x.exec.Stderr)
	if p.Command != "" {
		x.client.Shell, x.client.Command, x.client.Stdout = true, p.Command, shorten(x.exec.Stdout)
		return x
	}
	var rep curlReport
	if err := json.Unmarshal([]byte(x.exec.Stdout), &rep); err != nil {
		x.err = fmt.Errorf("curl (exit %d) gave no report: %w: %.200q %.200q", x.exec.ExitCode, err, x.exec.Stdout, x.exec.Stderr)
		return x
	}
	if rep.ExitCode != x.exec.ExitCode {
		x.err = fmt.Errorf("curl reports exit %d and the shell %d", rep.ExitCode, x.exec.ExitCode)
		return x
	}
	x.client.HTTPCode = rep.HTTPCode
	if rep.LocalPort > 0 {
		x.client.Local = net.JoinHostPort(info.IP, strconv.Itoa(rep.LocalPort))
	}
	if rep.RemotePort > 0 {
		x.client.Remote = net.JoinHostPort(rep.RemoteIP, strconv.Itoa(rep.RemotePort))
	}
	return x
}

func shorten(s string) string {
	const limit = 2000
	if len(s) > limit {
		return s[:limit] + "…"
	}
	return s
}
