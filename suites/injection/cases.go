// Package injection holds cases about how the client got its sidecar.
package injection

import "mesh-egress-conformance/framework/egress"

// Cases of this area, in the order of their names.
var Cases = []egress.Case{
	automatic,
	manual,
}
