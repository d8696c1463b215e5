package probe

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"time"

	"mesh-egress-conformance/framework/probe/wire"
)

// icmp sends one echo request through an unprivileged ICMP socket (net.ipv4.ping_group_range).
func (a *attempt) icmp(ctx context.Context) error {
	ips, err := net.DefaultResolver.LookupIP(ctx, "ip4", a.url.Hostname())
	if err != nil {
		return err
	}
	syscall.ForkLock.RLock() // no child may be made before the socket is marked
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM, syscall.IPPROTO_ICMP)
	if err == nil {
		syscall.CloseOnExec(fd)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return fmt.Errorf("open an ICMP socket: %w", err)
	}
	defer syscall.Close(fd) //nolint:errcheck // nothing was written that could be lost
	end, ok := ctx.Deadline()
	if !ok {
		end = time.Now().Add(10 * time.Second)
	}
	tv := syscall.NsecToTimeval(max(time.Until(end), time.Millisecond).Nanoseconds())
	if err := syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &tv); err != nil {
		return err
	}
	// The identifier of such a socket is its local port; binding one of ours makes it known.
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Port: a.spec.Ports[0]}); err != nil {
		return fmt.Errorf("choose the ICMP identifier: %w", err)
	}
	a.report.LocalPort, a.report.RemoteIP = a.spec.Ports[0], ips[0].String()
	request := []byte{8, 0, 0, 0, 0, 0, 0, 1, 'e', 'g', 'r', 'e', 's', 's'} // the kernel fills in id and checksum
	if err := syscall.Sendto(fd, request, 0, &syscall.SockaddrInet4{Addr: [4]byte(ips[0].To4())}); err != nil {
		return err
	}
	buf := make([]byte, 1500)
	n, _, err := syscall.Recvfrom(fd, buf, 0)
	if errors.Is(err, syscall.EAGAIN) {
		return fail(wire.ExitTimeout, "no echo reply")
	}
	if err != nil {
		return err
	}
	if n < 1 || buf[0] != 0 {
		return fail(wire.ExitRefused, "ICMP type %d instead of an echo reply", buf[0])
	}
	a.report.Output = "echo reply"
	return nil
}

var queryTypes = map[string]uint16{"A": 1, "AAAA": 28, "TXT": 16}

// dns asks for one name: dns:///name?type=AAAA&net=tcp asks the pod's own resolver, dns://host:port/
// another one. It prints the answer's code and records. No record is exit 6, as with curl.
func (a *attempt) dns(ctx context.Context) error {
	server := a.url.Host
	if server == "" {
		var err error
		if server, err = resolver(); err != nil {
			return err
		}
	}
	q := a.url.Query()
	typ, network := queryTypes["A"], "udp4"
	if t := q.Get("type"); t != "" {
		if typ = queryTypes[t]; typ == 0 {
			return fail(wire.ExitUsage, "DNS type %q is unknown", t)
		}
	}
	if q.Get("net") == "tcp" {
		network = "tcp4"
	}
	if _, _, err := net.SplitHostPort(server); err != nil {
		server = net.JoinHostPort(server, "53")
	}
	c, err := a.dial(ctx, network, server)
	if err != nil {
		return err
	}
	defer c.Close()
	msg := dnsQuery(strings.Trim(a.url.Path, "/"), typ)
	answer, err := exchange(c, msg, network == "tcp4")
	if err != nil {
		return err
	}
	code, records, err := dnsAnswer(answer, typ)
	if err != nil {
		return fail(wire.ExitInternal, "read the DNS answer: %w", err)
	}
	a.report.Output = fmt.Sprintf("%s %s", code, strings.Join(records, " "))
	if len(records) == 0 {
		return fail(wire.ExitDNS, "%s without records", code)
	}
	return nil
}

func resolver() (string, error) {
	b, err := os.ReadFile("/etc/resolv.conf")
	if err != nil {
		return "", fail(wire.ExitInternal, "find the resolver: %w", err)
	}
	for _, l := range strings.Split(string(b), "\n") {
		if f := strings.Fields(l); len(f) > 1 && f[0] == "nameserver" {
			return f[1], nil
		}
	}
	return "", fail(wire.ExitInternal, "/etc/resolv.conf names no server")
}

func dnsQuery(name string, typ uint16) []byte {
	m := []byte{0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0}
	for _, l := range strings.Split(strings.TrimSuffix(name, "."), ".") {
		m = append(append(m, byte(len(l))), l...)
	}
	m = append(m, 0)
	m = binary.BigEndian.AppendUint16(m, typ)
	return binary.BigEndian.AppendUint16(m, 1)
}

func exchange(c net.Conn, msg []byte, stream bool) ([]byte, error) {
	if stream {
		msg = append(binary.BigEndian.AppendUint16(nil, uint16(len(msg))), msg...)
	}
	if _, err := c.Write(msg); err != nil {
		return nil, err
	}
	buf := make([]byte, 4096)
	if !stream {
		n, err := c.Read(buf)
		return buf[:n], err
	}
	if _, err := io.ReadFull(c, buf[:2]); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint16(buf))
	if n > len(buf) {
		return nil, fmt.Errorf("answer of %d bytes", n)
	}
	_, err := io.ReadFull(c, buf[:n])
	return buf[:n], err
}

var errShort = errors.New("message is cut")

// dnsAnswer reads the code and the records of the asked type.
func dnsAnswer(m []byte, typ uint16) (code string, records []string, err error) {
	if len(m) < 12 {
		return "", nil, errShort
	}
	code = map[byte]string{0: "NOERROR", 2: "SERVFAIL", 3: "NXDOMAIN", 5: "REFUSED"}[m[3]&15]
	if code == "" {
		code = fmt.Sprintf("RCODE%d", m[3]&15)
	}
	pos := 12
	for range binary.BigEndian.Uint16(m[4:]) {
		if pos, err = skipName(m, pos); err != nil {
			return code, nil, err
		}
		pos += 4
	}
	for range binary.BigEndian.Uint16(m[6:]) {
		if pos, err = skipName(m, pos); err != nil {
			return code, nil, err
		}
		if pos+10 > len(m) {
			return code, nil, errShort
		}
		t, n := binary.BigEndian.Uint16(m[pos:]), int(binary.BigEndian.Uint16(m[pos+8:]))
		pos += 10
		if pos+n > len(m) {
			return code, nil, errShort
		}
		if t == typ {
			records = append(records, dnsRecord(t, m[pos:pos+n]))
		}
		pos += n
	}
	return code, records, nil
}

func dnsRecord(typ uint16, b []byte) string {
	if typ == queryTypes["TXT"] && len(b) > 0 {
		return fmt.Sprintf("%q", b[1:])
	}
	if ip, ok := netip.AddrFromSlice(b); ok {
		return ip.String()
	}
	return fmt.Sprintf("%x", b)
}

func skipName(m []byte, pos int) (int, error) {
	for pos < len(m) {
		switch n := int(m[pos]); {
		case n == 0:
			return pos + 1, nil
		case n >= 0xc0:
			if pos+2 > len(m) {
				return 0, errShort
			}
			return pos + 2, nil
		default:
			pos += n + 1
		}
	}
	return 0, errShort
}
