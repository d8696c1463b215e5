package internet

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/miekg/dns"
)

// Arg is the first argument that makes a program of ours play the internet, or a part of it; the second is
// the file with its Config.
const Arg = "__egress-internet-at"

// ChildMain plays the internet and does not return if this process was started for that.
func ChildMain() {
	if len(os.Args) != 3 || os.Args[1] != Arg {
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	c, err := ReadConfig(os.Args[2])
	if err == nil {
		err = c.Serve(ctx)
	}
	if err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// Config is what a process that plays the internet, or a part of it, is told.
type Config struct {
	Hosts *Hosts `json:"hosts"`
	CA    *CA    `json:"ca"`
	// Mine limits what is served to the hosts at one address; the zero address serves all.
	Mine netip.Addr `json:"mine,omitzero"`
	// Upstream answers for names in cluster.local, as ip:port; "" forwards nothing, OwnResolver asks
	// whoever this process itself asks.
	Upstream string `json:"upstream,omitempty"`
	// Control is the ip:port of the control API, for callers that show the token.
	Control string `json:"control"`
	Token   string `json:"token"`
	// Program is an ip:port from which other parts of the internet fetch this program; "" gives it to
	// nobody.
	Program string `json:"program,omitempty"`
}

// OwnResolver stands for the first name server of /etc/resolv.conf.
const OwnResolver = "own"

// ReadConfig reads a configuration from a file.
func ReadConfig(file string) (*Config, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the internet's configuration: %w", err)
	}
	var c Config
	if err := json.Unmarshal(b, &c); err != nil {
		return nil, fmt.Errorf("read the internet's configuration: %w", err)
	}
	return &c, nil
}

// Serve plays the internet until ctx ends. It returns early only with an error.
func (c *Config) Serve(ctx context.Context) error {
	s := NewServer(c.Hosts, c.CA)
	s.mine, s.upstream = c.Mine, c.Upstream
	if c.Upstream == OwnResolver {
		conf, err := dns.ClientConfigFromFile("/etc/resolv.conf")
		if err != nil || len(conf.Servers) == 0 {
			return fmt.Errorf("find this pod's name server: %w", err)
		}
		s.upstream = net.JoinHostPort(conf.Servers[0], conf.Port)
	}
	if err := s.Start(ctx); err != nil {
		return err
	}
	ended := make(chan error, 2)
	serve := func(addr string, h http.Handler) error {
		var lc net.ListenConfig
		ln, err := lc.Listen(ctx, "tcp", addr)
		if err != nil {
			return fmt.Errorf("listen for the harness: %w", err)
		}
		srv := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second}
		go func() { ended <- srv.Serve(ln) }()
		return nil
	}
	err := serve(c.Control, c.guarded(s.ControlHandler()))
	if c.Program != "" {
		err = errors.Join(err, serve(c.Program, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.ServeFile(w, r, "/proc/self/exe")
		})))
	}
	if err != nil {
		return err
	}
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// tokenHeader carries the token of the control API.
const tokenHeader = "X-Egress-Token"

func (c *Config) guarded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if subtle.ConstantTimeCompare([]byte(r.Header.Get(tokenHeader)), []byte(c.Token)) != 1 {
			http.Error(w, "the token is missing or wrong", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// Subset is the hosts that carry the names, at new addresses: address is asked once for each host.
// Hosts that no single pod can play are left out (Host.NoPod).
func (h *Hosts) Subset(names []string, address func(Host) netip.Addr) *Hosts {
	out := &Hosts{DNS: h.DNS, ClientCertificates: h.ClientCertificates}
	seen := map[string]bool{}
	for _, n := range names {
		x, ok := h.Find(n)
		if !ok || seen[x.Name] || x.NoPod() != "" {
			continue
		}
		seen[x.Name] = true
		a := address(x)
		x.Ping, x.Address, x.Chosen = false, Addresses{netip.PrefixFrom(a, a.BitLen())}, false
		out.Hosts = append(out.Hosts, x)
	}
	return out
}
