package probe

import (
	"net"
	"testing"
)

// A host is called over IPv4 where it has such an address, else over IPv6; what has neither is an error of the first question.
func TestLookup(t *testing.T) {
	for host, want := range map[string]string{"127.0.0.1": "tcp4 127.0.0.1", "2001:db8::7": "tcp6 2001:db8::7"} {
		if !haveIPv6() && want[:4] == "tcp6" {
			continue // this machine has no such address: the host stays one that cannot be called
		}
		network, ips, err := lookup(t.Context(), "tcp4", host)
		if err != nil || len(ips) != 1 || network+" "+ips[0].String() != want {
			t.Errorf("%s: %s %v %v, want %s", host, network, ips, err, want)
		}
	}
	if _, ips, err := lookup(t.Context(), "tcp4", "no.such.host.invalid"); err == nil {
		t.Errorf("a host that does not exist has %v", ips)
	}
	if a, ok := localAddr("udp6", 7).(*net.UDPAddr); !ok || a.Port != 7 {
		t.Errorf("got %v", a)
	}
}
