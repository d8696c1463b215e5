//go:build linux

package embedded

import (
	"context"
	"io"
	"net"
	"sync"
)

// serve handles each connection that a listener accepts, side by side, and closes it then.
func serve(ln net.Listener, handle func(net.Conn)) {
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				handle(c)
			}()
		}
	}()
}

// serveForward joins each connection that a listener accepts with one that dial makes.
func serveForward(ctx context.Context, ln net.Listener, dial func(context.Context) (net.Conn, error)) {
	serve(ln, func(c net.Conn) {
		up, err := dial(ctx)
		if err != nil {
			return
		}
		defer up.Close()
		splice(c, up)
	})
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
