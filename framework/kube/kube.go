// Package kube opens connections into pods, through the API server alone.
package kube

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
)

// Forward forwards a loopback port of this machine to a port on a pod's own loopback address, until
// stop is called.
func Forward(ctx context.Context, cfg *rest.Config, cs kubernetes.Interface, namespace, pod string, port int) (local int, stop func(), err error) {
	fail := func(err error) (int, func(), error) {
		return 0, nil, fmt.Errorf("forward a port to pod %s/%s: %w", namespace, pod, err)
	}
	u := cs.CoreV1().RESTClient().Post().Resource("pods").Namespace(namespace).Name(pod).SubResource("portforward").URL()
	dialer, err := portforward.NewSPDYOverWebsocketDialer(u, cfg)
	if err != nil {
		return fail(err)
	}
	end, ready := make(chan struct{}), make(chan struct{})
	fw, err := portforward.NewOnAddresses(dialer, []string{"127.0.0.1"}, []string{"0:" + strconv.Itoa(port)}, end, ready, io.Discard, io.Discard)
	if err != nil {
		return fail(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- fw.ForwardPorts() }()
	select {
	case <-ready:
	case err := <-ended:
		return fail(err)
	case <-ctx.Done():
		close(end)
		return fail(ctx.Err())
	}
	ports, err := fw.GetPorts()
	if err != nil || len(ports) != 1 {
		close(end)
		return fail(errors.Join(err, errors.New("no local port")))
	}
	return int(ports[0].Local), func() { close(end) }, nil
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
