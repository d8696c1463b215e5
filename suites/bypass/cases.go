// Package bypass holds cases in which traffic goes around the sidecar.
package bypass

import "mesh-egress-conformance/framework/egress"

// Cases of this area, in the order of their names.
var Cases = []egress.Case{
	excludeRanges,
	includeRanges,
	noSidecar,
}
