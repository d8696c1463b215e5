package kind

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
)

// docker runs the docker command, as kind itself does, so that contexts, DOCKER_HOST and credentials mean
// the same to both.
func docker(ctx context.Context, stdin io.Reader, args ...string) (string, error) {
	bin, err := exec.LookPath("docker")
	if err != nil {
		return "", fmt.Errorf("the kind provider needs the docker command: %w", err)
	}
	cmd := exec.CommandContext(ctx, bin, args...)
	cmd.Stdin = stdin
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		said := strings.TrimSpace(errOut.String())
		if hint := dockerHint(said); hint != "" {
			return "", fmt.Errorf("docker %s: %w: %s\n(%s)", args[0], err, said, hint)
		}
		return "", fmt.Errorf("docker %.200s: %w: %.2000s", strings.Join(args, " "), err, said)
	}
	return strings.TrimSpace(out.String()), nil
}

// dockerHint says what to do about Docker's commonest complaints.
func dockerHint(said string) string {
	switch {
	case strings.Contains(said, "permission denied"):
		return "this user may not use Docker: add it to the docker group, use sudo, or set DOCKER_HOST to a daemon of its own"
	case strings.Contains(said, "Cannot connect to the Docker daemon"), strings.Contains(said, "error during connect"):
		return "no Docker daemon answers: start it (systemctl start docker), or set DOCKER_HOST"
	}
	return ""
}

// environment of kind as a library: it reads its network and the proxies of nodes from this process's
// environment and has no other way to be told.
var environment sync.Mutex

// proxyVariables must not reach the nodes: nothing in them leaves for the real world.
var proxyVariables = []string{"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"}

// withEnvironment calls f with kind's network set and without proxies.
func withEnvironment(network string, f func() error) (err error) {
	environment.Lock()
	defer environment.Unlock()
	set := map[string]string{"KIND_EXPERIMENTAL_DOCKER_NETWORK": network}
	for _, v := range proxyVariables {
		set[v] = ""
	}
	for k, v := range set {
		old, had := os.LookupEnv(k)
		defer func() {
			if had {
				err = errors.Join(err, os.Setenv(k, old))
			} else {
				err = errors.Join(err, os.Unsetenv(k))
			}
		}()
		if v == "" {
			err = errors.Join(err, os.Unsetenv(k))
		} else {
			err = errors.Join(err, os.Setenv(k, v))
		}
	}
	if err != nil {
		return err
	}
	return f()
}
