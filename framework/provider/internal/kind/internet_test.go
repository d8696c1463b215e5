package kind

import (
	"slices"
	"testing"

	"mesh-egress-conformance/framework/internet"
)

// The container gets single addresses and ranges apart, and no IPv6 address, which no pod can call.
func TestOwned(t *testing.T) {
	h, err := internet.ReadHosts("hosts.yaml", []byte(`
hosts:
  - {name: a.example, address: [10.20.30.40, 10.99.0.0/16]}
  - {name: b.example, address: ["2001:db8::1", "2001:db8:1::/48", 192.0.2.7]}
  - {name: dead.example, dead: true, address: 192.0.2.8}
`))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"--env", "ADDRESSES=10.20.30.40 192.0.2.7", "--env", "RANGES=10.99.0.0/16"}
	if got := owned(h); !slices.Equal(got, want) {
		t.Errorf("%q, wanted %q", got, want)
	}
}
