package internet_test

import (
	"fmt"

	"mesh-egress-conformance/framework/internet"
)

// The hosts that are built in, and one of the user's own.
func ExampleReadHosts() {
	own, err := internet.ReadHosts("hosts.yaml", []byte("hosts:\n  - {name: bank.example, services: [{kind: http, port: 80}]}\n"))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(len(own.Hosts), own.Hosts[0].Name)
	// Output: 1 bank.example
}

func ExampleDefaultHosts() {
	hosts, err := internet.DefaultHosts()
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, h := range hosts.Hosts {
		if h.Name == "httpbin.org" {
			fmt.Println(h.Name, "exists outside too:", h.Real)
		}
	}
	// Output: httpbin.org exists outside too: true
}
