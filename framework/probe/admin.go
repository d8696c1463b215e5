package probe

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"

	"mesh-egress-conformance/framework/probe/wire"
)

// Page is a page of the proxy in the same pod (Envoy, "Administration interface"), of which only some lines matter.
type Page struct {
	URL string `json:"url"`
	// Lines is a regular expression for the lines that are wanted; "" wants all.
	Lines string `json:"lines,omitempty"`
}

// pageTimeout bounds a request to the proxy beside the agent.
const pageTimeout = 5 * time.Second

// maxLine bounds one line of a page: a whole cluster in JSON is one.
const maxLine = 4 << 20

// get fetches the page into the answer's output. Where the proxy does not give it, the exit code is that of curl -f.
func (p *Page) get(ctx context.Context, r Response) Response {
	wanted, err := regexp.Compile(p.Lines)
	if err != nil {
		r.Error = err.Error()
		return r
	}
	ctx, cancel := context.WithTimeout(ctx, pageTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.URL, nil)
	if err != nil {
		r.Error = err.Error()
		return r
	}
	resp, err := proxyAdmin.Do(req)
	if err != nil {
		r.ExitCode, r.Stderr = codeOf(err), err.Error()
		return r
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		r.ExitCode, r.Stderr = wire.ExitStatus, fmt.Sprintf("%s answers %s", p.URL, resp.Status)
		return r
	}
	var out strings.Builder
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		if !wanted.Match(lines.Bytes()) {
			continue
		}
		if out.Len()+len(lines.Bytes()) > outputLimit {
			r.Error = fmt.Sprintf("%s has more than %d bytes of lines that match %q", p.URL, outputLimit, p.Lines)
			return r
		}
		out.Write(lines.Bytes())
		out.WriteByte('\n')
	}
	if err := lines.Err(); err != nil {
		r.ExitCode, r.Stderr = wire.ExitReceive, fmt.Sprintf("read %s: %v", p.URL, err)
	}
	r.Stdout = out.String()
	return r
}

// proxyAdmin keeps one connection, and goes around whatever proxy the environment names.
var proxyAdmin = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1, IdleConnTimeout: time.Minute}}
