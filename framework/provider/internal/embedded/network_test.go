//go:build linux

package embedded

import (
	"strings"
	"testing"

	"mesh-egress-conformance/framework/internet"
)

// Hosts whose addresses the cluster itself uses are refused, with both ranges and the place of the host.
func TestCheckRanges(t *testing.T) {
	for address, want := range map[string]string{
		"10.20.0.0/16":   "",
		"10.99.0.1":      "",
		"2001:db8::1":    "",
		"fd00:10:244::5": "fd00:10:244::5 of host a.example meets fd00:10:244::/64",
		"fd00:10::/32":   "meets fd00:10:96::/112",
		"fd00:172:31::2": "meets fd00:172:31::/126",
		"10.244.3.0/24":  "hosts.yaml:1: 10.244.3.0/24 of host a.example meets 10.244.0.0/16",
		"10.0.0.0/8":     "10.0.0.0/8 of host a.example meets 10.96.0.0/16",
		"172.31.255.1":   "172.31.255.1 of host a.example meets 172.31.255.0/30",
	} {
		h, err := internet.ReadHosts("hosts.yaml", []byte(`hosts: [{name: a.example, address: "`+address+`"}]`))
		if err != nil {
			t.Fatal(err)
		}
		err = checkRanges(h)
		if (want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", address, err)
		}
	}
	h, err := internet.DefaultHosts()
	if err != nil {
		t.Fatal(err)
	}
	if err := checkRanges(h); err != nil {
		t.Errorf("the built-in hosts: %v", err)
	}
}
