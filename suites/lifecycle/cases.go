// Package lifecycle holds cases about what is left when rules are gone.
package lifecycle

import "mesh-egress-conformance/framework/egress"

// Cases of this area, in the order of their names.
var Cases = []egress.Case{
	cleanUp,
}
