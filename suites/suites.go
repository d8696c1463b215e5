// Package suites lists every case, and every client and istiod that cases name: YAML files, one for each case, in
// one folder for each area. The Ginkgo suite in this folder makes specs of the list; egressctl runs
// the same list.
package suites

import (
	"embed"
	"fmt"
	"io/fs"
	"reflect"
	"slices"
	"sync"

	"mesh-egress-conformance/fixtures"
	"mesh-egress-conformance/framework/casefile"
	"mesh-egress-conformance/framework/check"
	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/input"
	"mesh-egress-conformance/samples"
)

//go:embed clients.yaml revisions.yaml */*.yaml
var files embed.FS

var builtIn = sync.OnceValue(func() *casefile.Folder { return casefile.Load(files, fixtures.FS) })

// Folder returns the built-in cases with the places of all that they say. Nobody may change it.
func Folder() *casefile.Folder { return builtIn() }

// Load returns the built-in cases and clients.
func Load() ([]egress.Case, []egress.Client, error) {
	f := builtIn()
	if err := f.Mistakes.Err(); err != nil {
		return nil, nil, fmt.Errorf("read the built-in cases: %w", err)
	}
	return f.Cases(), f.EgressClients(), nil
}

// Read reads a folder of the user's. What is wrong in it is among its mistakes, also that there is no case. Where it is this
// folder in a checkout, its clients are the built-in ones, and no addition to them.
func Read(dir fs.FS) *casefile.Folder {
	f := casefile.Load(dir, fixtures.FS)
	f.Clients = added(f.Clients)
	if len(f.Loaded) == 0 && len(f.Mistakes) == 0 {
		f.Mistakes = append(f.Mistakes, input.Mistake{
			File: ".", What: "there is no case below this folder",
			Remedy: "a case is a YAML document with the fields claim, source and probes, in a file that ends in .yaml or .yml",
		})
	}
	return f
}

// added are the clients of a folder that are none of the built-in ones. Only a folder that describes all of those can be this
// one; another folder that describes one of them, and be it alike, means a client of its own. A client that was changed in
// a checkout since this program was built stays, for the program would start the built-in one in its place.
func added(of []casefile.Client) []casefile.Client {
	described := map[string]egress.Client{}
	for _, c := range of {
		described[c.Name] = c.Client
	}
	builtIn := map[string]egress.Client{}
	for _, c := range Folder().Clients {
		if _, ok := described[c.Name]; !ok {
			return of
		}
		builtIn[c.Name] = c.Client
	}
	return slices.DeleteFunc(of, func(c casefile.Client) bool {
		b, ok := builtIn[c.Name]
		return ok && reflect.DeepEqual(c.Client, b)
	})
}

// Environment is what the cases of a folder of the user's may count on: the built-in clients. Hosts and schemas are left
// to whoever knows them.
func Environment() check.Environment {
	return check.Environment{Clients: slices.Clone(builtIn().EgressClients()), Manifests: samples.FS}
}

// LoadMore returns the cases of a folder of the user's, and the clients of that folder beside the built-in ones. Mistakes
// in them are the error, those that are found without knowing hosts and cluster (framework/check).
func LoadMore(dir fs.FS) ([]egress.Case, []egress.Client, error) {
	f := Read(dir)
	if mistakes, _ := check.Folder(f, Environment()); len(mistakes) > 0 {
		return nil, nil, mistakes
	}
	return f.Cases(), append(builtIn().EgressClients(), f.EgressClients()...), nil
}
