// Package app holds cases with an application that knows nothing of the mesh.
package app

import "mesh-egress-conformance/framework/egress"

// Cases of this area, in the order of their names.
var Cases = []egress.Case{
	egressHTTPBin,
}
