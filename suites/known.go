package suites

import (
	_ "embed"

	"mesh-egress-conformance/framework/compare"
)

//go:embed known-changes.yaml
var knownYAML []byte

// KnownChanges are the changes of Istio's behaviour that have been explained, by the built-in cases that show them.
func KnownChanges() ([]compare.Known, error) {
	return compare.ReadKnown("known-changes.yaml", knownYAML)
}
