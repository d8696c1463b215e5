// Package kube opens connections into pods, through the API server alone.
package kube

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/streaming/pkg/httpstream"
)

// Forward forwards a loopback port of this machine to a port on a pod's own loopback address, until
// stop is called. It may be called more than once.
func Forward(ctx context.Context, cfg *rest.Config, cs kubernetes.Interface, namespace, pod string, port int) (local int, stop func(), err error) {
	u := cs.CoreV1().RESTClient().Post().Resource("pods").Namespace(namespace).Name(pod).SubResource("portforward").URL()
	dialer, err := portforward.NewSPDYOverWebsocketDialerForStreaming(u, cfg)
	if err == nil {
		local, stop, err = forward(ctx, dialer, "127.0.0.1", port)
	}
	if err != nil {
		return 0, nil, fmt.Errorf("forward a local port to port %d of pod %s/%s: %w", port, namespace, pod, err)
	}
	return local, stop, nil
}

// forward listens at a free port of an address of this machine. What the forwarder itself says of a failure is part of
// the error: that which it returns does not tell why it cannot listen.
func forward(ctx context.Context, dialer httpstream.Dialer, address string, port int) (local int, stop func(), err error) {
	end, ready := make(chan struct{}), make(chan struct{})
	stop = sync.OnceFunc(func() { close(end) })
	var said strings.Builder // written by ForwardPorts alone, and only before it is ready or has ended
	fw, err := portforward.NewOnAddressesForStreaming(dialer, []string{address}, []string{"0:" + strconv.Itoa(port)}, end, ready, io.Discard, &said)
	if err != nil {
		return 0, nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- fw.ForwardPorts() }()
	select {
	case <-ready:
	case err := <-ended:
		if why := strings.TrimSpace(said.String()); why != "" {
			err = fmt.Errorf("%w: %.500s", err, why)
		}
		return 0, nil, err
	case <-ctx.Done():
		stop()
		return 0, nil, ctx.Err()
	}
	ports, err := fw.GetPorts()
	if err != nil || len(ports) != 1 {
		stop()
		return 0, nil, errors.Join(err, errors.New("no local port"))
	}
	return int(ports[0].Local), stop, nil
}

// Exec runs one program in a container to its end. stdin may be nil.
func Exec(ctx context.Context, cfg *rest.Config, cs kubernetes.Interface, namespace, pod, container string, stdin io.Reader, argv ...string) (stdout string, err error) {
	req := cs.CoreV1().RESTClient().Post().Resource("pods").Namespace(namespace).Name(pod).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Container: container, Command: argv, Stdin: stdin != nil, Stdout: true, Stderr: true}, scheme.ParameterCodec)
	ex, err := remotecommand.NewWebSocketExecutor(cfg, "GET", req.URL().String())
	if err != nil {
		return "", fmt.Errorf("prepare an exec into %s/%s: %w", namespace, pod, err)
	}
	// Two buffers: the streams are copied side by side.
	var out, errOut strings.Builder
	if err := ex.StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: stdin, Stdout: &out, Stderr: &errOut}); err != nil {
		return out.String(), fmt.Errorf("run %s in %s/%s: %w %.500s", argv[0], namespace, pod, err, errOut.String())
	}
	return out.String(), nil
}
