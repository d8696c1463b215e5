// Package tls holds cases about ServiceEntries that match TLS by server name.
package tls

import "mesh-egress-conformance/framework/egress"

// Cases of this area, in the order of their names.
var Cases = []egress.Case{
	serviceEntrySNI,
}
