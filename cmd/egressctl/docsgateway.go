package main

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"regexp"
	"strings"

	"mesh-egress-conformance/framework/cluster"
	"mesh-egress-conformance/framework/harness"
	"mesh-egress-conformance/framework/input"
	"mesh-egress-conformance/framework/pages"
)

// needsGatewayAPI is what a page says below its title whose objects are of the Gateway API. docs update writes it, and docs run and
// docs verify refuse a page that lacks it, or has it in vain.
const needsGatewayAPI = "It needs the kinds of the Gateway API: `egressctl up --gateway-api`, with `--reuse` for a cluster that runs already."

// gatewayAPIRE finds an object of the Gateway API in a file.
var gatewayAPIRE = regexp.MustCompile(`(?m)^[\s-]*apiVersion:\s*["']?gateway\.networking\.k8s\.io/`)

// needs is the sentence for what a page needs besides a cluster; "" for nothing.
func (l *library) needs(p *pages.Page) (string, error) {
	files, err := p.Files(l.fs())
	if err != nil {
		return "", err
	}
	for _, f := range files {
		text, err := fs.ReadFile(l.fs(), f)
		if err != nil {
			return "", fmt.Errorf("look for what %s needs: %w", p.File, err)
		}
		if gatewayAPIRE.Match(text) {
			return needsGatewayAPI, nil
		}
	}
	return "", nil
}

// untold finds a page that does not say what it needs, or says so without need.
func (l *library) untold(p *pages.Page) (input.Mistakes, error) {
	needs, err := l.needs(p)
	if err != nil || strings.Contains(p.Verified, needsGatewayAPI) == (needs != "") {
		return nil, err
	}
	what := "none of its objects is of the Gateway API, and the page says that it needs it"
	if needs != "" {
		what = "there are objects of the Gateway API, and the page does not say that it needs it"
	}
	return input.Mistakes{{File: p.File, Line: p.StampLine(), What: what, Remedy: "egressctl docs update " + p.Name + " writes it"}}, nil
}

// provide gives a running cluster of the harness what pages need and it lacks.
func (l *library) provide(ctx context.Context, w io.Writer, c cluster.Cluster, list []*pages.Page) error {
	for _, p := range list {
		needs, err := l.needs(p)
		if err != nil {
			return err
		}
		if needs == "" {
			continue
		}
		fmt.Fprintf(w, "%s needs the Gateway API; cluster %s gets it if it has it not\n", p.Name, c.Name())
		return harness.AddGatewayAPI(ctx, c)
	}
	return nil
}
