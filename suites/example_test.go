package suites_test

import (
	"fmt"
	"testing/fstest"

	"mesh-egress-conformance/framework/check"
	"mesh-egress-conformance/suites"
)

// bank is a folder of the user's; on disk it is input.Dir("cases").
var bank = fstest.MapFS{"payments/bank.yaml": {Data: []byte("claim: payments may not call the bank\nsource: our runbook\nprobes: [{url: \"https://httpbin.org/\", want: blocked}]\n")}}

func ExampleLoad() {
	cases, clients, err := suites.Load()
	fmt.Println(len(cases) > 250, len(clients) > 10, err)
	// Output: true true <nil>
}

// One's own cases, with the clients that are built in.
func ExampleLoadMore() {
	cases, _, err := suites.LoadMore(bank)
	fmt.Println(len(cases), cases[0].Name, err)
	// Output: 1 payments-bank <nil>
}

// A folder with the places of what it says, and what is wrong in it.
func ExampleRead() {
	folder := suites.Read(fstest.MapFS{})
	fmt.Println(folder.Mistakes[0].What)
	// Output: there is no case below this folder
}

// What cases of one's own may count on, so that check can say what is wrong in them.
func ExampleEnvironment() {
	mistakes, _ := check.Folder(suites.Read(bank), suites.Environment())
	fmt.Println(len(mistakes), "mistakes")
	// Output: 0 mistakes
}

// The built-in cases with the places of what they say.
func ExampleFolder() {
	folder := suites.Folder()
	fmt.Println(len(folder.Mistakes), folder.Loaded[0].Case.File != "")
	// Output: 0 true
}

// What has changed from one Istio version to the next, and is known: for compare.Run.
func ExampleKnownChanges() {
	known, err := suites.KnownChanges()
	fmt.Println(len(known) > 0, err)
	// Output: true <nil>
}
