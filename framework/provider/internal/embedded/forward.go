//go:build linux

package embedded

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
)

// forward accepts on one address and connects each connection to another. Sockets with a path reach
// across network namespaces, which is how the API server is reached without any network link.
func forward(ctx context.Context, network, addr, toNetwork, toAddr string) error {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, network, addr)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", addr, err)
	}
	if network == "unix" {
		if err := os.Chmod(addr, 0o600); err != nil {
			return err
		}
	}
	serveForward(ctx, ln, toNetwork, toAddr)
	return nil
}

func serveForward(ctx context.Context, ln net.Listener, toNetwork, toAddr string) {
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				var d net.Dialer
				up, err := d.DialContext(ctx, toNetwork, toAddr)
				if err != nil {
					return
				}
				defer up.Close()
				splice(c, up)
			}()
		}
	}()
}

// splice copies both ways and passes half-closes on.
func splice(a, b net.Conn) {
	var wg sync.WaitGroup
	one := func(dst, src net.Conn) {
		defer wg.Done()
		_, _ = io.Copy(dst, src) // either side may end it
		if h, ok := dst.(interface{ CloseWrite() error }); ok {
			_ = h.CloseWrite()
		}
	}
	wg.Add(2)
	go one(a, b)
	go one(b, a)
	wg.Wait()
}
