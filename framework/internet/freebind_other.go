//go:build !linux

package internet

import "syscall"

// freeBind does nothing: the internet of a cluster runs on Linux, and here only tests listen.
func freeBind(_, _ string, _ syscall.RawConn) error { return nil }
