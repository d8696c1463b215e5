package internet

import (
	"errors"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

func freeBind(network, _ string, c syscall.RawConn) error {
	var err error
	ctl := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_FREEBIND, 1)
		if strings.HasSuffix(network, "6") {
			err = errors.Join(err, unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_FREEBIND, 1))
		}
		if strings.HasPrefix(network, "tcp") || strings.HasPrefix(network, "udp") {
			err = errors.Join(err, unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1))
		}
	})
	return errors.Join(ctl, err)
}
