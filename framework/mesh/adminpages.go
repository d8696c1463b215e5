package mesh

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"sync"
)

// proxyAdminPort is where Envoy's administration interface listens, on its pod's own loopback address.
const proxyAdminPort = 15000

// AdminPages asks proxies of pods in which no program of ours runs, by a way that stays open.
type AdminPages struct {
	way  Way
	http *http.Client

	mu     sync.Mutex
	closed bool
	open   map[podKey]*forwarded
}

type podKey struct{ namespace, pod string }

// forwarded is the way to one pod, which is opened once.
type forwarded struct {
	once sync.Once
	url  string
	stop func()
	err  error
}

// NewAdminPages opens nothing yet.
func NewAdminPages(w Way) *AdminPages {
	return &AdminPages{way: w, http: &http.Client{Transport: &http.Transport{DisableCompression: true, DialContext: w.dial}}, open: map[podKey]*forwarded{}}
}

// Page fetches the lines of a page that match a regular expression.
func (a *AdminPages) Page(ctx context.Context, namespace, pod, path, lines string) (string, error) {
	fail := func(err error) (string, error) {
		return "", fmt.Errorf("ask the proxy of %s/%s for %s: %w", namespace, pod, path, err)
	}
	f, err := a.forward(ctx, podKey{namespace, pod})
	if err != nil {
		return fail(err)
	}
	out, err := fetchLines(ctx, a.http, f.url+path, lines)
	if err != nil {
		a.forget(podKey{namespace, pod}, f) // the pod may be another one by now
		return fail(err)
	}
	return out, nil
}

func (a *AdminPages) forward(ctx context.Context, key podKey) (*forwarded, error) {
	a.mu.Lock()
	f := a.open[key]
	if f == nil {
		f = &forwarded{}
		a.open[key] = f
	}
	closed := a.closed
	a.mu.Unlock()
	if closed {
		return nil, errors.New("the session is over")
	}
	f.once.Do(func() {
		f.url, f.stop, f.err = a.way.open(ctx, key.namespace, key.pod, proxyAdminPort)
	})
	if f.err != nil {
		a.forget(key, f)
	}
	return f, f.err
}

// forget ends a port-forward that does not work, so that the next question opens another.
func (a *AdminPages) forget(key podKey, f *forwarded) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.open[key] == f {
		delete(a.open, key)
		f.end()
	}
}

func (f *forwarded) end() {
	if f.stop != nil {
		f.stop()
		f.stop = nil
	}
}

// Close ends all port-forwards.
func (a *AdminPages) Close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
	for key, f := range a.open {
		delete(a.open, key)
		f.end()
	}
}

func fetchLines(ctx context.Context, client *http.Client, url, lines string) (string, error) {
	wanted, err := regexp.Compile(lines)
	if err != nil {
		return "", err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("it answers %s", resp.Status)
	}
	var out strings.Builder
	sc := bufio.NewScanner(resp.Body)
	sc.Buffer(nil, 4<<20) // a cluster in JSON may be one line
	for sc.Scan() {
		if wanted.Match(sc.Bytes()) {
			out.Write(sc.Bytes())
			out.WriteByte('\n')
		}
	}
	return out.String(), sc.Err()
}
