package mesh

import (
	"context"
	"fmt"
	"net"
	"strings"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"mesh-egress-conformance/framework/cluster"
	"mesh-egress-conformance/framework/kube"
)

// Way is how ports of the loopback addresses of a cluster's pods are reached, which istiod and proxies answer to local callers alone.
type Way struct {
	Config    *rest.Config
	Clientset kubernetes.Interface
	// Inside makes connections from inside pods; nil leaves port-forwards, which look the same to whoever is called.
	Inside cluster.PodDialer
}

// open returns the URL of a port of a pod, and what ends the way there. Connections to it are made by dial.
func (w Way) open(ctx context.Context, namespace, pod string, port int) (url string, stop func(), err error) {
	if w.Inside == nil {
		local, stop, err := kube.Forward(ctx, w.Config, w.Clientset, namespace, pod, port)
		return fmt.Sprintf("http://127.0.0.1:%d", local), stop, err
	}
	return fmt.Sprintf("http://%s.%s:%d", pod, namespace, port), func() {}, nil
}

// dial is an http.Transport's.
func (w Way) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	if w.Inside == nil {
		return new(net.Dialer).DialContext(ctx, network, addr)
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	dot := strings.LastIndexByte(host, '.') // which no namespace has in its name
	if dot < 0 {
		return nil, fmt.Errorf("%s is no pod", addr)
	}
	return w.Inside.DialPod(ctx, host[dot+1:], host[:dot], port)
}
