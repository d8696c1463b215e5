package internet

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strconv"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"

	"mesh-egress-conformance/framework/egress"
)

// maxDatagram is the longest UDP payload or ICMP message, in bytes.
const maxDatagram = 64 << 10

// packets are datagrams with the address at which they arrive, from which answers must come.
type packets struct {
	net.PacketConn
	read  func(b []byte) (n int, to netip.Addr, from net.Addr, err error)
	reply func(b []byte, from netip.Addr, to net.Addr) error
}

// listenPackets opens a network at an address or a range; addr gives it with the local address.
func listenPackets(ctx context.Context, network4, network6 string, at netip.Prefix, addr func(netip.Addr) string) (*packets, error) {
	network, local := network4, at.Addr()
	if local.Is6() {
		network = network6
	}
	if !at.IsSingleIP() {
		if local = netip.IPv4Unspecified(); at.Addr().Is6() {
			local = netip.IPv6Unspecified()
		}
	}
	pc, err := listenConfig().ListenPacket(ctx, network, addr(local))
	if err != nil {
		return nil, err
	}
	p := &packets{PacketConn: pc}
	switch {
	case at.IsSingleIP():
		p.read = func(b []byte) (int, netip.Addr, net.Addr, error) {
			n, from, err := pc.ReadFrom(b)
			return n, at.Addr(), from, err
		}
		p.reply = func(b []byte, _ netip.Addr, to net.Addr) error {
			_, err := pc.WriteTo(b, to)
			return err
		}
	case at.Addr().Is6():
		x := ipv6.NewPacketConn(pc)
		err = x.SetControlMessage(ipv6.FlagDst, true)
		p.read = func(b []byte) (int, netip.Addr, net.Addr, error) {
			n, cm, from, err := x.ReadFrom(b)
			if err != nil || cm == nil {
				return n, netip.Addr{}, from, err
			}
			to, _ := netip.AddrFromSlice(cm.Dst)
			return n, to, from, nil
		}
		p.reply = func(b []byte, from netip.Addr, to net.Addr) error {
			_, err := x.WriteTo(b, &ipv6.ControlMessage{Src: from.AsSlice()}, to)
			return err
		}
	default:
		x := ipv4.NewPacketConn(pc)
		err = x.SetControlMessage(ipv4.FlagDst, true)
		p.read = func(b []byte) (int, netip.Addr, net.Addr, error) {
			n, cm, from, err := x.ReadFrom(b)
			if err != nil || cm == nil {
				return n, netip.Addr{}, from, err
			}
			to, _ := netip.AddrFromSlice(cm.Dst)
			return n, to.Unmap(), from, nil
		}
		p.reply = func(b []byte, from netip.Addr, to net.Addr) error {
			_, err := x.WriteTo(b, &ipv4.ControlMessage{Src: from.AsSlice()}, to)
			return err
		}
	}
	if err != nil {
		return nil, errors.Join(err, pc.Close())
	}
	return p, nil
}

// each calls f for every datagram, until the connection is closed.
func (p *packets) each(f func(b []byte, to netip.Addr, from net.Addr)) {
	buf := make([]byte, maxDatagram)
	for {
		n, to, from, err := p.read(buf)
		if err != nil {
			return
		}
		f(buf[:n], to, from)
	}
}

func (s *Server) startUDP(ctx context.Context, h Host, port uint16, at netip.Prefix) error {
	if at.IsSingleIP() {
		p, err := listenUDP(ctx, port, at)
		if err != nil {
			return err
		}
		s.open.add(h.key(), p.Close)
		go p.each(func(b []byte, to netip.Addr, from net.Addr) { s.echoUDP(p, h.Name, port, b, to, from) })
		return nil
	}
	// One socket for all hosts: several at the same port would have the datagrams by chance.
	w := wildcard{udp: true, six: at.Addr().Is6(), port: port}
	s.open.mu.Lock()
	defer s.open.mu.Unlock()
	if s.open.udp[w] == nil {
		p, err := listenUDP(ctx, port, at)
		if err != nil {
			return err
		}
		if s.open.udp == nil {
			s.open.udp = map[wildcard]*packets{}
		}
		s.open.udp[w] = p
		go p.each(func(b []byte, to netip.Addr, from net.Addr) {
			owner, _, ours := s.Hosts().owner(to)
			if svc, serves := owner.Service("udp", port); ours && serves && svc.Kind == UDPEcho {
				s.echoUDP(p, owner.Name, port, b, to, from)
			}
		})
	}
	return nil
}

func listenUDP(ctx context.Context, port uint16, at netip.Prefix) (*packets, error) {
	return listenPackets(ctx, "udp4", "udp6", at, func(a netip.Addr) string { return netip.AddrPortFrom(a, port).String() })
}

func (s *Server) echoUDP(p *packets, host string, port uint16, b []byte, to netip.Addr, from net.Addr) {
	s.log.add(egress.Arrival{Server: host, Peer: from.String(), Local: netip.AddrPortFrom(to, port).String(), Kind: "udp"})
	_ = p.reply(b, to, from) // UDP: a lost answer is the network's right
}

// Types of ICMP echo requests.
const (
	echo4 = 8
	echo6 = 128
)

// logPings notes echo requests to a host; the kernel answers them.
func (s *Server) logPings(ctx context.Context, h Host, at netip.Prefix) error {
	p, err := listenPackets(ctx, "ip4:icmp", "ip6:ipv6-icmp", at, netip.Addr.String)
	if err != nil {
		return err
	}
	request := byte(echo4)
	if at.Addr().Is6() {
		request = echo6
	}
	s.open.add(h.key(), p.Close)
	go p.each(func(b []byte, to netip.Addr, from net.Addr) {
		if len(b) < 8 || b[0] != request {
			return
		}
		// A socket for a range sees the echo requests to all addresses.
		if owner, p, ours := s.Hosts().owner(to); !at.IsSingleIP() && (!ours || owner.Name != h.Name || p != at) {
			return
		}
		peer := net.JoinHostPort(from.String(), strconv.Itoa(int(b[4])<<8|int(b[5]))) // its identifier is the client's port
		s.log.add(egress.Arrival{Server: h.Name, Peer: peer, Local: netip.AddrPortFrom(to, 0).String(), Kind: "icmp"})
	})
	return nil
}
