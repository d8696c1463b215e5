// Package origination holds cases in which the sidecar makes the TLS of a plain request.
package origination

import "mesh-egress-conformance/framework/egress"

// Cases of this area, in the order of their names.
var Cases = []egress.Case{
	port443,
}
