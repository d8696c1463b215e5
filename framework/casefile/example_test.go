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

// Where each thing that a folder says is written, for tools that look at cases.
func ExampleFolder() {
	folder := casefile.Load(fstest.MapFS{
		"clients.yaml":      {Data: []byte("- name: shop\n  namespace: shop\n  revision: canary\n")},
		"revisions.yaml":    {Data: []byte("- name: canary\n")},
		"payments/dns.yaml": {Data: []byte("claim: c\nsource: s\nfixtures: [bank.yaml]\nprobes: [{from: shop, url: \"https://httpbin.org/\", want: OK}]\n")},
		"bank.yaml":         {Data: []byte("apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: bank}\n")},
	})
	client := func(c casefile.Client) { fmt.Println(c.Name, "is described in", c.File) }
	istiod := func(r casefile.Revision) { fmt.Println(r.Name, "is described in", r.File) }
	object := func(of *casefile.Loaded, d casefile.Document) {
		fmt.Println("an object of", of.Case.Name, "comes from", d.File)
	}
	client(folder.Clients[0])
	istiod(folder.Revisions[0])
	object(folder.Loaded[0], folder.Loaded[0].Objects[0])
	fmt.Println(folder.Mistakes.Err())
	// Output:
	// shop is described in clients.yaml
	// canary is described in revisions.yaml
	// an object of payments-dns comes from bank.yaml
	// <nil>
}
