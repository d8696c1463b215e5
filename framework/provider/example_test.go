package provider_test

import (
	"fmt"

	"mesh-egress-conformance/framework/provider"
)

// The first line of main, or of TestMain: a cluster of ours starts this program again to play the hermetic internet in it, and
// ChildMain does not return there.
func ExampleChildMain() {
	provider.ChildMain()
	// what the program does otherwise
}

// The places where a cluster can be, beside provider.Auto, which chooses one.
func ExampleNames() {
	fmt.Println(provider.Names())
	// Output: [embedded kind existing]
}
