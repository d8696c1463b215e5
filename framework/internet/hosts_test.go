package internet

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// read reads the hosts of a file as people write it.
func read(t *testing.T, text string) *Hosts {
	t.Helper()
	h, err := ReadHosts("hosts.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// add adds them to the built-in hosts.
func add(t *testing.T, text string) *Hosts {
	t.Helper()
	h, err := builtInHosts(t).Add(read(t, text))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func builtInHosts(t *testing.T) *Hosts {
	t.Helper()
	h, err := DefaultHosts()
	if err != nil {
		t.Fatal(err)
	}
	return h
}

const ownHosts = `
hosts:
  - name: api.stripe.com
    services: [{port: 443, kind: https, http2: true}]
  - name: "*.s3.eu-west-1.amazonaws.com"
    aliases: [s3.eu-west-1.amazonaws.com]
    services: [{port: 443, kind: https}]
  - name: "*.eu-west-1.amazonaws.com"
  - name: orders.rds.example
    address: [10.20.30.40, "2001:db8:1::5"]
    services: [{port: 5432, kind: postgres, tls: true}]
  - name: dc.example
    address: 10.20.0.0/16
    services: [{port: 5432, kind: postgres}, {port: 53, kind: udp-echo}]
  - name: other.dc
    address: [10.99.0.0/16, "2001:db8:99::/48"]
    ca: partner
    clientCA: partner-clients
clientCertificates:
  - name: team-a.example
  - {name: team-b.example, ca: partner-clients, certificate: expired}
`

func TestFind(t *testing.T) {
	h := add(t, ownHosts)
	for name, want := range map[string]string{
		"api.stripe.com":                          "api.stripe.com",
		"API.Stripe.com":                          "api.stripe.com",
		"x.stripe.com":                            "",
		"a.s3.eu-west-1.amazonaws.com":            "*.s3.eu-west-1.amazonaws.com",
		"a.b.s3.eu-west-1.amazonaws.com":          "*.s3.eu-west-1.amazonaws.com",
		"s3.eu-west-1.amazonaws.com":              "*.s3.eu-west-1.amazonaws.com",
		"sqs.eu-west-1.amazonaws.com":             "*.eu-west-1.amazonaws.com",
		"eu-west-1.amazonaws.com":                 "",
		"fakes3.eu-west-1.amazonaws.com.evil.org": "",
		"10.20.30.40":                             "orders.rds.example",
		"10.20.30.41":                             "dc.example",
		"10.21.0.1":                               "",
		"::ffff:10.20.0.9":                        "dc.example",
		"2001:db8:1::5":                           "orders.rds.example",
		"2001:db8:99::1":                          "other.dc",
		"httpbin.org":                             "httpbin.org",
	} {
		x, ok := h.Find(name)
		if x.Name != want || ok != (want != "") {
			t.Errorf("%s: %q, want %q", name, x.Name, want)
		}
	}
	if x, _ := h.Find("dc.example"); !slices.Equal(x.Addresses(), []netip.Addr{netip.MustParseAddr("10.20.0.1")}) {
		t.Errorf("a name of a range resolves to %v", x.Addresses())
	}
	for _, a := range []string{"10.20.30.40", "2001:db8:1::5"} {
		if !slices.Contains(h.Addresses(), netip.MustParseAddr(a)) {
			t.Errorf("%s is not among the addresses for a link", a)
		}
	}
	if got := h.Ranges(); !slices.Equal(got, at("2001:db8:1::/64", "10.20.0.0/16", "10.99.0.0/16", "2001:db8:99::/48")) { // the first is a built-in host's
		t.Errorf("ranges %v", got)
	}
	got := h.Collides(netip.MustParsePrefix("10.20.30.0/24"), netip.MustParsePrefix("10.96.0.0/16"))
	if want := []string{"hosts.yaml:9: 10.20.30.40 of host orders.rds.example meets 10.20.30.0/24", "hosts.yaml:12: 10.20.0.0/16 of host dc.example meets 10.20.30.0/24"}; !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	if x, _ := h.Find("api.stripe.com"); !x.NamedIn("https://api.stripe.com/") || x.NamedIn("stripe.com") {
		t.Error("a name in a text")
	}
	if x, _ := h.Find("a.s3.eu-west-1.amazonaws.com"); !x.NamedIn("https://b.s3.eu-west-1.amazonaws.com/") {
		t.Error("a name below a wildcard in a text")
	}
}

func TestChosenAddresses(t *testing.T) {
	chosen := func(h *Hosts, name string) netip.Addr {
		x, ok := h.Find(name)
		if !ok || !x.Chosen || len(x.Address) != 1 {
			t.Fatalf("%s: %+v", name, x)
		}
		return x.Addresses()[0]
	}
	first := chosen(add(t, ownHosts), "api.stripe.com")
	if !documentation[0].Contains(first) || first != chosen(add(t, ownHosts), "api.stripe.com") {
		t.Errorf("%s is not the same documentation address each time", first)
	}
	if other := chosen(add(t, "hosts: [{name: before.example}, {name: api.stripe.com}]"), "api.stripe.com"); other != first {
		t.Errorf("another host before it moves it from %s to %s", first, other)
	}
	// What is there keeps its address, and one that is taken is passed over.
	h := add(t, "hosts: [{name: api.stripe.com}]")
	again, err := h.Add(read(t, "hosts: [{name: api.stripe.com}, {name: b.example}]"))
	if err != nil || len(again.Hosts) != len(h.Hosts)+1 || chosen(again, "api.stripe.com") != first {
		t.Errorf("%v %v", again, err)
	}
	if missing := again.Missing(h); len(missing.Hosts) != 1 || missing.Hosts[0].Name != "b.example" {
		t.Errorf("missing are %+v", missing.Hosts)
	}
	taken := add(t, "hosts: [{name: x.example, address: "+first.String()+"}, {name: api.stripe.com}]")
	if got := chosen(taken, "api.stripe.com"); got == first {
		t.Errorf("%s is chosen twice", got)
	}
	var many []Host
	seen := map[netip.Addr]bool{}
	for i := range 740 {
		many = append(many, Host{Name: "h" + strings.Repeat("x", i%60) + string(rune('a'+i/60)) + ".example"})
	}
	full, err := builtInHosts(t).Add(&Hosts{Hosts: many})
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range full.Hosts {
		for _, a := range x.Addresses() {
			if seen[a] || a == full.DNS {
				t.Fatalf("%s of %s is taken", a, x.Name)
			}
			seen[a] = true
		}
	}
}

func TestHostMistakes(t *testing.T) {
	service := func(s string) string { return "hosts:\n  - {name: a.example, services: [" + s + "]}" }
	address := func(a string) string { return "hosts:\n  - {name: a.example, address: " + a + "}" }
	for text, want := range map[string]string{
		"hosts:\n  - {name: httpbin.org}":                                                 "hosts.yaml:2: the name httpbin.org is that of another host already (the built-in hosts.yaml:",
		"hosts:\n  - {name: a.example, aliases: [de.wikipedia.org]}":                      "hosts.yaml:2: the name de.wikipedia.org is that of another host",
		"hosts:\n  - {name: a.example, site: cnn}\n  - {name: a.example}":                 "hosts.yaml:3: the name a.example is that of another host already (hosts.yaml:2): give this one another name",
		"hosts:\n  - {name: a.example, aliases: [A.example]}":                             "has the name a.example twice",
		"hosts:\n  - {name: A.b.example}\n  - {name: '*.b.example', address: 10.0.0.0/8}": "",
		"hosts:\n  - {aliases: [a.example]}":                                              "hosts.yaml:2: a host needs a name",
		"hosts:\n  - {name: https://a.example}":                                           "is no host name",
		"hosts:\n  - {name: a.example.}":                                                  "without scheme, port or a dot at the end",
		"hosts:\n  - {name: 'a.*.example'}":                                               "a wildcard is *. before the rest",
		"hosts:\n  - {name: '*'}":                                                         "a wildcard is *. before the rest",
		"hosts:\n  - {name: 10.1.2.3}":                                                    "is an address: write it as address",
		"hosts:\n  - {name: db.default.svc.cluster.local}":                                "the cluster's own DNS answers it",
		address("198.51.100.10"):                                                          "hosts.yaml:2: host a.example: 198.51.100.10 belongs to httpbin.org already (the built-in hosts.yaml:",
		address("198.51.100.53"):                                                          "the address of the internet's DNS server",
		address("198.51.100.0/24"):                                                        "the address of the internet's DNS server",
		address("203.0.113.96/30"):                                                        "meets 203.0.113.99 of dead.example",
		address("[10.1.0.1, 10.1.0.1]"):                                                   "the address 10.1.0.1 is given twice",
		address("10.0.0.0/8") + "\n  - {name: b.example, address: 10.0.0.0/8}":            "hosts.yaml:3: host b.example: 10.0.0.0/8 belongs to a.example already (hosts.yaml:2)",
		address("10.0.0.0/8") + "\n  - {name: b.example, address: 10.0.0.7}":              "",
		address("10.0.0.0/8") + "\n  - {name: b.example, address: 10.0.0.7, dead: true}":  "one of them is dead",
		address("127.0.0.1"):                                                              "127.0.0.1 is loopback, where no host can be",
		address("169.254.169.0/24"):                                                       "is link-local",
		address("169.254.1.0/24"):                                                         "is link-local",
		address("fe80::1"):                                                                "is link-local",
		address("224.0.0.1"):                                                              "is multicast",
		address("255.255.255.255"):                                                        "is reserved",
		address("0.0.0.0/0"):                                                              "is unspecified",
		address("'::ffff:10.0.0.1'"):                                                      "IPv4 written as IPv6",
		service("{port: 80, kind: http}, {port: 80, kind: https}"):                        "hosts.yaml:2: host a.example, port 80: the port is given twice",
		service("{port: 80, kind: http}, {port: 80, kind: udp-echo}"):                     "",
		service("{port: 0, kind: http}"):                                                  "needs a port from 1 to 65535",
		service("{port: 80, kind: gopher}"):                                               `kind "gopher" is unknown; possible are amqp, banner, connect`,
		service("{port: 80, kind: http, tls: true}"):                                      "https, mtls and either speak TLS without it",
		service("{port: 80, kind: redis, http2: true}"):                                   "http2 is for https, mtls and either",
		"hosts:\n  - {name: a.example, dead: true, services: [{port: 1, kind: http}]}":    "it is dead, and so serves nothing",
		"hosts:\n  - {name: a.example, dead: true, address: 10.0.0.0/24}":                 "a dead host has single addresses",
		"hosts:\n  - {name: a.example, refuses: true}":                                    "write dead: true too",
		"hosts:\n  - {name: a.example, site: bank}":                                       `site "bank" is unknown; possible are cnn, httpbin, wikipedia`,
		"hosts:\n  - {name: a.example, certificate: old}":                                 `certificate "old" is unknown; possible are expired, self-signed, wrong-name and other-ca`,
		"hosts:\n  - {name: a.example, ca: 'a}'}":                                         `ca "a}"`,
		"clientCertificates:\n  - {name: a.example, certificate: wrong-name}":             "hosts.yaml:2: client certificate a.example: its name is what it is called",
		"clientCertificates:\n  - {name: 'a b'}":                                          "hosts.yaml:2: client certificates: name",
		"clientCertificates:\n  - {name: a}\n  - {name: a, ca: b}":                        "hosts.yaml:3: there is another client certificate called a (hosts.yaml:2)",
		"clientCertificates:\n  - {name: a}\n  - {name: a}":                               "",
	} {
		_, err := builtInHosts(t).Add(read(t, text))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s\ngot  %v\nwant %s", text, err, want)
		}
	}
}

func TestReadMistakes(t *testing.T) {
	for text, want := range map[string]string{
		"":                                      "hosts.yaml: one document with the field hosts is expected, there are 0",
		"hosts: []\n---\nhosts: []":             "there are 2",
		"- name: a":                             "hosts.yaml:1: fields are expected",
		"dns: 10.0.0.1\nhosts: []":              `hosts.yaml:1: field "dns" is unknown; allowed: clientCertificates, hosts`,
		"host: []":                              `field "host" is unknown`,
		"{}":                                    "neither hosts nor clientCertificates",
		"hosts: a":                              "hosts.yaml:1: hosts must be a list",
		"hosts:\n  - a":                         "hosts.yaml:2: fields are expected",
		"hosts:\n  - name: a\n    chosen: true": `hosts.yaml:3: field "chosen" is unknown`,
		"hosts:\n  - name: a\n    services:\n      - {prot: 1}":     `hosts.yaml:4: field "prot" is unknown; did you mean port? allowed: http2, kind, port, tls`,
		"hosts:\n  - name: a\n    services:\n      - {port: 99999}": "hosts.yaml:4: port",
		"hosts:\n  - name: a\n    address: 10.0.0.1/8":              "hosts.yaml:3: address: 10.0.0.1/8 has bits set beyond its length; the range is called 10.0.0.0/8",
		"hosts:\n  - name: a\n    address: [10.0.0.300]":            `hosts.yaml:3: address: "10.0.0.300" is neither an IP address nor a range`,
		"hosts:\n  - {name: a, name: b}":                            "hosts.yaml:2: key \"name\" is given twice",
		"hosts:\n  - {nam: a}\n  - {name: b}\n  - {title: c}":       `hosts.yaml:4: field "title" is unknown`,
		"hosts: [" + strings.Repeat("{},", maxHosts) + "{}]":        "at most 1000 are possible",
	} {
		if _, err := ReadHosts("hosts.yaml", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.80s\ngot  %v\nwant %s", text, err, want)
		}
	}
}

func TestPlaceholders(t *testing.T) {
	h := add(t, ownHosts)
	want := []string{
		"${INTERNET_CA}", "${CLIENT_CERT}", "${CLIENT_KEY}", "${CA:partner}", "${CA:partner-clients}",
		"${CLIENT_CERT:team-a.example}", "${CLIENT_KEY:team-a.example}", "${CLIENT_CERT:team-b.example}", "${CLIENT_KEY:team-b.example}",
	}
	if got := h.Placeholders(); !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	ca, err := NewCA("test")
	if err != nil {
		t.Fatal(err)
	}
	secrets, err := ca.Secrets(h)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range want {
		if !strings.HasPrefix(secrets[p], "-----BEGIN ") {
			t.Errorf("%s stands for %q", p, secrets[p])
		}
	}
	if len(secrets) != len(want) {
		t.Errorf("%d secrets for %d placeholders", len(secrets), len(want))
	}
	got := PlaceholdersIn(`{"a":"${CLIENT_CERT:nobody}${NAMESPACE}${CA:partner}","b":"${CLIENT_CERT}${CLIENT_CERT}"}`)
	if !slices.Equal(got, []string{"${CA:partner}", "${CLIENT_CERT:nobody}", "${CLIENT_CERT}"}) {
		t.Errorf("in a text: %q", got)
	}
}

func TestRangesInText(t *testing.T) {
	for text, want := range map[string][]string{
		`"tcp://10.20.30.40:5432"`: {"10.20.30.40"}, "http://198.51.100.10/x": {"198.51.100.10"}, "10.20.0.0/16, 10.1.0.1/8": {"10.20.0.0/16", "10.0.0.0/8"},
		"[2001:db8::1]:443": {"2001:db8::1"}, `addresses: ["2001:db8::/32"]`: {"2001:db8::/32"}, "at 12:30:45 v1.2.3": nil, "300.1.1.1": nil,
	} {
		if got := Ranges(text); !slices.Equal(got, at(want...)) {
			t.Errorf("%s: %v", text, got)
		}
	}
}

// What goes over the control API is the same when it comes back.
func TestHostsAsJSON(t *testing.T) {
	h := add(t, ownHosts)
	b, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	var back Hosts
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	if again, err := json.Marshal(&back); err != nil || string(again) != string(b) {
		t.Errorf("%s\n%s %v", b, again, err)
	}
	if more, err := h.Add(&back); err != nil || len(more.Hosts) != len(h.Hosts) {
		t.Errorf("to add the same again: %v", err)
	}
}

func FuzzReadHosts(f *testing.F) {
	f.Add([]byte(ownHosts))
	f.Add(hostsYAML)
	f.Add([]byte("hosts: [{name: a, address: ['::/0', 1], services: [{port: 70000}]}]"))
	f.Add([]byte("clientCertificates: {name: a}"))
	built, err := DefaultHosts()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := ReadHosts("f", b)
		if err != nil {
			return
		}
		all, err := built.Add(h)
		if err != nil {
			return
		}
		for _, x := range all.Hosts {
			if len(x.Address) == 0 || len(x.Addresses()) == 0 {
				t.Fatalf("%s has no address", x.Name)
			}
			if y, ok := all.Find(x.Name); !ok || y.Name != x.Name {
				t.Fatalf("%s is not found", x.Name)
			}
		}
		if again, err := all.Add(h); err != nil || len(again.Hosts) != len(all.Hosts) {
			t.Fatalf("the same hosts again: %v", err)
		}
	})
}
