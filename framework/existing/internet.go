package existing

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/fixture"
	"mesh-egress-conformance/framework/internet"
	"mesh-egress-conformance/framework/kube"
	"mesh-egress-conformance/framework/limits"
	"mesh-egress-conformance/framework/pods"
)

// Ports of a pod of the internet. The control API listens on the pod's loopback alone.
const (
	controlPort = 8098
	programPort = 8099
)

// Internet is the hermetic internet as pods without sidecar, one for each host, because a host is told by
// its address. Only pods of the run know its names.
type Internet struct {
	// DNS is the address of its name server, CA what its hosts' certificates are signed by.
	DNS string
	CA  []byte

	parts []*part
	mu    sync.Mutex
	last  int64 // number of the last arrival
}

// part is one pod.
type part struct {
	client  *internet.Client
	numbers []int64 // of its arrivals, in one numbering with the other parts'
	stop    func()
}

// InternetOptions for StartInternet.
type InternetOptions struct {
	Config    *rest.Config
	Clientset kubernetes.Interface
	Fixtures  *fixture.Client // makes its namespace
	Run       string
	Image     string          // has a shell, curl and gunzip
	Hosts     *internet.Hosts // all that cases may call
	Names     []string        // those of them that must be there
	Program   string          // this program, for the pods' platform
	Limits    limits.Limits
	AnyUser   bool // the cluster chooses the pods' user (OpenShift)
}

// Namespace is where the internet of a run lives.
func Namespace(run string) string { return "egress-internet-" + run }

// StartInternet starts the pods and waits until every host listens. What it has made is removed with
// everything else that carries the run's label.
func StartInternet(ctx context.Context, o InternetOptions) (*Internet, error) {
	ns := Namespace(o.Run)
	_, err := o.Fixtures.Apply(ctx, "", &fixture.Object{Object: map[string]any{
		"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": ns, "labels": map[string]any{"istio-injection": "disabled"}},
	}})
	if err != nil {
		return nil, fmt.Errorf("make a namespace for the hermetic internet: %w", err)
	}
	var names []string // one pod for each
	o.Hosts.Subset(o.Names, func(h internet.Host) netip.Addr { names = append(names, h.Name); return h.Addresses()[0] })
	if len(names) == 0 {
		return nil, errors.New("the cases name no host of the internet that a pod could play")
	}
	address := make([]netip.Addr, len(names))
	if err := each(len(names), func(i int) error {
		var err error
		address[i], err = startPart(ctx, o, i)
		return err
	}); err != nil {
		return nil, fmt.Errorf("start the hermetic internet: %w", err)
	}
	ca, err := internet.NewCA("mesh-egress-conformance " + o.Run)
	if err != nil {
		return nil, err
	}
	n := 0
	hosts := o.Hosts.Subset(names, func(internet.Host) netip.Addr { n++; return address[n-1] })
	hosts.DNS = address[0]
	in := &Internet{DNS: hosts.DNS.String(), CA: ca.CertPEM}
	cfg := internet.Config{Hosts: hosts, CA: ca, Upstream: internet.OwnResolver, Control: fmt.Sprintf("127.0.0.1:%d", controlPort), Token: rand.Text()}
	if err := o.give(ctx, 0); err != nil {
		return nil, err
	}
	fetch := fmt.Sprintf("http://%s", netip.AddrPortFrom(address[0], programPort))
	in.parts, err = beginParts(len(names), func(i int) (*part, error) {
		c := cfg
		c.Mine = address[i]
		if i == 0 {
			c.Program = netip.AddrPortFrom(address[0], programPort).String()
		} else if err := o.exec(ctx, i, nil, "curl -sSf --retry 50 --retry-connrefused --retry-delay 1 -o /work/program "+fetch+" && chmod 755 /work/program"); err != nil {
			return nil, err
		}
		return o.begin(ctx, i, c)
	})
	if err != nil {
		return nil, errors.Join(err, in.Close())
	}
	return in, nil
}

// beginParts begins the first part, from which the others have their program, and then those side by side. Where one
// fails, those that have begun are returned too.
func beginParts(n int, begin func(i int) (*part, error)) ([]*part, error) {
	parts := make([]*part, n)
	one := func(i int) (err error) {
		parts[i], err = begin(i)
		return err
	}
	if err := one(0); err != nil {
		return parts, err
	}
	return parts, each(n-1, func(i int) error { return one(i + 1) })
}

// each runs f side by side and joins the errors.
func each(n int, f func(int) error) error {
	var wg sync.WaitGroup
	errs := make([]error, n)
	for i := range n {
		wg.Go(func() { errs[i] = f(i) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func podName(i int) string { return fmt.Sprintf("host-%d", i) }

// waiting is what a pod does until it has its program and knows who it is.
const waiting = `until [ -s /work/config.json ]; do sleep 0.1; done; exec /work/program ` + internet.Arg + ` /work/config.json`

func startPart(ctx context.Context, o InternetOptions, i int) (netip.Addr, error) {
	ns, yes, no := Namespace(o.Run), true, false
	now := int64(0)
	var user *int64
	if !o.AnyUser {
		u := int64(1000)
		user = &u
	}
	_, err := o.Clientset.CoreV1().Pods(ns).Create(ctx, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: podName(i), Labels: map[string]string{
			"app": podName(i), fixture.RunLabel: o.Run, "sidecar.istio.io/inject": "false", "istio.io/dataplane-mode": "none",
		}},
		Spec: corev1.PodSpec{
			AutomountServiceAccountToken: &no, TerminationGracePeriodSeconds: &now,
			// A safe sysctl: every process of the pod may listen on port 80.
			SecurityContext: &corev1.PodSecurityContext{Sysctls: []corev1.Sysctl{{Name: "net.ipv4.ip_unprivileged_port_start", Value: "0"}}},
			Containers: []corev1.Container{{
				Name: "host", Image: o.Image, ImagePullPolicy: corev1.PullIfNotPresent, Command: []string{"/bin/sh", "-c", waiting},
				SecurityContext: &corev1.SecurityContext{RunAsNonRoot: &yes, RunAsUser: user, AllowPrivilegeEscalation: &no, Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}, SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}},
				VolumeMounts:    []corev1.VolumeMount{{Name: "work", MountPath: "/work"}},
			}},
			Volumes: []corev1.Volume{{Name: "work", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory}}}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		return netip.Addr{}, err
	}
	pod, err := pods.WaitPodReady(ctx, o.Clientset, ns, "app="+podName(i), o.Limits.Pods)
	if err != nil {
		return netip.Addr{}, err
	}
	return netip.ParseAddr(pod.Status.PodIP)
}

func (o InternetOptions) exec(ctx context.Context, i int, stdin io.Reader, script string) error {
	_, err := kube.Exec(ctx, o.Config, o.Clientset, Namespace(o.Run), podName(i), "host", stdin, "/bin/sh", "-c", script)
	return err
}

// give copies this program into a pod.
func (o InternetOptions) give(ctx context.Context, i int) error {
	f, err := os.Open(o.Program)
	if err != nil {
		return fmt.Errorf("read this program: %w", err)
	}
	defer f.Close()
	r, w := io.Pipe()
	go func() {
		z, err := gzip.NewWriterLevel(w, gzip.BestSpeed)
		if err == nil {
			_, err = io.Copy(z, f)
			err = errors.Join(err, z.Close())
		}
		w.CloseWithError(err)
	}()
	defer r.CloseWithError(io.ErrClosedPipe)
	if err := o.exec(ctx, i, r, "gunzip > /work/part && chmod 755 /work/part && mv /work/part /work/program"); err != nil {
		return fmt.Errorf("copy this program into the internet's first pod: %w", err)
	}
	return nil
}

// begin tells a pod who it is and waits until its hosts listen.
func (o InternetOptions) begin(ctx context.Context, i int, c internet.Config) (*part, error) {
	b, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	if err := o.exec(ctx, i, bytes.NewReader(b), "cat > /work/c && mv /work/c /work/config.json"); err != nil {
		return nil, fmt.Errorf("configure a pod of the internet: %w", err)
	}
	// A port-forward ends at the first connection that nobody accepts, so the listener is waited for inside.
	up := fmt.Sprintf("curl -sS -o /dev/null --retry 300 --retry-connrefused --retry-delay 1 --retry-max-time 60 http://127.0.0.1:%d/", controlPort)
	if err := o.exec(ctx, i, nil, up); err != nil {
		logs, _ := o.Clientset.CoreV1().Pods(Namespace(o.Run)).GetLogs(podName(i), &corev1.PodLogOptions{}).DoRaw(context.WithoutCancel(ctx))
		return nil, fmt.Errorf("wait for a pod of the internet: %w; it says: %s", err, strings.TrimSpace(string(logs)))
	}
	port, stop, err := kube.Forward(ctx, o.Config, o.Clientset, Namespace(o.Run), podName(i), controlPort)
	if err != nil {
		return nil, err
	}
	return &part{client: internet.NewTCPClient(fmt.Sprintf("127.0.0.1:%d", port), c.Token, o.Limits.Control.Internet), stop: stop}, nil
}

// Arrivals returns what arrived anywhere, in one numbering.
func (in *Internet) Arrivals(ctx context.Context, since int64) ([]egress.Arrival, int64, error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	fresh := make([][]egress.Arrival, len(in.parts))
	err := each(len(in.parts), func(i int) error {
		var err error
		p := in.parts[i]
		// What the caller wants is asked for again: an entry is completed while its request is served.
		first, _ := slices.BinarySearch(p.numbers, since)
		fresh[i], _, err = p.client.Arrivals(ctx, int64(first)+1)
		return err
	})
	if err != nil {
		return nil, since, err
	}
	var out []egress.Arrival
	for i, f := range fresh {
		p := in.parts[i]
		for _, a := range f {
			n := int(a.Seq) - 1       // a part numbers its entries from 1,
			for n >= len(p.numbers) { // and leaves some out
				in.last++
				p.numbers = append(p.numbers, in.last)
			}
			if a.Seq = p.numbers[n]; a.Seq >= since {
				out = append(out, a)
			}
		}
	}
	slices.SortFunc(out, func(a, b egress.Arrival) int { return int(a.Seq - b.Seq) })
	return out, in.last + 1, nil
}

// Secrets are what placeholders stand for, see internet.CA.Secrets. Every part accepts them: they share a CA.
func (in *Internet) Secrets(ctx context.Context) (map[string]string, error) {
	return in.parts[0].client.Secrets(ctx)
}

// Break spoils every part, see internet.Server.Break.
func (in *Internet) Break(ctx context.Context, what string) error {
	return each(len(in.parts), func(i int) error { return in.parts[i].client.Break(ctx, what) })
}

// Answer changes what a name resolves to, see internet.Server.Answer. The part that is the DNS server needs it.
func (in *Internet) Answer(ctx context.Context, name, host string) error {
	return each(len(in.parts), func(i int) error { return in.parts[i].client.Answer(ctx, name, host) })
}

// Asked is how often a name was asked for since its answer was changed.
func (in *Internet) Asked(ctx context.Context, name string) (int, error) {
	asked := make([]int, len(in.parts))
	err := each(len(in.parts), func(i int) (err error) {
		asked[i], err = in.parts[i].client.Asked(ctx, name)
		return err
	})
	all := 0
	for _, n := range asked {
		all += n
	}
	return all, err
}

// Close ends the port-forwards; the pods stay. A second call does nothing.
func (in *Internet) Close() error {
	for _, p := range in.parts {
		if p != nil && p.stop != nil {
			p.stop()
			p.stop = nil
		}
	}
	return nil
}
