//go:build linux

package embedded

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/util/wait"

	"mesh-egress-conformance/framework/components"
	"mesh-egress-conformance/framework/internet"
	"mesh-egress-conformance/framework/limits"
)

// event is what supervisor and reaper report to the tool, one JSON object a line.
type event struct {
	Kind string `json:"kind"` // step, ready, failed
	Text string `json:"text,omitempty"`
}

type events struct{ f *os.File }

func (e events) send(kind, text string) {
	b, err := json.Marshal(event{kind, text})
	if err == nil {
		_, _ = e.f.Write(append(b, '\n')) // the tool may be gone; the log has it too
	}
	fmt.Fprintln(os.Stderr, time.Now().UTC().Format(time.RFC3339Nano), kind, text)
}

// supervisorMain is PID 1 of the sandbox and root of its user namespace. It never returns.
func supervisorMain(dir string) {
	for fd := fdEvents; fd < fdEnd; fd++ {
		unix.CloseOnExec(fd)
	}
	ev := events{os.NewFile(fdEvents, "events")}
	join := os.NewFile(fdJoin, "join")
	_, _ = join.Read(make([]byte, 1)) // ends when init has left the topmost cgroup
	join.Close()
	s, err := readSpec(dir)
	if err == nil {
		err = supervise(s, ev)
	}
	if err != nil {
		_, _ = fmt.Fprintln(os.NewFile(fdCause, "cause"), err) // the event and the log say it too
		ev.send("failed", err.Error())
		os.Exit(1)
	}
	os.Exit(0)
}

func supervise(s *spec, ev events) error {
	ctx := context.Background() // ends with the process
	term := make(chan os.Signal, 1)
	signal.Notify(term, unix.SIGTERM)
	if err := unix.Sethostname([]byte(nodeName)); err != nil {
		return fmt.Errorf("name the node: %w", err)
	}
	if err := setUpMounts(s); err != nil {
		return err
	}
	bin, err := writeToolWrappers(s)
	if err != nil {
		return err
	}
	ps := newProcs(searchPath(s, bin), s.logs())
	if err := containerdFiles(s); err != nil {
		return err
	}
	if s.Mode == modeBake {
		return bake(ctx, s, ps)
	}
	died := make(chan error, 1)
	if err := boot(ctx, s, ps, ev, died); err != nil {
		return err
	}
	ev.send("ready", "")
	select {
	case err := <-died:
		return err
	case <-term:
		return nil
	}
}

// searchPath is where the node's programs find each other. The machine's own, of which the sandbox has a few, come last.
func searchPath(s *spec, bin string) string {
	dirs := []string{bin}
	for _, p := range sandboxParts {
		dirs = append(dirs, s.Parts[p])
	}
	return strings.Join(append(dirs, "/bin"), ":")
}

// writeToolWrappers gives iptables its own libraries under its usual names, so that nothing needs to
// be installed on the machine.
func writeToolWrappers(s *spec) (string, error) {
	bin := filepath.Join(runDir, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return "", err
	}
	tools := s.Parts["node-tools"]
	for _, n := range []string{"iptables", "iptables-save", "iptables-restore", "ip6tables", "ip6tables-save", "ip6tables-restore"} {
		script := fmt.Sprintf("#!/bin/sh\nLD_LIBRARY_PATH=%q XTABLES_LIBDIR=%q exec %q %s \"$@\"\n",
			tools+"/lib", tools+"/xtables", tools+"/xtables-nft-multi", n)
		if err := os.WriteFile(filepath.Join(bin, n), []byte(script), 0o755); err != nil {
			return "", err
		}
	}
	return bin, nil
}

// boot starts network, internet and every part. A part that dies later is reported on died.
func boot(ctx context.Context, s *spec, ps *procs, ev events, died chan error) error {
	if err := setUpNodeNetwork(s); err != nil {
		return err
	}
	p, err := newPKI(pkiDir)
	if err != nil {
		return err
	}
	if err := nodeFiles(s, p); err != nil {
		return err
	}
	kc, err := p.kubeconfig(s.Name, "https://127.0.0.1:"+strconv.Itoa(s.Port))
	if err != nil {
		return err
	}
	kubeconfig := os.NewFile(fdKubeconfig, "kubeconfig")
	_, err = kubeconfig.Write(kc)
	if err := errors.Join(err, kubeconfig.Close()); err != nil {
		return fmt.Errorf("write the kubeconfig: %w", err)
	}
	parts := nodeParts(s, p)
	for _, pt := range parts {
		if pt.needs == "" {
			if err := startPart(s, ps, pt, died); err != nil {
				return err
			}
		}
	}
	if err := openInternet(ctx, s, ps, died); err != nil {
		return err
	}
	if err := earlyServiceRules(ctx, ps); err != nil {
		return err
	}
	api, err := net.FileListener(os.NewFile(fdAPI, "api"))
	if err != nil {
		return fmt.Errorf("offer the API server: %w", err)
	}
	serveConnections(ctx, api, "127.0.0.1:"+strconv.Itoa(apiPort))
	ev.send("step", "internet")
	if err := waitFor(ctx, died, "kube-apiserver", dialable(ctx, "tcp", "127.0.0.1:"+strconv.Itoa(apiPort))); err != nil {
		return err
	}
	if err := waitFor(ctx, died, "containerd", dialable(ctx, "unix", containerdSocket)); err != nil {
		return err
	}
	images, err := net.FileListener(os.NewFile(fdImages, "images"))
	if err != nil {
		return fmt.Errorf("offer containerd: %w", err)
	}
	serveForward(ctx, images, func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", containerdSocket)
	})
	pods, err := net.FileListener(os.NewFile(fdPods, "pods"))
	if err != nil {
		return fmt.Errorf("offer connections from inside pods: %w", err)
	}
	servePods(pods, cniResults)
	for _, pt := range parts {
		if pt.needs == "api" {
			if err := startPart(s, ps, pt, died); err != nil {
				return err
			}
		}
	}
	go func() {
		if err := applyFirstObjects(ctx, s); err != nil {
			select {
			case died <- err:
			default: // the first death is the cause
			}
		}
	}()
	return nil
}

// restarts is how often a part that gives up may be started again before the cluster counts as dead.
// The parts that wait for the API server give up when it is slow; the store and the API server
// themselves have no reason to end.
var restarts = map[string]int{"kube-controller-manager": 5, "kube-scheduler": 5, "kubelet": 5, "kube-proxy": 5, "coredns": 5}

func startPart(s *spec, ps *procs, pt part, died chan error) error {
	c := command{name: pt.name, argv: pt.argv}
	pr, err := ps.start(c)
	if err != nil {
		return err
	}
	go func() {
		err := ps.keep(pr, c, restarts[pt.name])
		select {
		case died <- fmt.Errorf("%s of cluster %s %w; the end of its log:\n%s", pt.name, s.Name, err, logTail(s.logFile(pt.name), 12)):
		default: // the first death is the cause
		}
	}()
	return nil
}

// openInternet gives the cluster its internet, and its containers trust in that internet's hosts.
func openInternet(ctx context.Context, s *spec, ps *procs, died chan error) error {
	if s.live() {
		return joinUplink(ctx, s, ps, died)
	}
	ca, err := internet.NewCA("mesh-egress-conformance run CA of cluster " + s.Name)
	if err != nil {
		return err
	}
	if err := trust(s.Root, ca.CertPEM); err != nil {
		return err
	}
	return startInternet(s, ps, ca, died)
}

func startInternet(s *spec, ps *procs, ca *internet.CA, died chan error) error {
	cfg, err := json.Marshal(internetConfig{Hosts: s.Hosts, CA: ca, IPv6: s.IPv6})
	if err != nil {
		return err
	}
	inR, inW, err := os.Pipe()
	if err != nil {
		return err
	}
	defer inR.Close()
	defer inW.Close()
	outR, outW, err := os.Pipe()
	if err != nil {
		return err
	}
	defer outR.Close()
	control := os.NewFile(fdInternet, "control")
	pr, err := ps.start(command{name: "internet", argv: []string{selfExe, argInternet}, stdin: inR, extra: []*os.File{outW, control}, netns: true})
	outW.Close()
	control.Close()
	if err != nil {
		return err
	}
	// Where it has died, what goes wrong here says nothing of why.
	failed := func(err error) error {
		select {
		case <-pr.done:
			return fmt.Errorf("the hermetic internet of cluster %s ended: %s; then: %w", s.Name, describeExit(pr.ws), err)
		case <-time.After(limits.Process().Cluster.Death):
			return err
		}
	}
	if err := connectInternet(s, pr.pid); err != nil {
		return failed(err)
	}
	if _, err := inW.Write(cfg); err != nil {
		return failed(fmt.Errorf("configure the internet: %w", err))
	}
	inW.Close()
	buf := make([]byte, 16)
	if n, _ := outR.Read(buf); n == 0 {
		<-pr.done
		return fmt.Errorf("the hermetic internet did not start: %s\n%s", describeExit(pr.ws), logTail(s.logFile("internet"), 12))
	}
	go func() {
		<-pr.done
		select {
		case died <- fmt.Errorf("the hermetic internet of cluster %s ended: %s; the end of its log:\n%s", s.Name, describeExit(pr.ws), logTail(s.logFile("internet"), 12)):
		default:
		}
	}()
	return nil
}

// waitFor polls a condition for a bounded time, and gives up early when a part has died.
func waitFor(ctx context.Context, died <-chan error, what string, ok func() bool) error {
	var death error
	err := wait.PollUntilContextTimeout(ctx, 10*time.Millisecond, limits.Process().Cluster.Part, true, func(context.Context) (bool, error) {
		if ok() {
			return true, nil
		}
		select {
		case death = <-died:
		default:
		}
		return false, death
	})
	if err != nil && death == nil {
		return fmt.Errorf("wait for %s to accept connections: %w", what, err)
	}
	return err
}

func dialable(ctx context.Context, network, addr string) func() bool {
	return func() bool {
		d := net.Dialer{Timeout: 100 * time.Millisecond}
		c, err := d.DialContext(ctx, network, addr)
		if err == nil {
			c.Close()
		}
		return err == nil
	}
}

// bake unpacks the image archives into a fresh containerd root and stops containerd cleanly, so that
// the root holds images and nothing that ever ran.
func bake(ctx context.Context, s *spec, ps *procs) error {
	pr, err := ps.start(command{name: "containerd", argv: []string{"containerd", "-c", runDir + "/containerd.toml", "--log-level", "warn"}})
	if err != nil {
		return err
	}
	if err := waitFor(ctx, nil, "containerd", dialable(ctx, "unix", containerdSocket)); err != nil {
		return errors.Join(err, errors.New(logTail(s.logFile("containerd"), 12)))
	}
	for _, img := range s.Images {
		if err := ps.run(ctx, "ctr", "-a", containerdSocket, "-n", "k8s.io", "images", "import", "--local", img); err != nil {
			return fmt.Errorf("unpack image archive %s: %w", img, err)
		}
	}
	// The end of a lease makes containerd collect garbage, which it could not in folders that are read-only later.
	for _, lease := range [][]string{{"create", "--id", "bake"}, {"delete", "--sync", "bake"}} {
		if err := ps.run(ctx, append([]string{"ctr", "-a", containerdSocket, "-n", "k8s.io", "leases"}, lease...)...); err != nil {
			return fmt.Errorf("remove what the unpacked images do not need: %w", err)
		}
	}
	pr.terminate(20 * time.Second)
	return nil
}

// trust makes a bundle all that the containers of this cluster trust. In the hermetic internet it is the
// run's CA alone: no other signs a host there, and curl reads one certificate in a tenth of the time that
// it takes for all public ones.
func trust(root string, caPEM []byte) error {
	found, err := filepath.Glob(filepath.Join(root, snapshots, "*/fs", components.TrustMarker))
	if err != nil {
		return err
	}
	if len(found) == 0 {
		return fmt.Errorf("no image in %s has a trust layer; egressctl components prune removes damaged images", root)
	}
	for _, m := range found {
		fs := strings.TrimSuffix(m, components.TrustMarker)
		bundle := filepath.Join(fs, components.BundlePath)
		tmp := bundle + ".new"
		if err := os.WriteFile(tmp, caPEM, 0o644); err != nil {
			return fmt.Errorf("trust the run's CA: %w", err)
		}
		if err := os.Rename(tmp, bundle); err != nil {
			return fmt.Errorf("trust the run's CA: %w", err)
		}
	}
	return nil
}
