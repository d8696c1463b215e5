//go:build linux

package embedded

import (
	"context"
	"io"
	"net"
	"sync"
)

// serveForward connects each connection that a listener accepts to an address. Sockets with a path reach
// across network namespaces, which is how the API server is reached without any network link.
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
