package kind

import (
	"context"
	"os"
	"os/exec"
	"runtime"

	"mesh-egress-conformance/framework/cluster"
	"mesh-egress-conformance/framework/components"
)

// Doctor says what is missing for clusters of containers.
func (p *Provider) Doctor(ctx context.Context) []cluster.Check {
	checks := []cluster.Check{dockerCheck(ctx)}
	if _, err := components.Self(); err != nil {
		checks = append(checks, cluster.Check{Name: "this program, built for Linux", Detail: err.Error(), Remedy: "make build"})
	}
	if runtime.GOOS == "linux" && os.Geteuid() == 0 && p.opts.Image == "" {
		checks = append(checks, buildChecks()...)
	}
	return checks
}

func dockerCheck(ctx context.Context) cluster.Check {
	c := cluster.Check{Name: "Docker answers"}
	_, err := docker(ctx, nil, "version", "--format", "{{.Server.Version}}")
	if err == nil {
		c.OK = true
		return c
	}
	c.Detail, c.Remedy = err.Error(), "start Docker, or set DOCKER_HOST"
	if _, err := exec.LookPath("docker"); err != nil {
		c.Detail, c.Remedy, c.Package = "no docker command", "install Docker", "docker.io"
	} else if _, err := exec.LookPath("dockerd"); err != nil && runtime.GOOS == "linux" && os.Getenv("DOCKER_HOST") == "" {
		c.Package = "docker.io"
	} else if err == nil {
		c.Remedy = "the daemon is installed and does not run: systemctl start docker (or scripts/dockerd.sh, which starts one of its own with its own data)"
	}
	return c
}

// buildChecks are about making a node image, where no registry serves kind's own.
func buildChecks() []cluster.Check {
	var out []cluster.Check
	for tool, pkg := range map[string]string{"debootstrap": "debootstrap", "iptables": "iptables"} {
		c := cluster.Check{Name: tool, OK: true}
		if _, err := exec.LookPath(tool); err != nil {
			c = cluster.Check{Name: tool, Detail: "not installed; a node image is built with it where no registry serves kind's own", Remedy: "apt-get install " + pkg + ", or give --node-image", Package: pkg}
		}
		out = append(out, c)
	}
	return out
}
