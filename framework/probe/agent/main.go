// Command egressprobe runs in client pods. "egressprobe agent" serves requests on standard input, and on an
// abstract unix socket if one is named ("@name"); with a probe.Spec in JSON as its only argument it makes one attempt and prints its report.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"mesh-egress-conformance/framework/probe"
)

func main() {
	agent := len(os.Args) > 1 && os.Args[1] == "agent"
	if len(os.Args) != 2 && (!agent || len(os.Args) != 3) {
		fmt.Fprintln(os.Stderr, "usage: egressprobe agent [@SOCKET] | egressprobe '{\"url\": \"tcp://host:port\"}'")
		os.Exit(2)
	}
	ctx := context.Background()
	if agent {
		if err := probe.Serve(ctx, os.Stdin, os.Stdout, strings.Join(os.Args[2:], "")); err != nil {
			fmt.Fprintln(os.Stderr, "egressprobe:", err)
			os.Exit(1)
		}
		return
	}
	var s probe.Spec
	if err := json.Unmarshal([]byte(os.Args[1]), &s); err != nil {
		fmt.Fprintln(os.Stderr, "egressprobe: read the attempt:", err)
		os.Exit(2)
	}
	r := probe.Run(ctx, s, &probe.Conns{})
	if err := json.NewEncoder(os.Stdout).Encode(r); err != nil {
		os.Exit(1)
	}
	os.Exit(r.ExitCode)
}
