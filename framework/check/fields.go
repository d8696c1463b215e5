package check

import (
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"mesh-egress-conformance/framework/casefile"
	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/input"
)

// fieldsOf are the JSON names of a struct.
func fieldsOf(v any) []string {
	var out []string
	t := reflect.TypeOf(v)
	for i := range t.NumField() {
		if name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ","); name != "" && name != "-" && name != "extra" {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

var (
	// arrivalFields are those of every arrival, and what databases and message brokers note of a first exchange.
	arrivalFields   = append(fieldsOf(egress.Arrival{}), "clientId", "database", "error", "from", "helo", "rcpt", "user", "vhost")
	accessLogFields = fieldsOf(egress.AccessLog{})
	// headerRE is a header of the arrival's, as the arrival log names it.
	headerRE = regexp.MustCompile(`^header (x-[a-z0-9-]+|traceparent|via)$`)
)

func (c *checker) arrival(l *casefile.Loaded) {
	for _, d := range l.Demands() {
		c.fields(l, d, "arrival", d.Arrival, arrivalFields, headerRE, "and \"header x-...\", \"header traceparent\" and \"header via\" in lower case")
	}
}

func (c *checker) accessLog(l *casefile.Loaded) {
	for _, d := range l.Demands() {
		c.fields(l, d, "accessLog", d.AccessLog, accessLogFields, nil, "")
		c.fields(l, d, "gatewayLog", d.GatewayLog, accessLogFields, nil, "")
	}
}

// fields looks at the names of fields that are compared with a witness.
func (c *checker) fields(l *casefile.Loaded, d casefile.Demand, where string, by egress.ByPhase[map[string]string], known []string, also *regexp.Regexp, more string) {
	for ph, fields := range by {
		for _, name := range slices.Sorted(maps.Keys(fields)) {
			if slices.Contains(known, name) || also != nil && also.MatchString(name) {
				continue
			}
			remedy := strings.TrimSpace(choice(name, known) + " " + more)
			c.mistake(l.At(fmt.Sprintf("%s: field %q is unknown", where, name), l.PathOf(d, ph, where, name)...), "%s", remedy)
		}
	}
}

// other words for fields of the witnesses, as other tools call them.
var otherWords = map[string]string{
	"servername": "sni", "server_name": "sni", "sni": "requested_server_name", "cluster": "upstream_cluster", "route": "route_name", "flags": "response_flags",
	"code": "response_code", "status_code": "response_code", "details": "response_code_details", "upstream": "upstream_host", "certificate": "clientCert",
}

func near(name string, known []string) string {
	if word := otherWords[strings.ToLower(name)]; slices.Contains(known, word) {
		return word
	}
	return input.Near(name, known)
}

// choice is what may stand in place of an unknown name: the one that it is likely to mean, and all if they are not many.
func choice(name string, known []string) string {
	const many = 30
	near := near(name, known)
	switch {
	case len(known) == 0:
		return ""
	case near == "":
		return "known there: " + list(known)
	case len(known) > many:
		return fmt.Sprintf("did you mean %s?", near)
	}
	return fmt.Sprintf("did you mean %s? Known there: %s", near, list(known))
}

// placeholderRE finds what stands for something in URLs and objects.
var placeholderRE = regexp.MustCompile(`\$\{[A-Z][A-Z0-9_]*(?::[^}]*)?\}`)

// placesPlaceholders may stand in URLs; objects may have those of the internet's certificates too.
var placesPlaceholders = []string{"${NAMESPACE}", "${INGRESS_IP}"}

// credentialRE is a placeholder that is meant as one of a certificate.
var credentialRE = regexp.MustCompile(`^\$\{(CLIENT_|CA\b)`)

// placeholders looks at URLs and at the case's own objects; manifests are applied as they are.
func (c *checker) placeholders(l *casefile.Loaded) {
	for i, p := range l.Case.Probes {
		for field, text := range map[string]string{"url": p.URL, "connect": p.Connect} {
			for _, found := range placeholderRE.FindAllString(text, -1) {
				if !slices.Contains(placesPlaceholders, found) {
					c.mistake(l.At(found+" is unknown in "+field, "probes", i, field), "known there: %s", list(placesPlaceholders))
				}
			}
		}
	}
	if c.env.Hosts == nil { // whose certificates are not known
		return
	}
	known := slices.Concat(placesPlaceholders, c.env.Hosts.Placeholders())
	for _, d := range l.Objects {
		if d.Field == "fixtures" {
			continue
		}
		scalars(d.Node, func(n *input.Node) {
			if strings.Contains(n.Value, "\n") { // a script has variables of its own
				return
			}
			for _, found := range placeholderRE.FindAllString(n.Value, -1) {
				if slices.Contains(known, found) {
					continue
				}
				remedy := "known: " + list(known)
				if credentialRE.MatchString(found) {
					remedy += "\nfor a certificate of your own add to hosts.yaml:\nclientCertificates:\n  - {name: b.example}\nand write ${CLIENT_CERT:b.example} and ${CLIENT_KEY:b.example}"
				}
				c.mistake(input.Mistake{File: d.File, Line: n.Line, What: found + " is unknown: nothing replaces it"}, "%s", remedy)
			}
		})
	}
}

// scalars calls a function for every value below a node.
func scalars(n *input.Node, do func(*input.Node)) {
	if len(n.Content) == 0 {
		do(n)
	}
	for _, x := range n.Content {
		scalars(x, do)
	}
}
