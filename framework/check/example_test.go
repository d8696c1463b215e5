package check_test

import (
	"bytes"
	"fmt"
	"os"
	"path"
	"testing/fstest"

	"mesh-egress-conformance/framework/casefile"
	"mesh-egress-conformance/framework/check"
	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/internet"
)

// A host that nobody has is found before anything runs.
func ExampleFolder() {
	hosts, err := internet.DefaultHosts()
	if err != nil {
		fmt.Println(err)
		return
	}
	folder := casefile.Load(fstest.MapFS{"bank.yaml": {Data: []byte("claim: c\nsource: s\nprobes:\n  - {url: \"https://htpbin.org/\", want: OK}\n")}})
	mistakes, _ := check.Folder(folder, check.Environment{Hosts: hosts, Clients: []egress.Client{{Name: "client"}}})
	for _, m := range mistakes {
		fmt.Println(m.Where()+":", m.What)
	}
	// Output: bank.yaml:4: htpbin.org is not a host of the hermetic internet
}

// Mistakes as `egressctl check` prints them, with paths that an editor can open.
func ExampleWrite() {
	folder := casefile.Load(fstest.MapFS{"bank.yaml": {Data: []byte("claim: c\nsource: s\nprobes:\n  - {ulr: \"https://httpbin.org/\", want: OK}\n")}})
	mistakes, notices := check.Folder(folder, check.Environment{Clients: []egress.Client{{Name: "client"}}})
	check.Write(os.Stdout, "cases", mistakes, notices)
	// Output:
	// cases/bank.yaml:4: field "ulr" is unknown
	//     did you mean url? allowed: accessLog, args, arrival, arrivals, arrivesAt, command, connect, counts, dead, encrypted, from, gatewayLog, hold, output, overflow, parallel, repeat, sameOutput, send, server, sni, spread, through, url, versions, want, within
}

// The path of a file of a folder, as somebody can open it from here.
func ExamplePath() {
	fmt.Println(path.Clean(check.Path("cases", "payments/bank.yaml")))
	// Output: cases/payments/bank.yaml
}

// With the schemas of Istio's custom resources, fields of objects are checked too. Those of an installation come from its charts.
func ExampleNewSchemas() {
	text, err := os.ReadFile("testdata/crds.yaml")
	if err != nil {
		fmt.Println(err)
		return
	}
	schemas, err := check.NewSchemas(bytes.Split(text, []byte("\n---\n")))
	if err != nil {
		fmt.Println(err)
		return
	}
	folder := casefile.Load(fstest.MapFS{"bank.yaml": {Data: []byte(`
claim: c
source: s
probes: [{url: "https://httpbin.org/", want: OK}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: bank}
spec: {host: [httpbin.org]}
`)}})
	mistakes, _ := check.Folder(folder, check.Environment{Schemas: schemas, Clients: []egress.Client{{Name: "client"}}})
	for _, m := range mistakes {
		fmt.Println(m.Where()+":", m.What)
	}
	// Output:
	// bank.yaml:9: ServiceEntry has no field spec.host
	// bank.yaml:9: ServiceEntry: spec.hosts is required
}
