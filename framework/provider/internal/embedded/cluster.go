//go:build linux

package embedded

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"mesh-egress-conformance/framework/cluster"
	"mesh-egress-conformance/framework/internet"
	"mesh-egress-conformance/framework/limits"
)

type embeddedCluster struct {
	spec   *spec
	reaper *handle // nil when the cluster was only opened
	owned  bool
	config *rest.Config
	home   home
	opened int           // reaper's PID of a cluster that was only opened
	gone   chan struct{} // of a cluster that was only opened
	watch  sync.Once
}

func (c *embeddedCluster) load() error {
	cfg, err := clientcmd.BuildConfigFromFlags("", c.spec.kubeconfig())
	if err != nil {
		return fmt.Errorf("read the kubeconfig of cluster %s: %w", c.spec.Name, err)
	}
	cfg.QPS = -1 // the API server has its own limits, and nobody else to serve
	socket := c.spec.apiSocket()
	cfg.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
		conn, err := getConnection(ctx, socket, nil, "tcp")
		if err != nil {
			if cause := c.Failure(); cause != nil {
				return nil, cause
			}
			if errors.Is(err, fs.ErrNotExist) {
				return nil, fmt.Errorf("cluster %s was made by another egressctl, to whose API server this one has no way (egressctl down and up make it anew): %w", c.Name(), err)
			}
		}
		return conn, err
	}
	c.config = cfg
	return nil
}

func (c *embeddedCluster) Name() string             { return c.spec.Name }
func (c *embeddedCluster) RESTConfig() *rest.Config { return rest.CopyConfig(c.config) }
func (c *embeddedCluster) Kubeconfig() string       { return c.spec.kubeconfig() }

// Inside is what cluster.Inside returns; one that an older build has made has none.
func (c *embeddedCluster) Inside() cluster.PodDialer {
	if _, err := os.Stat(c.spec.podsSocket()); err != nil {
		return nil
	}
	return podDialer{c.spec.podsSocket()}
}

func (c *embeddedCluster) Facts() cluster.Facts {
	f := c.spec.Facts
	f.Module = c.spec.Module
	return f
}

func (c *embeddedCluster) Internet() cluster.Internet {
	if c.spec.live() {
		return nil
	}
	return internet.NewClient(c.spec.internetSocket(), limits.Process().Control.Internet)
}

func (c *embeddedCluster) Log(part string) (io.ReadCloser, error) {
	f, err := openLog(c.spec.logFile(filepath.Base(part)))
	if errors.Is(err, fs.ErrNotExist) {
		have, _ := filepath.Glob(c.spec.logFile("*"))
		for i := range have {
			have[i] = strings.TrimSuffix(filepath.Base(have[i]), ".log")
		}
		return nil, fmt.Errorf("cluster %s has no part %q; it has %s", c.spec.Name, part, strings.Join(have, ", "))
	}
	return f, err
}

// Gone watches the reaper: through its pipe if this process started it, else through its lock.
func (c *embeddedCluster) Gone() <-chan struct{} {
	if c.reaper != nil {
		return c.reaper.gone
	}
	c.watch.Do(func() {
		go func() {
			defer close(c.gone)
			for c.death() == nil {
				pause(200 * time.Millisecond)
			}
		}()
	})
	return c.gone
}

func (c *embeddedCluster) Failure() error {
	if c.reaper != nil {
		return c.reaper.failure()
	}
	return c.death()
}

// death explains why a cluster that was only opened lives no longer; nil while it lives. It looks by itself:
// a verdict that is made right after the death must hear of it.
func (c *embeddedCluster) death() error {
	name := c.spec.Name
	if cause := c.home.cause(name); cause != "" {
		return errors.New(cause)
	}
	h, err := look(c.home.lockFile(name))
	if err != nil {
		return err
	}
	if h.phase == living && h.reaper == c.opened {
		return nil
	}
	if cause := c.home.cause(name); cause != "" { // written between the two looks
		return errors.New(cause)
	}
	if _, err := os.Stat(c.spec.Dir); h.phase == absent && err == nil {
		return fmt.Errorf("the reaper of cluster %s (process %d) was killed, and its watchdog too", name, c.opened)
	}
	return fmt.Errorf("cluster %s was taken down", name)
}

func (c *embeddedCluster) Detach() error {
	if c.reaper == nil || !c.owned {
		return nil
	}
	if err := c.spec.write(); err != nil { // with the timings
		return err
	}
	if _, err := c.reaper.lifeline.Write([]byte{detachByte}); err != nil {
		return fmt.Errorf("let cluster %s live on: %w", c.spec.Name, err)
	}
	c.owned = false
	return nil
}

func (c *embeddedCluster) Close(ctx context.Context) error {
	if c.reaper == nil || !c.owned {
		return nil
	}
	c.owned = false
	if err := c.reaper.end(ctx); err != nil {
		return err
	}
	return (&Provider{c.home}).settle(ctx, c.spec.Name, c.reaper.cmd.Process.Pid)
}

// LoadImages gives the archive to the node's containerd.
func (c *embeddedCluster) LoadImages(ctx context.Context, file string) error {
	ctr := c.Program("ctr")
	if _, err := os.Stat(c.spec.imagesSocket()); err != nil || ctr == "" {
		return fmt.Errorf("cluster %s has no way in for images: it was made by an older egressctl (egressctl down and up make it anew)", c.spec.Name)
	}
	// Its own client unpacks as the baking of images does; the service for transfers wants a namespace of the machine's.
	cmd := exec.CommandContext(ctx, ctr, "-a", c.spec.imagesSocket(), "-n", "k8s.io", "images", "import", "--local", file)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("give %s to the containerd of cluster %s: %w: %s", file, c.spec.Name, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// APIServer is the command line by which the supervisor starts it.
func (c *embeddedCluster) APIServer() []string {
	for _, p := range nodeParts(c.spec, &pki{dir: pkiDir}) {
		if p.name == "kube-apiserver" {
			return p.argv
		}
	}
	return nil
}

// Program is the path of a program that came with the cluster's components.
func (c *embeddedCluster) Program(name string) string {
	for _, dir := range c.spec.Parts {
		if f := filepath.Join(dir, name); name != "" {
			if st, err := os.Stat(f); err == nil && st.Mode().IsRegular() {
				return f
			}
		}
	}
	return ""
}
