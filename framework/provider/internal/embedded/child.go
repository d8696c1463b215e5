//go:build linux

package embedded

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"mesh-egress-conformance/framework/internet"
)

// First arguments that make this program one of the sandbox's processes.
const (
	argReaper     = "__egress-reaper"
	argInit       = "__egress-init"
	argSupervisor = "__egress-supervisor"
	argInternet   = "__egress-internet"
	argTrial      = "__egress-trial"
	argWatchdog   = "__egress-watchdog"
)

// selfExe is this program, whatever it is called on disk by now.
const selfExe = "/proc/self/exe"

// ChildMain runs the part of the sandbox that the arguments ask for, and does not return then. Every
// program that brings clusters up calls it first in main, or TestMain.
func ChildMain() {
	if len(os.Args) < 2 {
		return
	}
	switch os.Args[1] {
	case argReaper:
		reaperMain()
	case argWatchdog:
		exit(watchdogMain(os.Args[2], os.Args[3], os.Args[4]))
	case argInit:
		initMain(os.Args[2], os.Args[3])
	case argSupervisor:
		supervisorMain(os.Args[2])
	case argInternet:
		exit(internetMain())
	case argTrial:
		exit(trialMain())
	}
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// internetMain is the hermetic internet: configuration on standard input, one line on descriptor 3
// when every host listens. Descriptor 4 is the listening socket of its control.
func internetMain() error {
	ctx := context.Background() // ends with the process
	b, err := io.ReadAll(os.Stdin)
	if err != nil {
		return fmt.Errorf("read the configuration: %w", err)
	}
	var cfg internetConfig
	if err := json.Unmarshal(b, &cfg); err != nil {
		return fmt.Errorf("read the configuration: %w", err)
	}
	if err := setUpInternetNetwork(cfg); err != nil {
		return err
	}
	srv := internet.NewServer(cfg.Hosts, cfg.CA)
	srv.Own, srv.Disown = cfg.own, disown
	if err := srv.Start(ctx); err != nil {
		return err
	}
	ln, err := net.FileListener(os.NewFile(4, "control"))
	if err != nil {
		return fmt.Errorf("listen for the harness: %w", err)
	}
	ready := os.NewFile(3, "ready")
	if _, err := ready.WriteString("ready\n"); err != nil {
		return err
	}
	ready.Close()
	control := &http.Server{Handler: srv.ControlHandler(), ReadHeaderTimeout: 5 * time.Second}
	return control.Serve(ln)
}
