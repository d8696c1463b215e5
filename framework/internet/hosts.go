package internet

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// MaxServices bounds the services of one host.
const MaxServices = 100

// Bounds of one internet.
const (
	maxHosts     = 1000 // hosts, and client certificates
	maxAddresses = 100  // addresses and ranges of one host
	maxListeners = 5000 // addresses times services, over all hosts
)

// Add returns the hosts with more of them, whose missing addresses are chosen. Hosts and client certificates that are
// there already, alike in all, stay as they are. Every clash is an error that says where both come from and what to do:
// the same name, the same address or range, a port twice, an address that no host may have.
func (h *Hosts) Add(more *Hosts) (*Hosts, error) {
	m := merger{out: &Hosts{DNS: h.DNS, Hosts: slices.Clone(h.Hosts), ClientCertificates: slices.Clone(h.ClientCertificates)}, names: map[string]int{}}
	for i, x := range m.out.Hosts {
		m.own(i, x)
	}
	fresh := len(m.out.Hosts)
	for _, x := range more.Hosts {
		m.host(x)
	}
	for _, c := range more.ClientCertificates {
		m.certificate(c)
	}
	m.choose(fresh)
	m.bounds()
	if len(m.errs) > 0 {
		return nil, enough(m.errs)
	}
	return m.out, nil
}

// merger adds hosts and gathers what is wrong with them.
type merger struct {
	out   *Hosts
	names map[string]int // of hosts and aliases, to the host's place
	errs  []error
}

func (m *merger) errorf(x Host, format string, a ...any) {
	m.errs = append(m.errs, fmt.Errorf("%s: "+format, append([]any{x.Where()}, a...)...))
}

// Where is the file and line that the host comes from, or its name where it comes from none.
func (h Host) Where() string {
	if h.at == "" {
		return "host " + h.Name
	}
	return h.at
}

func (m *merger) own(place int, x Host) {
	for _, n := range x.Names() {
		m.names[n] = place
	}
}

// host adds one host, if it is sound and nobody else has what is its.
func (m *merger) host(x Host) {
	x.Name = strings.ToLower(x.Name)
	x.Aliases = slices.Clone(x.Aliases)
	for i, a := range x.Aliases {
		x.Aliases[i] = strings.ToLower(a)
	}
	if i, there := m.names[x.Name]; there && m.out.Hosts[i].Name == x.Name && same(m.out.Hosts[i], x) {
		return
	}
	if faults := x.faults(); len(faults) > 0 {
		for _, f := range faults {
			m.errorf(x, "%s", f)
		}
		return
	}
	sound := true
	for i, n := range x.Names() {
		if other, taken := m.names[n]; taken {
			m.errorf(x, "the name %s is that of another host already (%s): give this one another name, or make the two alike in everything", n, m.out.Hosts[other].Where())
			sound = false
		} else if slices.Contains(x.Names()[:i], n) {
			m.errorf(x, "host %s has the name %s twice: take one away", x.Name, n)
			sound = false
		}
	}
	for _, p := range x.Address {
		if why := m.refuse(x, p); why != "" {
			m.errorf(x, "host %s: %s", x.Name, why)
			sound = false
		}
	}
	if sound {
		m.own(len(m.out.Hosts), x)
		m.out.Hosts = append(m.out.Hosts, x)
	}
}

// refuse says why a host cannot have an address or range beside the other hosts; "" if it can.
func (m *merger) refuse(x Host, p netip.Prefix) string {
	if d := m.out.DNS; d.IsValid() && p.Contains(d) {
		return fmt.Sprintf("%s holds %s, the address of the internet's DNS server: take another address or range", rangeText(p), d)
	}
	for _, other := range m.out.Hosts {
		for _, o := range other.Address {
			switch {
			case o == p:
				return fmt.Sprintf("%s belongs to %s already (%s): take another address, or leave it out and one is chosen", rangeText(p), other.Name, other.Where())
			case o.Overlaps(p) && (x.Dead || other.Dead):
				return fmt.Sprintf("%s meets %s of %s (%s), and one of them is dead, so that nobody may answer there: take another address", rangeText(p), rangeText(o), other.Name, other.Where())
			}
		}
	}
	return ""
}

// same says that a host is alike another one in all that a file can say; an address that was chosen for the one
// is the other's too.
func same(have, x Host) bool {
	if have.Chosen && len(x.Address) == 0 {
		x.Address, x.Chosen = have.Address, true
	}
	a, errA := json.Marshal(have)
	b, errB := json.Marshal(x)
	return errA == nil && errB == nil && string(a) == string(b)
}

func (m *merger) certificate(c ClientCertificate) {
	where := c.at
	if where == "" {
		where = "client certificate " + c.Name
	}
	fail := func(format string, a ...any) {
		m.errs = append(m.errs, fmt.Errorf("%s: "+format, append([]any{where}, a...)...))
	}
	for _, have := range m.out.ClientCertificates {
		if have.Name != c.Name {
			continue
		}
		if have.CA != c.CA || have.Certificate != c.Certificate {
			fail("there is another client certificate called %s (%s): give this one another name, or make the two alike", c.Name, have.at)
		}
		return
	}
	switch {
	case !labelRE.MatchString(c.Name):
		fail("client certificates: name %q: letters, digits, dots, dashes and underscores are possible, such as team-a.example", c.Name)
	case c.CA != "" && !labelRE.MatchString(c.CA):
		fail("client certificate %s: ca %q: letters, digits, dots, dashes and underscores are possible", c.Name, c.CA)
	case c.Certificate == WrongName:
		fail("client certificate %s: its name is what it is called, so it cannot be wrong; possible are %s, %s and %s", c.Name, Expired, SelfSigned, OtherCA)
	case !c.Certificate.known():
		fail("client certificate %s: certificate %q is unknown; possible are %s, %s and %s", c.Name, c.Certificate, Expired, SelfSigned, OtherCA)
	default:
		m.out.ClientCertificates = append(m.out.ClientCertificates, c)
	}
}

// documentation are the ranges from which missing addresses are chosen (RFC 5737). Built-in hosts lie in the last two,
// and so do the ranges that built-in cases open: they come when the first is full.
var documentation = []netip.Prefix{
	netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("203.0.113.0/24"),
}

// benchmarks is the range from which missing addresses are chosen when those are all taken: nobody on the internet has it either (RFC
// 2544).
var benchmarks = netip.MustParsePrefix("198.18.0.0/15")

// choose gives the hosts from a place on an address where they have none. The first try follows from the host's name
// alone, so that most keep theirs when the list changes.
func (m *merger) choose(from int) {
	taken := map[netip.Addr]bool{m.out.DNS: true}
	var ranges []netip.Prefix
	for _, x := range m.out.Hosts {
		for _, p := range x.Address {
			if p.IsSingleIP() {
				taken[p.Addr()] = true
			} else {
				ranges = append(ranges, p)
			}
		}
	}
	for i := from; i < len(m.out.Hosts); i++ {
		x := &m.out.Hosts[i]
		if len(x.Address) > 0 {
			continue
		}
		a, ok := free(x.Name, func(a netip.Addr) bool {
			return taken[a] || slices.ContainsFunc(ranges, func(p netip.Prefix) bool { return p.Contains(a) })
		})
		if !ok {
			m.errorf(*x, "host %s: no address is left in %v and %s: give it one of your own", x.Name, documentation, benchmarks)
			continue
		}
		taken[a] = true
		x.Address, x.Chosen = Addresses{netip.PrefixFrom(a, a.BitLen())}, true
	}
}

// free finds an address that is not taken: of the documentation ranges, or of that for benchmarks.
func free(name string, taken func(netip.Addr) bool) (netip.Addr, bool) {
	const each = 254 // without the network's own address and the broadcast address
	f := fnv.New32a()
	_, _ = f.Write([]byte(name)) // never fails
	start := f.Sum32() % each
	for _, p := range documentation {
		b := p.Addr().As4()
		for i := range uint32(each) {
			b[3] = byte(1 + (start+i)%each)
			if a := netip.AddrFrom4(b); !taken(a) {
				return a, true
			}
		}
	}
	for a := benchmarks.Addr().Next(); benchmarks.Contains(a); a = a.Next() {
		if !taken(a) {
			return a, true
		}
	}
	return netip.Addr{}, false
}

func (m *merger) bounds() {
	listeners := 0
	for _, x := range m.out.Hosts {
		listeners += len(x.Address) * len(x.Services)
	}
	for _, b := range []struct {
		what     string
		are, max int
	}{
		{"hosts", len(m.out.Hosts), maxHosts},
		{"client certificates", len(m.out.ClientCertificates), maxHosts},
		{"addresses times services", listeners, maxListeners},
	} {
		if b.are > b.max {
			m.errs = append(m.errs, fmt.Errorf("the internet would have %d %s, at most %d are possible: take some away", b.are, b.what, b.max))
		}
	}
}

// Missing are the hosts and client certificates that have lacks, or has in another way: what must be added to it to make it
// h. An address that was chosen is left to be chosen there.
func (h *Hosts) Missing(have *Hosts) *Hosts {
	out := &Hosts{}
	for _, x := range h.Hosts {
		if x.Chosen {
			x.Address, x.Chosen = nil, false
		}
		if !slices.ContainsFunc(have.Hosts, func(y Host) bool { return same(y, x) }) {
			out.Hosts = append(out.Hosts, x)
		}
	}
	for _, c := range h.ClientCertificates {
		if !slices.ContainsFunc(have.ClientCertificates, func(d ClientCertificate) bool {
			return d.Name == c.Name && d.CA == c.CA && d.Certificate == c.Certificate
		}) {
			out.ClientCertificates = append(out.ClientCertificates, c)
		}
	}
	return out
}

// Find returns the host that carries a name or owns an address. An exact name wins over a wildcard, and a longer
// wildcard or a narrower range over a wider one.
func (h *Hosts) Find(name string) (Host, bool) {
	if a, err := netip.ParseAddr(name); err == nil {
		x, _, ok := h.owner(a)
		return x, ok
	}
	name = strings.ToLower(name)
	best, length := -1, 0
	for i, x := range h.Hosts {
		for _, n := range x.Names() {
			if n == name {
				return x, true
			}
			if below(n, name) && len(n) > length {
				best, length = i, len(n)
			}
		}
	}
	if best < 0 {
		return Host{}, false
	}
	return h.Hosts[best], true
}

// Covers says whether a host name, or a wildcard such as *.example.com, stands for a name.
func Covers(host, name string) bool {
	return strings.EqualFold(host, name) || below(strings.ToLower(host), strings.ToLower(name))
}

// below says that a name is one of those that a wildcard stands for.
func below(wildcard, name string) bool {
	suffix, is := strings.CutPrefix(wildcard, "*")
	return is && len(name) > len(suffix) && strings.HasSuffix(name, suffix)
}

// owner finds the host that owns an address, and the address or range by which.
func (h *Hosts) owner(a netip.Addr) (Host, netip.Prefix, bool) {
	a = a.Unmap()
	best, by := -1, netip.Prefix{}
	for i, x := range h.Hosts {
		for _, p := range x.Address {
			if p.Contains(a) && (best < 0 || p.Bits() > by.Bits()) {
				best, by = i, p
			}
		}
	}
	if best < 0 {
		return Host{}, by, false
	}
	return h.Hosts[best], by, true
}

// ClusterRanges are what embedded and kind clusters have for pods and Services, whatever host is asked for.
func ClusterRanges() []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16"), netip.MustParsePrefix("10.96.0.0/16")}
}

// Collides says which hosts have addresses in ranges that belong to others, such as a cluster's pods, Services and
// nodes: one line for each, with file and line of the host.
func (h *Hosts) Collides(with ...netip.Prefix) []string {
	var out []string
	for _, x := range h.Hosts {
		for _, p := range x.Address {
			for _, w := range with {
				if p.Overlaps(w) {
					out = append(out, fmt.Sprintf("%s: %s of host %s meets %s", x.Where(), rangeText(p), x.Name, w))
				}
			}
		}
	}
	return out
}

// rangeRE finds what may be an IPv4 or IPv6 address or range.
var rangeRE = regexp.MustCompile(`\b\d{1,3}(?:\.\d{1,3}){3}(?:/\d{1,2})?\b|[0-9a-fA-F]{0,4}(?::[0-9a-fA-F]{0,4}){2,7}(?:/\d{1,3})?`)

// Ranges lists the addresses and CIDRs, IPv4 and IPv6, that a text names, an address as a range of one.
func Ranges(text string) []netip.Prefix {
	var out []netip.Prefix
	for _, m := range rangeRE.FindAllString(text, -1) {
		if r, err := netip.ParsePrefix(m); err == nil {
			out = append(out, r.Masked())
		} else if a, err := netip.ParseAddr(m); err == nil {
			out = append(out, netip.PrefixFrom(a, a.BitLen()))
		}
	}
	return out
}

// authorities are the names of the CAs that hosts and client certificates name.
func (h *Hosts) authorities() []string {
	var out []string
	for _, x := range h.Hosts {
		out = append(out, x.CA, x.ClientCA)
	}
	for _, c := range h.ClientCertificates {
		out = append(out, c.CA)
	}
	slices.Sort(out)
	return slices.DeleteFunc(slices.Compact(out), func(n string) bool { return n == "" })
}

// Placeholders lists what cases may write for certificates and keys of this internet:
// ${INTERNET_CA}, ${CLIENT_CERT}, ${CLIENT_KEY}, and for each authority and client certificate that is named
// ${CA:NAME}, ${CLIENT_CERT:NAME} and ${CLIENT_KEY:NAME}.
func (h *Hosts) Placeholders() []string {
	out := []string{caPlaceholder(""), certPlaceholder(""), keyPlaceholder("")}
	for _, n := range h.authorities() {
		out = append(out, caPlaceholder(n))
	}
	for _, c := range h.ClientCertificates {
		out = append(out, certPlaceholder(c.Name), keyPlaceholder(c.Name))
	}
	return out
}

// placeholderRE finds them in a text, known or not.
var placeholderRE = regexp.MustCompile(`\$\{(?:INTERNET_CA|CLIENT_CERT|CLIENT_KEY|(?:CA|CLIENT_CERT|CLIENT_KEY):[^{}"]*)\}`)

// PlaceholdersIn lists the placeholders of certificates and keys that a text names, each once, whether an internet knows
// them (Hosts.Placeholders) or not.
func PlaceholdersIn(text string) []string {
	found := placeholderRE.FindAllString(text, -1)
	slices.Sort(found)
	return slices.Compact(found)
}

func caPlaceholder(name string) string {
	if name == "" {
		return "${INTERNET_CA}"
	}
	return "${CA:" + name + "}"
}

func certPlaceholder(name string) string { return placeholder("CLIENT_CERT", name) }
func keyPlaceholder(name string) string  { return placeholder("CLIENT_KEY", name) }

func placeholder(what, name string) string {
	if name == "" {
		return "${" + what + "}"
	}
	return "${" + what + ":" + name + "}"
}
