package casefile_test

import (
	"fmt"
	"testing/fstest"

	"mesh-egress-conformance/framework/casefile"
)

// A folder on disk is os.DirFS, or input.Dir, which refuses what is no regular file of bounded size.
func ExampleLoad() {
	folder := casefile.Load(fstest.MapFS{"payments/bank.yaml": {Data: []byte(`
claim: payments may call the bank over HTTPS
source: our runbook
probes:
  - {url: "https://httpbin.org/headers", want: BRST OK BRST}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: bank}
spec: {hosts: [httpbin.org], ports: [{number: 443, name: tls, protocol: TLS}], resolution: DNS}
`)}})
	for _, c := range folder.Cases() {
		fmt.Println(c.Name, "claims that", c.Claim)
	}
	fmt.Println("mistakes:", len(folder.Mistakes))
	// Output:
	// payments-bank claims that payments may call the bank over HTTPS
	// mistakes: 0
}

// Mistakes do not end the reading: all of them are told at once, with file and line.
func ExampleLoad_mistakes() {
	folder := casefile.Load(fstest.MapFS{"bank.yaml": {Data: []byte("claim: c\nsource: s\nprobes:\n  - {ulr: \"https://httpbin.org/\", want: OK}\n")}})
	for _, m := range folder.Mistakes {
		fmt.Println(m.Where()+":", m.What)
	}
	// Output:
	// bank.yaml:4: field "ulr" is unknown
}
