package why

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"mesh-egress-conformance/framework/egress"
)

// call is what a probe calls, as far as it says so.
type call struct {
	names     []called
	addresses []dialled
	port      int // that is dialled; 0 where the probe does not say it
	protocol  egress.Protocol
	bare      bool // TLS without a server name
}

// called is a name that the sidecar, or a server on the way, may see.
type called struct {
	name  string // in lower case, without placeholders
	shown string // as it was written
	as    string // what else than the URL's host it is
	// unheard says that the name is looked up, and that nobody is told it: what it bears on the call, its address does.
	unheard bool
}

// dialled is an address, and the name that it was looked up by.
type dialled struct {
	address netip.Addr
	of      string
}

func (d dialled) String() string {
	if d.of == "" {
		return d.address.String()
	}
	return d.address.String() + " of " + d.of
}

// placeholder is the namespace of the client's lane, and standIn takes its place where a URL is taken apart.
const (
	placeholder = "${NAMESPACE}"
	standIn     = "namespace-of-the-lane"
)

// callOf takes a probe apart.
func (w World) callOf(c egress.Case, p egress.Probe, ph egress.Phase, expand *strings.Replacer) call {
	out := call{protocol: p.Protocol()}
	if p.Command != "" || p.Through[ph] != "" { // what it calls, and at which port, only the program knows
		out.protocol = egress.Protocol{}
		out.add(p.Server, "", expand)
		out.addresses = w.addressesOf(c, p.Server, ph)
		return out
	}
	u, err := url.Parse(strings.ReplaceAll(p.URL, placeholder, standIn)) // which no URL may have in its host
	if err != nil {
		out.add(p.Destination(), "", expand)
		return out
	}
	raw := u.Hostname()
	if out.protocol.Question {
		raw = strings.Trim(u.Path, "/")
	}
	raw = strings.ReplaceAll(raw, standIn, placeholder)
	dial, port := expand.Replace(strings.ReplaceAll(u.Hostname(), standIn, placeholder)), u.Port()
	if port == "" {
		port = out.protocol.Port
	}
	aside := "" // the URL's host, where the call does not carry it
	header, proxy, elsewhere := curlNames(p.Args)
	out.bare = p.SNI == "-"
	if proxy != "" {
		dial, port = hostAndPort(proxy)
		out.add(dial, "the forward proxy", expand)
		out.add(raw, "asked of the forward proxy", expand)
	} else {
		if p.Connect != "" {
			dial, port = hostAndPort(expand.Replace(p.Connect))
		}
		// A Host header takes the place of the URL's host in plain HTTP, a server name in TLS.
		if header != "" && !out.protocol.TLS || p.SNI != "" {
			raw, aside = "", raw
		}
		out.add(raw, "", expand)
	}
	out.add(header, "the Host header", expand)
	if !out.bare {
		out.add(p.SNI, "the server name", expand)
	}
	seen := len(out.names)
	out.add(aside, "the URL's host", expand)
	if p.Connect != "" {
		out.add(dial, "the name that is dialled", expand)
	}
	for i := seen; i < len(out.names); i++ {
		out.names[i].unheard = true
	}
	if elsewhere {
		return out
	}
	out.port, _ = strconv.Atoi(port) // 0 where it names none
	if !out.protocol.Question || dial != "" {
		out.addresses = w.addressesOf(c, dial, ph)
	}
	return out
}

func (k *call) add(name, as string, expand *strings.Replacer) {
	if host, _, err := net.SplitHostPort(name); err == nil {
		name = host
	}
	full := strings.TrimSuffix(strings.ToLower(expand.Replace(name)), ".")
	if full == "" || slices.ContainsFunc(k.names, func(n called) bool { return n.name == full }) {
		return
	}
	k.names = append(k.names, called{name: full, shown: strings.TrimSuffix(name, "."), as: as})
}

// curlNames are the names in arguments of curl. With some others, nobody can tell where it connects to.
func curlNames(args []string) (header, proxy string, elsewhere bool) {
	for i, a := range args {
		value := ""
		if i+1 < len(args) {
			value = args[i+1]
		}
		switch a {
		case "-H", "--header":
			if name, v, _ := strings.Cut(value, ":"); strings.EqualFold(name, "host") {
				header = strings.TrimSpace(v)
			}
		case "-x", "--proxy":
			proxy = value
		case "--resolve", "--connect-to", "--socks5", "--socks5-hostname", "--unix-socket", "-K", "--config":
			elsewhere = true
		}
	}
	return header, proxy, elsewhere
}

// curlProxyPort is the port of a proxy that curl is told none of.
const curlProxyPort = "1080"

func hostAndPort(text string) (host, port string) {
	if u, err := url.Parse(text); err == nil && u.Host != "" {
		text = u.Host
		if u.Port() == "" {
			text = net.JoinHostPort(u.Hostname(), curlProxyPort)
		}
	}
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return text, ""
	}
	return host, port
}

// addressesOf are those of a name in a phase: the case may have changed what it resolves to.
func (w World) addressesOf(c egress.Case, name string, ph egress.Phase) []dialled {
	if a, err := netip.ParseAddr(name); err == nil {
		return []dialled{{address: a}}
	}
	to, answered := name, false
	for _, x := range c.Phases() {
		if answer, ok := c.DNS[x][name]; ok && ph != egress.Removed {
			to, answered = answer, true
		}
		if x == ph {
			break
		}
	}
	if w.Hosts == nil {
		return nil
	}
	h, ok := w.Hosts.Find(strings.ToLower(strings.TrimSuffix(to, ".")))
	if !ok && !answered {
		return nil
	}
	var out []dialled
	for _, a := range h.Addresses() {
		out = append(out, dialled{a, name})
	}
	return out
}

// at is a field of nested mappings; nil where there is none.
func at(v any, path ...string) any {
	for _, k := range path {
		m, _ := v.(map[string]any)
		v = m[k]
	}
	return v
}

func str(v any) string { s, _ := v.(string); return s }

// number is an integer as YAML or JSON has it; 0 for none.
func number(v any) int {
	n, _ := strconv.Atoi(fmt.Sprint(v))
	return n
}

func list(v any) []any { l, _ := v.([]any); return l }

// texts are the strings of a list.
func texts(v any) []string {
	var out []string
	for _, x := range list(v) {
		if s, ok := x.(string); ok {
			out = append(out, s)
		}
	}
	return out
}

func textMap(v any) map[string]string {
	m, _ := v.(map[string]any)
	out := map[string]string{}
	for k, x := range m {
		out[k] = fmt.Sprint(x)
	}
	return out
}

// expanded is a copy of a value with placeholders replaced.
func expanded(v any, by *strings.Replacer) any {
	switch v := v.(type) {
	case string:
		return by.Replace(v)
	case map[string]any:
		out := map[string]any{}
		for k, x := range v {
			out[k] = expanded(x, by)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, x := range v {
			out[i] = expanded(x, by)
		}
		return out
	}
	return v
}

// compact is a value on one line.
func compact(v any) string {
	var parts []string
	switch v := v.(type) {
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(v)) {
			parts = append(parts, k+": "+compact(v[k]))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	case []any:
		for _, x := range v {
			parts = append(parts, compact(x))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case nil:
		return "null"
	}
	return fmt.Sprint(v)
}

// fieldsOf is a value on one line, a mapping without its braces.
func fieldsOf(v any) string {
	text := compact(v)
	if _, is := v.(map[string]any); is {
		text = text[1 : len(text)-1]
	}
	return text
}
