// Command egresshttpbin is a small HTTP application in a mesh that depends on an external service:
// each request makes it call http://httpbin.org/headers and return what it got.
//
// It knows nothing of Istio. When the mesh blocks the call it answers 502 with the reason, at once:
// the point of the sample is that a rule in the mesh opens the way while program and image stay the
// same.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"time"
)

const defaultTarget = "http://httpbin.org/headers"

// answer is what the caller gets.
type answer struct {
	Target string `json:"target"`
	Status int    `json:"status,omitempty"` // of the external service
	Body   string `json:"body,omitempty"`
	Error  string `json:"error,omitempty"`
}

func call(c *http.Client, target string, in *http.Request) (answer, int) {
	out := answer{Target: target}
	req, err := http.NewRequestWithContext(in.Context(), http.MethodGet, target, nil)
	if err != nil {
		out.Error = err.Error()
		return out, http.StatusInternalServerError
	}
	// Passing the request id on is what an application in a mesh does so that traces connect.
	for _, h := range []string{"X-Request-Id", "X-Egress-Probe"} {
		if v := in.Header.Get(h); v != "" {
			req.Header.Set(h, v)
		}
	}
	resp, err := c.Do(req)
	if err != nil {
		out.Error = fmt.Sprintf("call %s: %v", target, err)
		return out, http.StatusBadGateway
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	out.Status, out.Body = resp.StatusCode, string(body)
	if err != nil {
		out.Error = err.Error()
	}
	if err != nil || resp.StatusCode >= 400 {
		return out, http.StatusBadGateway
	}
	return out, http.StatusOK
}

func main() {
	target := os.Getenv("TARGET_URL")
	if target == "" {
		target = defaultTarget
	}
	addr := os.Getenv("LISTEN_ADDRESS")
	if addr == "" {
		addr = ":8080"
	}
	// A new connection for each call: what the caller sees is the mesh's policy now.
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	mux.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) {
		out, code := call(client, target, r)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		if err := json.NewEncoder(w).Encode(out); err != nil {
			log.Printf("answer %s: %v", r.RemoteAddr, err)
		}
	})
	srv := &http.Server{Addr: addr, Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	log.Printf("egresshttpbin listens on %s and calls %s", addr, target)
	if err := srv.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
}
