package verify

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/internet"
)

// entryText is a ServiceEntry with this in its spec.
func entryText(name, spec string) string {
	return "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: " + name + ", namespace: shop}\nspec: {" + spec + "}\n"
}

func outsideOf(t *testing.T, expected *Expectations, texts ...string) *Outside {
	t.Helper()
	base, err := internet.DefaultHosts()
	if err != nil {
		t.Fatal(err)
	}
	var models []*Model
	for _, text := range texts {
		models = append(models, modelOf(t, text))
	}
	o, err := NewOutside(base, expected, models...)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// asks says which questions there are, without those that are asked anyway.
func asks(o *Outside) string {
	var out []string
	for _, q := range o.Questions {
		if q.Kind != Strange {
			out = append(out, q.Kind.Word()+" "+q.Key())
		}
	}
	return strings.Join(out, "\n")
}

func TestQuestions(t *testing.T) {
	for name, x := range map[string]struct {
		text string
		want string // of the questions that are not the stranger's
	}{
		"a host of TLS": {entryText("a", "hosts: [api.partner.example], ports: [{number: 443, protocol: TLS}]"), `named https://api.partner.example
address https://address-of-api.partner.example
neighbour http://api.partner.example
neighbour https://unnamed.partner.example
lie https://unregistered.example as api.partner.example`},
		"a wildcard": {entryText("a", `hosts: ["*.cdn.example"], ports: [{number: 80, protocol: HTTP}]`), `named http://any.cdn.example
address http://address-of-any.cdn.example
neighbour http://cdn.example
neighbour https://any.cdn.example
lie http://unregistered.example as any.cdn.example`},
		"HTTP at a port of TLS": {entryText("a", "hosts: [a.example], ports: [{number: 443, protocol: HTTP}]"), `named http://a.example:443
named https://a.example
address http://address-of-a.example:443
neighbour http://a.example
neighbour http://unnamed.example:443
lie http://unregistered.example:443 as a.example
lie https://unregistered.example as a.example`},
		"a range": {entryText("a", "hosts: [db.corp.example], addresses: [10.20.0.0/24], ports: [{number: 5432, protocol: TCP}]"), `named tcp://10.20.0.1:5432
named tcp://db.corp.example:5432
neighbour https://db.corp.example
neighbour tcp://10.20.1.1:5432
neighbour tcp://unnamed.corp.example:5432`},
		"an address": {entryText("a", "hosts: [db.corp.example], addresses: [10.20.0.9], ports: [{number: 3306, protocol: MySQL}]"), `named tcp://10.20.0.9:3306
named tcp://db.corp.example:3306
neighbour https://db.corp.example
neighbour tcp://10.20.0.10:3306
neighbour tcp://unnamed.corp.example:3306`},
		"within the cluster": {entryText("a", "hosts: [x.svc.cluster.local, inside], ports: [{number: 80, protocol: HTTP}]") + entryText("b", "hosts: [b.example], workloadSelector: {labels: {app: b}}, ports: [{number: 80, protocol: HTTP}]"), ""},
		"a name of the team's own": {entryText("a", "hosts: [api.corp.local], ports: [{number: 443, protocol: TLS}]"), `named https://api.corp.local
address https://address-of-api.corp.local
neighbour http://api.corp.local
neighbour https://unnamed.corp.local
lie https://unregistered.example as api.corp.local`},
		"a route alone": {"---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v, namespace: shop}\nspec: {hosts: [web.example.com, reviews]}\n", `named http://web.example.com
named https://web.example.com
lie http://unregistered.example as web.example.com
lie https://unregistered.example as web.example.com`},
	} {
		o := outsideOf(t, nil, nsShop+x.text)
		if got := asks(o); got != x.want {
			t.Errorf("%s:\n%s\nwant\n%s", name, got, x.want)
		}
	}
}

// Everything that is asked is served by somebody, so that the control client can reach it.
func TestServed(t *testing.T) {
	text := nsShop
	for i, p := range []string{"HTTP", "HTTPS", "TLS", "GRPC", "HTTP2", "TCP", "MySQL", "Mongo", "Redis", "UDP", ""} {
		port := string(rune('0' + i%10))
		text += entryText("a"+string(rune('a'+i)), "hosts: [h"+string(rune('a'+i))+".example, also"+string(rune('a'+i))+".example], resolution: STATIC, endpoints: [{address: 10.9.9."+port+"}, {address: backend.example, ports: {p: 9443}}], ports: [{number: 9"+port+"1, name: p, protocol: "+p+", targetPort: 700}]")
	}
	base, err := internet.DefaultHosts()
	if err != nil {
		t.Fatal(err)
	}
	o := outsideOf(t, nil, text)
	all, err := base.WithGuests(o.Guests)
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range o.Questions {
		p := q.Probe("x")
		network := "tcp"
		if p.Scheme() == "udp" {
			network = "udp"
		}
		h, ok := all.Find(q.Host)
		if _, served := h.Service(network, uint16(q.Port)); !ok || !served {
			t.Errorf("%s is not served by %+v", q.Key(), h)
		}
		if p.Protocol().Scheme == "" || p.Target(egress.Applied) != egress.Anywhere {
			t.Errorf("%s: %+v", q.Key(), p)
		}
	}
}

func TestLies(t *testing.T) {
	o := outsideOf(t, nil, nsShop+entryText("a", "hosts: [a.example], ports: [{number: 80, protocol: HTTP}, {number: 443, protocol: TLS}]"))
	for _, q := range o.Questions {
		if q.Kind != Lie {
			continue
		}
		switch p := q.Probe("x"); q.Port {
		case 80:
			if p.URL != "http://a.example/" || p.Connect != "unregistered.example:80" || p.Destination() != Stranger {
				t.Errorf("%+v", p)
			}
		case 443:
			if p.URL != "tls://unregistered.example:443" || p.SNI != "a.example" || p.Destination() != Stranger {
				t.Errorf("%+v", p)
			}
		}
	}
}

// Questions of two versions are those of both.
func TestUnion(t *testing.T) {
	a, b := nsShop+entryText("a", "hosts: [a.example], ports: [{number: 443, protocol: TLS}]"), nsShop+entryText("b", "hosts: [b.example], ports: [{number: 443, protocol: TLS}]")
	if got := asks(outsideOf(t, nil, a, b)); !strings.Contains(got, "named https://a.example") || !strings.Contains(got, "named https://b.example") {
		t.Error(got)
	}
}

// A name below a wildcard that is expected is the wildcard's: what else is asked of that is served, too.
func TestExpectedBelowWildcard(t *testing.T) {
	e, err := ParseExpectations("egress.yaml", []byte("allow: [{from: ['*'], to: ['https://any.cdn.example', 'https://img.cdn.example']}]"))
	if err != nil {
		t.Fatal(err)
	}
	o := outsideOf(t, e, nsShop+entryText("a", `hosts: ["*.cdn.example"], ports: [{number: 443, protocol: TLS}]`))
	for _, q := range o.Questions {
		h, _ := o.all.Find(q.Host)
		if _, served := h.Service("tcp", uint16(q.Port)); !served && q.speech.scheme != "udp" {
			t.Errorf("%s is not served by %s", q.Key(), h.Name)
		}
	}
	if h, _ := o.all.Find("img.cdn.example"); h.Name != "*.cdn.example" {
		t.Errorf("img.cdn.example is %s", h.Name)
	}
}

func TestAddresses(t *testing.T) {
	for in, want := range map[string]string{
		"10.0.0.0/8": "10.0.0.1", "10.96.0.0/12": "10.97.0.0", "10.244.0.0/16": "", "10.96.0.1": "", "240.240.0.1": "", "127.0.0.1": "", "169.254.169.254": "169.254.169.254", "169.254.0.0/16": "", "169.254.169.253": "", "2001:db8::/64": "", "192.168.1.7/24": "192.168.1.1", "0.0.0.0/0": "1.0.0.0",
	} {
		p, ok := prefixOf(in)
		if !ok {
			t.Fatal(in)
		}
		got, ok := within(p, usable)
		if ok != (want != "") || ok && got.String() != want {
			t.Errorf("%s: %v %t, want %s", in, got, ok, want)
		}
	}
	if last(netip.MustParsePrefix("10.20.0.0/22")).String() != "10.20.3.255" {
		t.Error("the last address of a range")
	}
}

// What has no stand-in, and every way out that is not asked, is told with its place.
func TestLacking(t *testing.T) {
	const ports = "ports: [{number: 443, protocol: TLS}]"
	service := func(spec string) string {
		return "---\napiVersion: v1\nkind: Service\nmetadata: {name: db, namespace: shop}\nspec: {" + spec + "}\n"
	}
	const endpoints = "---\napiVersion: v1\nkind: Endpoints\nmetadata: {name: db, namespace: shop}\nsubsets: [{addresses: [{ip: 203.0.113.9}]}]\n"
	const slice = "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: db-1, namespace: shop, labels: {kubernetes.io/service-name: db}}\naddressType: IPv4\n"
	for name, x := range map[string]struct{ text, want string }{
		"no host can be called so":         {entryText("a", `hosts: ["foo_.-x.example"], `+ports), "has no stand-in"},
		"an address of the cluster":        {entryText("a", "hosts: [a.example], addresses: [10.96.0.5], "+ports), "address 10.96.0.5/32"},
		"an address of the internet's DNS": {entryText("a", "hosts: [a.example], addresses: [198.51.100.53], "+ports), "address 198.51.100.53/32 has no stand-in: the dry mesh's own DNS server has it, take another one of the documentation ranges"},
		"an endpoint there":                {entryText("a", "hosts: [a.example], resolution: STATIC, endpoints: [{address: 198.51.100.53}], "+ports), "endpoint 198.51.100.53 has no stand-in: the dry mesh's own DNS server"},
		"an endpoint that nobody has":      {entryText("a", "hosts: [a.example], endpoints: [{address: 127.0.0.1}], "+ports), "endpoint 127.0.0.1"},
		"a name without a dot":             {entryText("a", "hosts: [db], "+ports), `host "db" is not asked`},
		"a name without a dot, at a host":  {entryText("a", "hosts: [db], resolution: STATIC, endpoints: [{address: 10.9.9.1}], "+ports), ""},
		"a Service's name":                 {entryText("a", "hosts: [x.shop.svc.cluster.local], "+ports), ""},
		"a Service's name that leads out":  {entryText("a", "hosts: [x.shop.svc.cluster.local], resolution: STATIC, endpoints: [{address: 203.0.113.9}], "+ports), "no certificate fits"},
		"another name of a host":           {service("type: ExternalName, externalName: db.example.com"), "Service shop/db is another name of db.example.com"},
		"Endpoints of no pods":             {service("ports: [{port: 5432}]") + endpoints, "Endpoints shop/db is not taken over: where Service shop/db leads"},
		"an EndpointSlice of no pods":      {slice + service("ports: [{port: 5432}]"), "EndpointSlice shop/db-1 is not taken over"},
		"Endpoints of pods":                {service("selector: {app: db}") + endpoints + slice, ""},
		"Endpoints of nothing":             {endpoints, ""},
		"TLS of a gateway":                 {"---\napiVersion: gateway.networking.k8s.io/v1\nkind: BackendTLSPolicy\nmetadata: {name: p, namespace: shop}\n", "BackendTLSPolicy shop/p is not taken over"},
	} {
		r, _, _ := reported(t, registryOnly+nsShop+x.text, strict)
		if got := r.Mistakes.Error(); (got == "") != (x.want == "") || !strings.Contains(got, x.want) || x.want != "" && (!strings.HasPrefix(got, "standard input:") || r.ExitCode() != exitFault) {
			t.Errorf("%s: exit %d, %q, want %q", name, r.ExitCode(), got, x.want)
		}
	}
}

// The metadata address is asked as a stranger; where an object names it, as what that names, once.
func TestMetadata(t *testing.T) {
	for name, x := range map[string]struct {
		text string
		kind QuestionKind
		at   string // the host that has the address
	}{
		"nobody names it":     {entryText("a", "hosts: [a.example], ports: [{number: 443, protocol: TLS}]"), Strange, "address-169-254-169-254.example"},
		"a range has it":      {entryText("a", "hosts: [a.example], addresses: [169.254.0.0/16], ports: [{number: 443, protocol: TLS}]"), Strange, "address-169-254-169-254.example"},
		"an entry names it":   {entryText("a", "hosts: [metadata.example], addresses: [169.254.169.254], ports: [{number: 80, protocol: HTTP}]"), Named, "metadata.example"},
		"an endpoint has it":  {entryText("a", "hosts: [metadata.example], resolution: STATIC, endpoints: [{address: 169.254.169.254}], ports: [{number: 80, protocol: HTTP}]"), Strange, "address-169-254-169-254.example"},
		"at another port too": {entryText("a", "hosts: [metadata.example], addresses: [169.254.169.254], ports: [{number: 8080, protocol: HTTP}]"), Strange, "metadata.example"},
	} {
		o := outsideOf(t, nil, x.text)
		n := 0
		for _, q := range o.Questions {
			if q.To == "http://169.254.169.254" {
				n++
				if q.Kind != x.kind {
					t.Errorf("%s: asked as %s", name, q.Kind)
				}
			}
		}
		if n != 1 || o.server("169.254.169.254") != x.at {
			t.Errorf("%s: asked %d times, of %s", name, n, o.server("169.254.169.254"))
		}
	}
}

// Names that no DNS server outside can know are asked, and nobody outside has them.
func TestOwnNames(t *testing.T) {
	const db = "ports: [{number: 5432, name: tcp, protocol: TCP}]"
	for name, x := range map[string]struct{ spec, more, asked, server, lacks string }{
		"without a dot, at an endpoint": {"hosts: [legacy], resolution: STATIC, endpoints: [{address: 20.0.0.7}], " + db, "", "tcp://legacy:5432", "address-20-0-0-7.example", ""},
		"at an address":                 {"hosts: [legacy], addresses: [20.0.0.7], resolution: NONE, " + db, "", "tcp://legacy:5432", "address-20-0-0-7.example", ""},
		"at a host":                     {"hosts: [legacy], resolution: DNS, endpoints: [{address: db.partner.example}], " + db, "", "tcp://legacy:5432", "db.partner.example", ""},
		"of the cluster":                {"hosts: [db.shop.svc.cluster.local], addresses: [20.0.0.7], " + db, "", "tcp://db.shop.svc.cluster.local:5432", "address-20-0-0-7.example", ""},
		"below a wildcard":              {`hosts: ["*.db.svc.cluster.local"], addresses: [20.0.0.7], ` + db, "", "tcp://any.db.svc.cluster.local:5432", "address-20-0-0-7.example", ""},
		"in TLS":                        {"hosts: [legacy], addresses: [20.0.0.7], ports: [{number: 443, name: tls, protocol: TLS}]", "", "https://legacy", "address-20-0-0-7.example", ""},
		"of the cluster, in TLS":        {"hosts: [web.shop.svc.cluster.local], addresses: [20.0.0.7], ports: [{number: 443, name: tls, protocol: TLS}]", "", "", "", "no certificate fits"},
		"a Service's":                   {"hosts: [legacy], addresses: [20.0.0.7], " + db, "---\napiVersion: v1\nkind: Service\nmetadata: {name: legacy, namespace: shop}\nspec: {ports: [{port: 1}]}\n", "", "", ""},
		"nobody's":                      {"hosts: [legacy], resolution: DNS, " + db, "", "", "", "nobody outside has it"},
		"outside":                       {"hosts: [legacy.example], addresses: [20.0.0.7], " + db, "", "", "", ""},
	} {
		o := outsideOf(t, nil, entryText("a", x.spec)+x.more)
		asked := ""
		for _, q := range o.Questions {
			if q.server == "" {
				continue
			}
			asked = q.To
			h, ok := o.all.Find(q.server)
			if p := q.Probe("c"); q.server != x.server || p.Destination() != x.server || !ok || len(q.About) != 1 {
				t.Errorf("%s: %+v leads to %s", name, q, q.server)
			}
			if q.speech.scheme == "https" && !slices.Contains(h.CertificateNames, q.Host) {
				t.Errorf("%s: its certificate is for %v", name, h.CertificateNames)
			}
			if _, ok := o.all.Find(q.Host); ok {
				t.Errorf("%s: somebody outside is called %s", name, q.Host)
			}
		}
		if asked != x.asked {
			t.Errorf("%s: asked %q", name, asked)
		}
		if got := o.Lacking.Error(); !strings.Contains(got, x.lacks) || (got == "") != (x.lacks == "") {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// What does not fit into an outside is told with its place, and everything else is asked.
func TestBounds(t *testing.T) {
	many := func(n int, entry func(i int) string) string {
		var b strings.Builder
		for i := range n {
			b.WriteString(entry(i))
		}
		return b.String()
	}
	for name, x := range map[string]struct {
		text, lacks, asks string
	}{
		"an address of a host that is there": {entryText("a", "hosts: [a.example], addresses: [198.51.100.10], ports: [{number: 5432, protocol: TCP}]"), "address 198.51.100.10/32 has no stand-in: the dry mesh's own httpbin.org", "tcp://a.example:5432"},
		"such an endpoint":                   {entryText("a", "hosts: [a.example], resolution: STATIC, endpoints: [{address: 198.51.100.10}], ports: [{number: 5432, protocol: TCP}]"), "endpoint 198.51.100.10 has no stand-in: the dry mesh's own", "tcp://a.example:5432"},
		"beside such an address":             {entryText("a", "hosts: [a.example], addresses: [198.51.100.9], ports: [{number: 5432, protocol: TCP}]"), "", "tcp://198.51.100.9:5432"},
		"a range with such an address":       {entryText("a", "hosts: [a.example], addresses: [198.51.100.10/31], ports: [{number: 5432, protocol: TCP}]"), "", "tcp://198.51.100.11:5432"},
		"many ports": {entryText("a", "hosts: [a.example], ports: ["+many(150, func(i int) string {
			return fmt.Sprintf("{number: %d, protocol: TCP}, ", 9000+i)
		})+"]"), "tcp://a.example:9149 is not asked: a host of the dry mesh has at most 100 ports", "tcp://a.example:9000"},
		"many hosts": {many(450, func(i int) string {
			return entryText(fmt.Sprint("a", i), fmt.Sprintf("hosts: [a.h%d.example], ports: [{number: 443, protocol: TLS}]", i))
		}), "", "https://a.h449.example"},
	} {
		o := outsideOf(t, nil, x.text)
		if got := o.Lacking.Error(); !strings.Contains(got, x.lacks) || (got == "") != (x.lacks == "") {
			t.Errorf("%s: lacks %.300q, want %q", name, got, x.lacks)
		}
		if !strings.Contains(asks(o)+"\n", " "+x.asks+"\n") {
			t.Errorf("%s: %s is not asked", name, x.asks)
		}
		for _, q := range o.Questions {
			host := q.Host
			if q.server != "" {
				host = q.server
			}
			if h, ok := o.all.Find(host); !ok {
				t.Errorf("%s: nobody is %s", name, host)
			} else if _, served := h.Service("tcp", uint16(q.Port)); !served && q.speech.scheme != "udp" {
				t.Errorf("%s: %s is not served", name, q.Key())
			}
		}
	}
}
