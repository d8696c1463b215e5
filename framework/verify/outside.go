package verify

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"mesh-egress-conformance/framework/input"
	"mesh-egress-conformance/framework/internet"
	"mesh-egress-conformance/framework/manifest"
)

// Outside is what the team's objects are about, made for them: a stand-in for each host, address and range that they name,
// neighbours that nobody names, and a stranger.
type Outside struct {
	// Guests are the hosts that an internet is to have meanwhile.
	Guests    *internet.Hosts
	Questions []Question
	// Lacking are hosts that there is no stand-in for.
	Lacking input.Mistakes
	// Blind says that it is the real outside, which does not tell what arrived.
	Blind bool
	// names are what people call a stand-in whose name is made up.
	names map[string]string
	all   *internet.Hosts
	homes []home
	stay  []internet.Host // that the internet has anyway: nobody else can have their addresses
	dns   netip.Addr      // of the internet's DNS server, which is none of its hosts
}

// home is where calls arrive that an entry is about.
type home struct {
	called []string // hosts and addresses
	stands []string // names of stand-ins
}

// Stranger is the host that no object names.
const Stranger = "unregistered.example"

// stand is a stand-in in the making.
type stand struct {
	names     []string
	addresses []netip.Addr
	services  map[uint16]internet.Service
	called    string // by people; "" is its name
	// certificate are further names in its certificates: those that the mesh alone knows it by.
	certificate []string
}

// planner makes an outside.
type planner struct {
	models  []*Model
	entries []entry
	base    *internet.Hosts
	stands  []*stand
	byName  map[string]*stand
	out     *Outside
	ports   map[int]string // that any object names, with the protocol
	asked   map[string]bool
	// addressed are questions for the addresses of names, which are not chosen yet.
	addressed []Question
}

// taken by the cluster itself, whichever provider makes it: no host can be there.
var clusters = []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16"), netip.MustParsePrefix("10.96.0.0/16"), netip.MustParsePrefix("172.31.255.0/30")}

// NewOutside makes the outside of models, beside the hosts that an internet has anyway. Stand-ins of an earlier outside that it has
// keep the addresses that were chosen for them: proxies know these by now. What is expected is asked too; nil expects nothing. The first
// model is the present one: what the others lack is nobody's concern any more.
func NewOutside(base *internet.Hosts, expected *Expectations, models ...*Model) (*Outside, error) {
	p := &planner{models: models, base: base, byName: map[string]*stand{}, out: &Outside{names: map[string]string{}}, ports: map[int]string{}, asked: map[string]bool{}}
	for i, m := range models {
		for _, e := range m.entries() {
			e.former = i > 0
			p.entries = append(p.entries, e)
		}
	}
	p.out.stay, p.out.dns = slices.DeleteFunc(slices.Clone(base.Hosts), func(h internet.Host) bool { return h.Guest }), base.DNS
	p.stranger()
	for _, e := range p.entries {
		if !e.inside {
			p.named(e)
		}
	}
	for _, m := range models {
		for h, x := range m.routed() {
			if !covered(p.entries, h) {
				p.routedOnly(h, x)
			}
		}
	}
	for _, e := range p.entries {
		if !e.inside {
			p.neighbours(e)
		}
	}
	p.everywhere()
	p.metadata()
	p.expected(expected)
	guests := &internet.Hosts{}
	for _, s := range p.stands {
		h := s.host()
		if a, ok := p.former(s); ok {
			h.Address, h.Chosen = internet.Addresses{a}, true
		}
		guests.Hosts = append(guests.Hosts, h)
	}
	all, err := base.WithGuests(guests)
	if err != nil {
		return nil, fmt.Errorf("make stand-ins for the hosts that the objects name: %w", err)
	}
	p.out.Guests, p.out.all = all.Guests(), all
	p.byAddress(all)
	p.expectedByAddress(all)
	slices.SortStableFunc(p.out.Questions, func(a, b Question) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), strings.Compare(a.To, b.To), strings.Compare(a.As, b.As))
	})
	p.out.Lacking = p.out.Lacking.Sorted()
	return p.out, nil
}

func (s *stand) host() internet.Host {
	h := internet.Host{Name: s.names[0], Aliases: s.names[1:], CertificateNames: s.certificate}
	for _, a := range s.addresses {
		h.Address = append(h.Address, netip.PrefixFrom(a, a.BitLen()))
	}
	for _, port := range sortedKeys(s.services) {
		h.Services = append(h.Services, s.services[port])
	}
	return h
}

// former is the address that was chosen for a stand-in earlier, where no other one has it now.
func (p *planner) former(s *stand) (netip.Prefix, bool) {
	if len(s.addresses) > 0 {
		return netip.Prefix{}, false
	}
	for _, h := range p.base.Guests().Hosts {
		if h.Name != s.names[0] || !h.Chosen || len(h.Address) != 1 {
			continue
		}
		a := h.Address[0].Addr()
		return h.Address[0], !slices.ContainsFunc(p.stands, func(x *stand) bool { return slices.Contains(x.addresses, a) })
	}
	return netip.Prefix{}, false
}

// stand finds or makes the stand-in of a name.
func (p *planner) stand(name string) *stand {
	if s := p.byName[name]; s != nil {
		return s
	}
	s := &stand{names: []string{name}, services: map[uint16]internet.Service{}}
	p.byName[name] = s
	p.stands = append(p.stands, s)
	return s
}

// at finds or makes the stand-in that has an address; where nobody has a name for it, it gets one.
func (p *planner) at(a netip.Addr) *stand {
	for _, s := range p.stands {
		if slices.Contains(s.addresses, a) {
			return s
		}
	}
	s := p.stand("address-" + strings.NewReplacer(".", "-", ":", "-").Replace(a.String()) + ".example")
	s.addresses, s.called = []netip.Addr{a}, a.String()
	p.out.names[s.names[0]] = s.called
	return s
}

// serve makes a stand-in speak a protocol at a port. What has HTTP or TLS wins over plain bytes.
func (s *stand) serve(port int, svc internet.Service) {
	svc.Port = uint16(port) //nolint:gosec // a port
	have, ok := s.services[svc.Port]
	if !ok && len(s.services) >= internet.MaxServices {
		return // whoever asks for it is told
	}
	if !ok || have.Kind != internet.Either && svc.Kind == internet.Either {
		s.services[svc.Port] = svc
	}
}

// speech is what a service speaks, and how a client calls it.
type speech struct {
	service internet.Service
	scheme  string
	send    string
}

// greeting is what a client of plain bytes says first.
const greeting = "hello\n"

var (
	web      = internet.Service{Kind: internet.Either, HTTP2: true}
	speeches = map[string]speech{
		"HTTP": {web, "http", ""}, "HTTP2": {web, "http", ""}, "HTTP_PROXY": {web, "http", ""}, "GRPC": {web, "grpc", ""}, "GRPC-WEB": {web, "grpc", ""}, "HTTPS": {web, "https", ""}, "TLS": {web, "https", ""},
		"MYSQL": {internet.Service{Kind: internet.Banner}, "tcp", ""}, "UDP": {internet.Service{Kind: internet.UDPEcho}, "udp", greeting},
	}
	plain = speech{internet.Service{Kind: internet.Echo}, "tcp", greeting}
)

// speak is what is spoken at a port by its protocol. A port whose number everybody knows is called as everybody does.
func speak(protocol string, port int) speech {
	if s, ok := speeches[protocol]; ok {
		return s
	}
	switch port {
	case 80:
		return speeches["HTTP"]
	case 443:
		return speeches["TLS"]
	}
	return plain
}

// usable says whether a host of the internet may have an address.
func usable(a netip.Addr) bool {
	return a.Is4() && internet.Ownable(a) && !slices.ContainsFunc(clusters, func(c netip.Prefix) bool { return c.Contains(a) })
}

// usable says whether a stand-in can have an address.
func (o *Outside) usable(a netip.Addr) bool { return usable(a) && o.has(a) == "" }

// has is who the internet has anyway at an address; "" for nobody.
func (o *Outside) has(a netip.Addr) string {
	if a == o.dns {
		return "DNS server"
	}
	for _, h := range o.stay {
		if slices.ContainsFunc(h.Address, func(p netip.Prefix) bool { return p.Contains(a) }) {
			return h.Name
		}
	}
	return ""
}

// lacks says why no stand-in can have an address, or any of a range.
func (o *Outside) lacks(r netip.Prefix) string {
	if name := o.has(r.Addr()); name != "" {
		return "the dry mesh's own " + name + " has it, take another one of the documentation ranges"
	}
	return "nobody outside can have it in the dry mesh"
}

// within finds an address in a range that a stand-in can have.
func (o *Outside) within(r netip.Prefix) (netip.Addr, bool) { return within(r, o.usable) }

func within(r netip.Prefix, usable func(netip.Addr) bool) (netip.Addr, bool) {
	a := r.Addr()
	if !r.IsSingleIP() {
		a = a.Next()
	}
	const tries = 1 << 10 // each goes on behind a whole range
	for range tries {
		switch {
		case !r.Contains(a):
			return a, false
		case usable(a):
			return a, true
		}
		a = skip(a)
	}
	return a, false
}

// skip goes on behind the cluster's range that an address is in, or behind 65,536 addresses of a range that is nobody's.
func skip(a netip.Addr) netip.Addr {
	for _, c := range clusters {
		if c.Contains(a) {
			return last(c).Next()
		}
	}
	const nobodys = 16 // bits of such a range, at the most
	if p, err := a.Prefix(nobodys); err == nil && !internet.Ownable(a) {
		return last(p).Next()
	}
	return a.Next()
}

// last is the last address of a range.
func last(r netip.Prefix) netip.Addr {
	b := r.Masked().Addr().AsSlice()
	for i := r.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	a, _ := netip.AddrFromSlice(b) // as long as before
	return a
}

func (p *planner) lack(e entry, field, format string, a ...any) {
	if !e.former {
		p.out.Lacking = append(p.out.Lacking, input.Mistake{File: e.object.File, Line: e.object.LineAt("spec", field), What: fmt.Sprintf(format, a...)})
	}
}

// named makes what an entry names, and asks for it.
func (p *planner) named(e entry) {
	type called struct {
		name string
		*stand
	}
	var stands []called
	single := e.single(p.out.usable)
	for _, h := range e.hosts {
		if !external(h) {
			continue // it is a Service's, the mesh's own, or nobody's
		}
		if why := internet.NameFault(h); why != "" {
			p.lack(e, "hosts", "host %q has no stand-in: %s", h, why)
			continue
		}
		if len(stands) > 0 && len(single) > 0 && p.byName[h] == nil { // one machine, of several names
			stands[0].names = append(stands[0].names, h)
			p.byName[h] = stands[0].stand
		}
		s := p.stand(h)
		if len(stands) == 0 {
			p.own(s, single)
		}
		stands = append(stands, called{h, s})
	}
	for _, r := range e.addresses {
		a, ok := p.out.within(r)
		if !ok {
			p.lack(e, "addresses", "address %s has no stand-in: %s", r, p.out.lacks(r))
			continue
		}
		s := p.at(a)
		for _, port := range e.ports {
			sp := p.speech(e, port)
			s.serve(port.number, sp.service)
			p.ask(Question{Kind: Named, Host: a.String(), Port: port.number, speech: sp}, e.object)
		}
	}
	var at home
	for _, h := range e.hosts {
		at.called = append(at.called, sample(h))
	}
	for _, s := range stands {
		at.stands = append(at.stands, s.names[0])
	}
	for _, end := range e.endpoints {
		if s := p.endpoint(e, end); s != nil {
			at.stands = append(at.stands, s.names[0])
		}
	}
	for _, r := range e.addresses {
		if a, ok := p.out.within(r); ok {
			at.called, at.stands = append(at.called, a.String()), append(at.stands, p.at(a).names[0])
		}
	}
	p.out.homes = append(p.out.homes, at)
	for _, port := range e.ports {
		sp := p.speech(e, port)
		p.ports[port.number] = cmp.Or(p.ports[port.number], port.protocol)
		for _, s := range stands {
			s.serve(port.number, sp.service)
			s.serve(port.target, sp.service)
		}
	}
	for _, s := range stands {
		for _, port := range e.ports {
			p.askName(s.name, port, p.speech(e, port), e.object)
		}
	}
	p.ownNames(e)
}

// single are the single addresses of an entry that a stand-in can have.
func (e entry) single(usable func(netip.Addr) bool) []netip.Addr {
	var out []netip.Addr
	for _, r := range e.addresses {
		if r.IsSingleIP() && usable(r.Addr()) {
			out = append(out, r.Addr())
		}
	}
	return out
}

// own gives a stand-in addresses that nobody has yet: a name resolves to them then, as it will outside.
func (p *planner) own(s *stand, addresses []netip.Addr) {
	for _, a := range addresses {
		if !slices.ContainsFunc(p.stands, func(x *stand) bool { return slices.Contains(x.addresses, a) }) {
			s.addresses = append(s.addresses, a)
		}
	}
}

// speech of an entry's port. Where a DestinationRule makes TLS of plain bytes, the stand-in speaks TLS.
func (p *planner) speech(e entry, port entryPort) speech {
	sp := speak(port.protocol, port.number)
	if sp.service.Kind != internet.Echo {
		return sp
	}
	for _, m := range p.models {
		for _, h := range e.hosts {
			if m.originates(h, port.number) != "" {
				sp.service.TLS = true
			}
		}
	}
	return sp
}

// endpoint finds or makes what an endpoint of an entry stands for; nil for nothing.
func (p *planner) endpoint(e entry, end endpoint) *stand {
	var s *stand
	if a, err := netip.ParseAddr(end.address); err == nil {
		if !p.out.usable(a) {
			p.lack(e, "endpoints", "endpoint %s has no stand-in: %s", a, p.out.lacks(netip.PrefixFrom(a, a.BitLen())))
			return nil
		}
		s = p.at(a)
	} else if name := strings.ToLower(end.address); external(name) && internet.NameFault(name) == "" {
		s = p.stand(name)
	} else {
		return nil
	}
	for _, port := range e.ports {
		to := port.target
		if n := end.ports[port.name]; n > 0 {
			to = n
		}
		s.serve(to, p.speech(e, port).service)
	}
	return s
}

// routedOnly asks for a host that a VirtualService names and no entry has.
func (p *planner) routedOnly(h string, x manifest.Object) {
	if internet.NameFault(h) != "" {
		return
	}
	s := p.stand(h)
	for _, port := range []int{80, 443} {
		s.serve(port, web)
		p.askName(h, entryPort{number: port}, speak("", port), x)
	}
}

// Unasked is the same outside with those questions that another one does not have.
func (o *Outside) Unasked(other *Outside) *Outside {
	out := *o
	out.Questions = slices.DeleteFunc(slices.Clone(o.Questions), func(q Question) bool {
		return slices.ContainsFunc(other.Questions, func(x Question) bool { return x.Key() == q.Key() })
	})
	return &out
}

// sample is a name below a wildcard; any other name stays.
func sample(host string) string {
	if suffix, wild := strings.CutPrefix(host, "*."); wild {
		return "any." + suffix
	}
	return host
}

// stranger makes the host that nobody names, with what must never be open.
func (p *planner) stranger() {
	s := p.stand(Stranger)
	for _, x := range []struct {
		port int
		sp   speech
		what string
	}{
		{80, speeches["HTTP"], "HTTP"},
		{443, speeches["TLS"], "HTTPS"},
		{8080, speeches["HTTP"], "HTTP on port 8080"},
		{8443, speeches["TLS"], "HTTPS on port 8443"},
		{22, speech{internet.Service{Kind: internet.Banner}, "tcp", ""}, "SSH"},
		{25, speech{internet.Service{Kind: internet.Banner}, "tcp", ""}, "SMTP"},
		{53, plain, "DNS over TCP"},
		{3306, speeches["MYSQL"], "MySQL"},
		{5432, plain, "PostgreSQL"},
		{6379, plain, "Redis"},
		{7777, plain, "bytes on any port"},
		{udpPort, speeches["UDP"], "UDP, as QUIC"},
	} {
		s.serve(x.port, x.sp.service)
		p.ask(Question{Kind: Strange, Host: Stranger, Port: x.port, What: x.what, speech: x.sp}, manifest.Object{})
	}
}

// metadata asks for the address at which clouds hand out credentials. Where an object names it, that host has it.
func (p *planner) metadata() {
	sp := speeches["HTTP"]
	p.at(internet.Metadata).serve(metadataPort, sp.service)
	p.ask(Question{Kind: Strange, Host: internet.Metadata.String(), Port: metadataPort, What: "cloud metadata", speech: sp}, manifest.Object{})
}

// metadataPort is that of HTTP, at every cloud.
const metadataPort = 80

// udpPort is where the stranger answers datagrams: a port of its own, since a host has one service at each.
const udpPort = 4433
