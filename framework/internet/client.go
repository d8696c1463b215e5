package internet

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"mesh-egress-conformance/framework/egress"
)

// maxRefusal is how much of an error of the control API is read, in bytes.
const maxRefusal = 16 << 10

// Client talks to a server's control API over a unix socket.
type Client struct {
	http *http.Client
	base string
	// token is for a control API that is not behind a socket of our own.
	token string
}

// NewTCPClient returns a client of a control API at ip:port that asks for a token. The timeout bounds each request.
func NewTCPClient(addr, token string, timeout time.Duration) *Client {
	return &Client{http: &http.Client{Timeout: timeout, Transport: &http.Transport{}}, base: "http://" + addr, token: token}
}

// NewClient returns a client; nothing is dialled yet. The timeout bounds each request.
func NewClient(socket string, timeout time.Duration) *Client {
	return &Client{base: "http://internet", http: &http.Client{Timeout: timeout, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", socket)
		},
	}}}
}

func (c *Client) do(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("tell the hermetic internet: %w", err)
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return err
	}
	if c.token != "" {
		req.Header.Set(tokenHeader, c.token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("ask the hermetic internet: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		b, _ := io.ReadAll(io.LimitReader(resp.Body, maxRefusal))
		return fmt.Errorf("ask the hermetic internet for %s: %s: %s", path, resp.Status, b)
	}
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return fmt.Errorf("read the hermetic internet's answer: %w", err)
	}
	return nil
}

// Arrivals returns what arrived from sequence number since on, and the number to ask from next. It
// fails when entries in between are no longer held: a log with gaps proves nothing.
func (c *Client) Arrivals(ctx context.Context, since int64) ([]egress.Arrival, int64, error) {
	var p page
	if err := c.do(ctx, http.MethodGet, fmt.Sprintf("/arrivals?since=%d", since), nil, &p); err != nil {
		return nil, since, err
	}
	if since > 0 && since < p.First {
		return nil, p.Next, fmt.Errorf("the arrival log no longer holds entries %d to %d", since, p.First-1)
	}
	return p.Arrivals, p.Next, nil
}

// Secrets are the PEM texts that placeholders of cases stand for, see CA.Secrets.
func (c *Client) Secrets(ctx context.Context) (map[string]string, error) {
	var out map[string]string
	err := c.do(ctx, http.MethodGet, "/secrets", nil, &out)
	return out, err
}

// Hosts are those that the internet serves.
func (c *Client) Hosts(ctx context.Context) (*Hosts, error) {
	var out Hosts
	if err := c.do(ctx, http.MethodGet, "/hosts", nil, &out); err != nil {
		return nil, err
	}
	return &out, nil
}

// Add adds hosts and client certificates to the running internet, see Server.Add. Those that it has already, alike in all,
// stay as they are. Their addresses must be on a link of the internet's network namespace, and their ranges local to it
// (Hosts.Addresses, Hosts.Ranges), before anybody calls them.
func (c *Client) Add(ctx context.Context, more *Hosts) error {
	return c.do(ctx, http.MethodPost, "/hosts", more, nil)
}

// SetGuests makes others the guests of the running internet, see Server.SetGuests.
func (c *Client) SetGuests(ctx context.Context, guests *Hosts) error {
	return c.do(ctx, http.MethodPost, "/guests", guests, nil)
}

// Break spoils the internet on purpose, see Server.Break.
func (c *Client) Break(ctx context.Context, what string) error {
	return c.do(ctx, http.MethodPost, "/break/"+what, nil, nil)
}

// Answer changes what a name resolves to, see Server.Answer.
func (c *Client) Answer(ctx context.Context, name, host string) error {
	return c.do(ctx, http.MethodPost, "/answer?"+url.Values{"name": {name}, "host": {host}}.Encode(), nil, nil)
}

// Asked is how often a name was asked for since its answer was changed.
func (c *Client) Asked(ctx context.Context, name string) (int, error) {
	var n int
	err := c.do(ctx, http.MethodGet, "/asked?"+url.Values{"name": {name}}.Encode(), nil, &n)
	return n, err
}
