// Package tcp holds cases about TCP ServiceEntries with address ranges.
package tcp

import "mesh-egress-conformance/framework/egress"

// Cases of this area, in the order of their names.
var Cases = []egress.Case{
	articleCount,
	cidrV1,
	cidrV1alpha3,
	otherPort,
	outsideRange,
}
