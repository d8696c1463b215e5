// Package http holds cases about ServiceEntries for HTTP by host name.
package http

import "mesh-egress-conformance/framework/egress"

// Cases of this area, in the order of their names.
var Cases = []egress.Case{
	serviceEntry,
}
