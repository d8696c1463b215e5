package migrate_test

import (
	"fmt"

	"mesh-egress-conformance/framework/migrate"
)

func ExampleFile() {
	r, err := migrate.File("google.yaml", []byte(`# Searches leave the mesh.
apiVersion: config.istio.io/v1alpha2
kind: EgressRule
metadata:
  name: google
spec:
  destination:
    service: "*.google.com" # all of it
  ports:
    - port: 80
      protocol: http
`))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Print(string(r.YAML))
	tell := func(n migrate.Note) { fmt.Println(n.Line, "has a note") }
	for _, n := range r.Notes {
		tell(n)
	}
	// Output:
	// # Searches leave the mesh.
	// apiVersion: networking.istio.io/v1
	// kind: ServiceEntry
	// metadata:
	//   name: google
	// spec:
	//   hosts:
	//     - '*.google.com' # all of it
	//   ports:
	//     - number: 80
	//       name: http-80
	//       protocol: HTTP
	//   location: MESH_EXTERNAL
	//   resolution: NONE
	// 8 has a note
}
