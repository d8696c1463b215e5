//go:build linux

package embedded

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"mesh-egress-conformance/framework/egress"
)

const (
	nodeName         = "n1"
	containerdSocket = runDir + "/containerd.sock"
	kubeconfigFile   = runDir + "/kubeconfig"
	pkiDir           = runDir + "/pki"
)

// nodeFiles writes the configuration of every part into the sandbox's tmpfs.
func nodeFiles(s *spec, p *pki) error {
	kc, err := p.kubeconfig("embedded", "https://127.0.0.1:"+strconv.Itoa(apiPort))
	if err != nil {
		return err
	}
	files := map[string]string{
		"kubeconfig":           string(kc),
		"kubelet.yaml":         fmt.Sprintf(kubeletConfig, containerdSocket, p.file("ca.crt"), p.file("kubelet.crt"), p.file("kubelet.key"), nodeIP),
		"Corefile":             fmt.Sprintf(corefile, kubeconfigFile, s.nameServer()),
		"cni/10-pods.conflist": fmt.Sprintf(cniConfig, podBridge, runDir, podCIDR, firstPodIP),
	}
	if s.IPv6 {
		files["cni-dual-stack/10-pods.conflist"] = fmt.Sprintf(dualStackNetwork, podBridge, runDir, podCIDR, firstPodIP, podCIDR6, firstPodIP6)
	}
	for name, content := range files {
		f := filepath.Join(runDir, name)
		if err := os.MkdirAll(filepath.Dir(f), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(f, []byte(content), 0o600); err != nil {
			return fmt.Errorf("write %s: %w", f, err)
		}
	}
	return nil
}

// containerdFiles writes containerd's configuration alone, which is all that baking needs.
func containerdFiles(s *spec) error {
	c := fmt.Sprintf(containerdConfig, s.Root, runDir, containerdSocket, s.Pause, s.Parts["cni-plugins"], runDir)
	if s.IPv6 {
		c += fmt.Sprintf(dualStackRuntime, egress.DualStackClass, runDir)
	}
	return os.WriteFile(filepath.Join(runDir, "containerd.toml"), []byte(c), 0o600)
}

// cgroupsPerQOS is off because the sandbox's cgroup is the root that kubelet sees;
// the eviction thresholds are off because the machine's memory and disk are not the node's own.
const kubeletConfig = `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
failCgroupV1: false
featureGates: {KubeletInUserNamespace: true}
cgroupDriver: cgroupfs
cgroupsPerQOS: false
enforceNodeAllocatable: []
evictionHard: {}
localStorageCapacityIsolation: false
containerRuntimeEndpoint: unix://%s
authentication: {anonymous: {enabled: false}, x509: {clientCAFile: %s}, webhook: {enabled: false}}
authorization: {mode: AlwaysAllow}
tlsCertFile: %s
tlsPrivateKeyFile: %s
clusterDNS: [%s]
clusterDomain: cluster.local
resolvConf: /etc/resolv.conf
podLogsDir: /run/podlogs
volumePluginDir: /run/kubelet-plugins
failSwapOn: false
syncFrequency: 60s
nodeStatusUpdateFrequency: 10s
serializeImagePulls: false
imageGCHighThresholdPercent: 100
registerWithTaints: []
kubeAPIQPS: 200
kubeAPIBurst: 400
`

const corefile = `.:53 {
  errors
  kubernetes cluster.local in-addr.arpa ip6.arpa {
    kubeconfig %s
    ttl 5
    fallthrough in-addr.arpa ip6.arpa
  }
  forward . %s
}
`

// tuning sets what containerd does not set in a user namespace: everybody may send echo requests.
const cniConfig = `{"cniVersion":"1.0.0","name":"pods","plugins":[{"type":"bridge","bridge":%q,"isGateway":true,
"ipMasq":false,"hairpinMode":true,"ipam":{"type":"host-local","dataDir":"%s/cni-ipam",
"ranges":[[{"subnet":%q,"rangeStart":%q}]],"routes":[{"dst":"0.0.0.0/0"}]}},
{"type":"tuning","sysctl":{"net.ipv4.ping_group_range":"0 65535"}}]}
`

// restrict_oom_score_adj: root of a user namespace cannot lower scores, and runc fails then. NoNewKeyring: the
// kernel lets users other than root have 200 keys, and the clusters of a machine share a user.
const containerdConfig = `version = 3
root = %q
state = "%s/containerd"
[grpc]
  address = %q
[plugins.'io.containerd.cri.v1.images']
  snapshotter = "overlayfs"
  [plugins.'io.containerd.cri.v1.images'.pinned_images]
    sandbox = %q
[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = [%q]
    conf_dir = "%s/cni"
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
      NoNewKeyring = true
`

// part is one long-running program of the node.
type part struct {
	name  string
	argv  []string
	needs string // "": at once; "api": when the API server accepts connections
}

func nodeParts(s *spec, p *pki) []part {
	return []part{
		{name: "etcd", argv: []string{
			"etcd", "--data-dir", runDir + "/etcd",
			"--listen-client-urls", "http://127.0.0.1:2379", "--advertise-client-urls", "http://127.0.0.1:2379",
			"--listen-peer-urls", "http://127.0.0.1:2380", "--unsafe-no-fsync", "--log-level", "warn",
		}},
		{name: "containerd", argv: []string{"containerd", "-c", runDir + "/containerd.toml", "--log-level", "warn"}},
		{name: "kube-apiserver", argv: []string{
			"kube-apiserver", "--etcd-servers", "http://127.0.0.1:2379",
			"--cert-dir", runDir + "/apicert", "--tls-cert-file", p.file("api.crt"), "--tls-private-key-file", p.file("api.key"),
			"--client-ca-file", p.file("ca.crt"), "--service-account-key-file", p.file("sa.pub"),
			"--service-account-signing-key-file", p.file("sa.key"), "--service-account-issuer", "https://kubernetes.default.svc",
			"--anonymous-auth=false", "--service-cluster-ip-range=" + s.both(serviceCIDR, serviceIP6s), "--secure-port", strconv.Itoa(apiPort), "--authorization-mode", "RBAC",
			"--allow-privileged", "--bind-address", "0.0.0.0", "--advertise-address", nodeIP,
			"--kubelet-client-certificate", p.file("admin.crt"), "--kubelet-client-key", p.file("admin.key"),
			"--kubelet-certificate-authority", p.file("ca.crt"), "--kubelet-preferred-address-types", "InternalIP",
			// Pods may be scheduled the moment the node exists.
			"--disable-admission-plugins", "TaintNodesByCondition",
			"--max-requests-inflight", "2000", "--max-mutating-requests-inflight", "1000",
		}},
		{name: "kube-controller-manager", needs: "api", argv: []string{
			"kube-controller-manager", "--kubeconfig", kubeconfigFile,
			"--leader-elect=false", "--service-account-private-key-file", p.file("sa.key"), "--root-ca-file", p.file("ca.crt"),
			"--cluster-signing-cert-file", p.file("ca.crt"), "--cluster-signing-key-file", p.file("ca.key"),
			// A run that ends removes a dozen namespaces, each of which costs a hundred requests.
			"--kube-api-qps", "1000", "--kube-api-burst", "2000", "--bind-address", "127.0.0.1",
			"--controllers", "*,-horizontal-pod-autoscaler-controller",
		}},
		{name: "kube-scheduler", needs: "api", argv: []string{
			"kube-scheduler", "--kubeconfig", kubeconfigFile, "--leader-elect=false",
			"--bind-address", "127.0.0.1", "--kube-api-qps", "200", "--kube-api-burst", "400",
		}},
		{name: "kubelet", needs: "api", argv: []string{
			"kubelet", "--kubeconfig", kubeconfigFile, "--config", runDir + "/kubelet.yaml",
			"--hostname-override", nodeName, "--node-ip", s.both(nodeIP, nodeIP6), "--root-dir", "/run/kubelet",
		}},
		{name: "kube-proxy", needs: "api", argv: []string{
			"kube-proxy", "--kubeconfig", kubeconfigFile, "--hostname-override", nodeName,
			"--proxy-mode", "iptables", "--cluster-cidr", s.both(podCIDR, podCIDR6),
			// Conntrack limits belong to the machine, not to the sandbox.
			"--conntrack-max-per-core", "0", "--conntrack-tcp-timeout-established", "0", "--conntrack-tcp-timeout-close-wait", "0",
			"--iptables-min-sync-period", "10ms", "--bind-address", "127.0.0.1", "--metrics-bind-address", "127.0.0.1:10249",
		}},
		{name: "coredns", needs: "api", argv: []string{"coredns", "-conf", runDir + "/Corefile"}},
	}
}
