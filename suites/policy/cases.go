// Package policy holds cases about the outbound traffic policy.
package policy

import "mesh-egress-conformance/framework/egress"

// Cases of this area, in the order of their names.
var Cases = []egress.Case{
	allowAny,
	registryOnly,
}
