//go:build linux

package embedded

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// unneeded are the capabilities that no part of a node and no container uses. In the sandbox's user namespace they
// reach nothing of the machine; without them less of the kernel can be asked at all. docs/security.md names
// those that stay, with their reasons.
var unneeded = []uintptr{
	unix.CAP_SYS_MODULE, unix.CAP_SYS_RAWIO, unix.CAP_SYS_BOOT, unix.CAP_SYS_TIME, unix.CAP_SYS_PACCT, unix.CAP_SYS_TTY_CONFIG,
	unix.CAP_SYSLOG, unix.CAP_MAC_ADMIN, unix.CAP_MAC_OVERRIDE, unix.CAP_LINUX_IMMUTABLE, unix.CAP_LEASE, unix.CAP_IPC_LOCK,
	unix.CAP_AUDIT_CONTROL, unix.CAP_AUDIT_READ, unix.CAP_WAKE_ALARM, unix.CAP_BLOCK_SUSPEND, unix.CAP_BPF, unix.CAP_PERFMON,
	unix.CAP_CHECKPOINT_RESTORE, unix.CAP_IPC_OWNER, unix.CAP_NET_BROADCAST,
}

// dropCapabilities takes them from whatever this thread starts.
func dropCapabilities() error {
	for _, c := range unneeded {
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil && err != unix.EINVAL { // EINVAL: an older kernel has no such capability
			return fmt.Errorf("drop capability %d: %w", c, err)
		}
	}
	return nil
}
