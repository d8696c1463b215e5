package internet

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

var (
	// nameRE is a host name (RFC 1123), with underscores, which some have.
	nameRE = regexp.MustCompile(`^(\*\.)?([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?\.)*[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?$`)
	// labelRE is a name of an authority or of a client certificate.
	labelRE = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$`)
)

// Sites of web services.
var sites = []string{"", "cnn", "httpbin", "wikipedia"}

// elsewhere are the endings of names that others answer.
var elsewhere = map[string]string{
	"cluster.local": "the cluster's own DNS answers it", "localhost": "it means the client itself", "in-addr.arpa": "it is for reverse lookups", "ip6.arpa": "it is for reverse lookups",
}

// nobodys are ranges in which no host can be.
var nobodys = []struct {
	p   netip.Prefix
	why string
}{
	{netip.MustParsePrefix("0.0.0.0/8"), "unspecified"},
	{netip.MustParsePrefix("127.0.0.0/8"), "loopback"},
	{netip.MustParsePrefix("169.254.0.0/16"), "link-local"},
	{netip.MustParsePrefix("224.0.0.0/4"), "multicast"},
	{netip.MustParsePrefix("240.0.0.0/4"), "reserved"},
	{netip.MustParsePrefix("::/128"), "unspecified"},
	{netip.MustParsePrefix("::1/128"), "loopback"},
	{netip.MustParsePrefix("::ffff:0:0/96"), "IPv4 written as IPv6"},
	{netip.MustParsePrefix("fe80::/10"), "link-local"},
	{netip.MustParsePrefix("ff00::/8"), "multicast"},
}

// Metadata is the address at which clouds tell a machine about itself, its credentials among it: the one link-local address that a host
// may have. Pods reach it by their usual route, and so reach the internet's host here.
var Metadata = netip.MustParseAddr("169.254.169.254")

// faults are what is wrong with a host, whatever else there is.
func (h Host) faults() []string {
	var out []string
	add := func(format string, a ...any) {
		out = append(out, fmt.Sprintf("host %s: ", h.Name)+fmt.Sprintf(format, a...))
	}
	if h.Name == "" {
		return []string{"a host needs a name"}
	}
	for _, n := range append(h.Names(), h.CertificateNames...) {
		if why := nameFault(n); why != "" {
			add("%s", why)
		}
	}
	if len(h.Address) > maxAddresses {
		add("%d addresses, at most %d are possible; a range is one", len(h.Address), maxAddresses)
	}
	for i, p := range h.Address {
		if !p.IsValid() || p.Addr().Zone() != "" || p.Masked() != p {
			add("%s is no address or range that a host can have", p)
			continue
		}
		for _, n := range nobodys {
			if n.p.Overlaps(p) && p != netip.PrefixFrom(Metadata, Metadata.BitLen()) {
				add("%s is %s, where no host can be; private, public and documentation addresses are possible", rangeText(p), n.why)
			}
		}
		if slices.Contains(h.Address[:i], p) {
			add("the address %s is given twice: take one away", rangeText(p))
		}
	}
	if !slices.Contains(sites, h.Site) {
		add("site %q is unknown; possible are %s", h.Site, strings.Join(sites[1:], ", "))
	}
	if !h.Certificate.known() {
		add("certificate %q is unknown; possible are %s, %s, %s and %s, or leave it out for one that fits", h.Certificate, Expired, SelfSigned, WrongName, OtherCA)
	}
	for field, ca := range map[string]string{"ca": h.CA, "clientCA": h.ClientCA} {
		if ca != "" && !labelRE.MatchString(ca) {
			add("%s %q: letters, digits, dots, dashes and underscores are possible, such as partner", field, ca)
		}
	}
	switch {
	case h.Dead && len(h.Services) > 0:
		add("it is dead, and so serves nothing: take dead or the services away")
	case h.Dead && h.Ping:
		add("it is dead, and so logs no pings: take dead or ping away")
	case h.Refuses && !h.Dead:
		add("refuses is for hosts that are dead: write dead: true too")
	case h.Dead && len(h.Ranges()) > 0:
		add("a dead host has single addresses, no range")
	}
	return append(out, h.serviceFaults()...)
}

func nameFault(n string) string {
	switch {
	case strings.Contains(n, "*") && !strings.HasPrefix(n, "*."):
		return fmt.Sprintf("name %q: a wildcard is *. before the rest, such as *.s3.example, and stands for every name below", n)
	case !nameRE.MatchString(n) || len(n) > 253:
		return fmt.Sprintf("name %q is no host name: labels of letters, digits and dashes, with dots between them, without scheme, port or a dot at the end", n)
	}
	if _, err := netip.ParseAddr(n); err == nil {
		return fmt.Sprintf("name %q is an address: write it as address, and give the host a name", n)
	}
	for end, why := range elsewhere {
		if n == end || strings.HasSuffix(n, "."+end) {
			return fmt.Sprintf("name %q: no host can have it, because %s", n, why)
		}
	}
	return ""
}

func (h Host) serviceFaults() []string {
	var out []string
	add := func(s Service, format string, a ...any) {
		out = append(out, fmt.Sprintf("host %s, port %d: ", h.Name, s.Port)+fmt.Sprintf(format, a...))
	}
	if len(h.Services) > MaxServices {
		return []string{fmt.Sprintf("host %s: %d services, at most %d are possible", h.Name, len(h.Services), MaxServices)}
	}
	seen := map[string]bool{}
	for _, s := range h.Services {
		t, known := kinds[s.Kind]
		key := fmt.Sprint(s.Kind.Network(), s.Port)
		switch {
		case s.Port == 0:
			add(s, "a service needs a port from 1 to 65535")
		case !known:
			add(s, "kind %q is unknown; possible are %s", s.Kind, kindList())
		case seen[key]:
			add(s, "the port is given twice: take one away")
		case s.TLS && t.tls != tlsFirst && t.tls != tlsInside:
			add(s, "tls is not for kind %s: https, mtls and either speak TLS without it", s.Kind)
		case s.HTTP2 && (!t.web || t.tls != tlsAlways):
			add(s, "http2 is for https, mtls and either; plain HTTP services speak it without being told")
		}
		seen[key] = true
	}
	return out
}

func kindList() string {
	var out []string
	for _, k := range Kinds() {
		out = append(out, string(k))
	}
	return strings.Join(out, ", ")
}

// NameFault says why a host, or a wildcard such as *.example.com, cannot be called so; "" if it can.
func NameFault(name string) string { return nameFault(name) }

// Ownable says whether a host may have an address, as far as the address itself tells.
func Ownable(a netip.Addr) bool {
	for _, n := range nobodys {
		if n.p.Contains(a) && a != Metadata {
			return false
		}
	}
	return a.IsValid() && a.Zone() == ""
}
