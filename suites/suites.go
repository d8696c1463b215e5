// Package suites lists every case and every client that cases name: YAML files, one for each case, in
// one folder for each area. The Ginkgo suite in this folder makes specs of the list; egressctl runs
// the same list.
package suites

import (
	"embed"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"

	"mesh-egress-conformance/framework/casefile"
	"mesh-egress-conformance/framework/egress"
)

//go:embed clients.yaml */*.yaml
var files embed.FS

type list struct {
	cases   []egress.Case
	clients []egress.Client
}

var builtIn = sync.OnceValues(func() (list, error) {
	cases, clients, err := casefile.Load(files)
	return list{cases, clients}, err
})

// Load returns the built-in cases and clients.
func Load() ([]egress.Case, []egress.Client, error) {
	l, err := builtIn()
	if err != nil {
		return nil, nil, fmt.Errorf("read the built-in cases: %w", err)
	}
	return slices.Clone(l.cases), slices.Clone(l.clients), Check(l.cases, l.clients)
}

// LoadMore returns the cases of a folder of the user's, and the clients of that folder beside the
// built-in ones.
func LoadMore(dir fs.FS) ([]egress.Case, []egress.Client, error) {
	_, clients, err := Load()
	if err != nil {
		return nil, nil, err
	}
	cases, more, err := casefile.Load(dir)
	if err != nil {
		return nil, nil, err
	}
	if len(cases) == 0 {
		return nil, nil, fmt.Errorf("there is no case file (*.yaml) in it")
	}
	clients = append(clients, more...)
	return cases, clients, Check(cases, clients)
}

// Check finds mistakes in the whole list: bad cases, unknown clients, names used twice.
func Check(cases []egress.Case, clients []egress.Client) error {
	seen, known := map[string]bool{}, map[string]bool{}
	for _, c := range clients {
		if err := c.Check(); err != nil {
			return err
		}
		if known[c.Name] {
			return fmt.Errorf("client %q is described twice", c.Name)
		}
		known[c.Name] = true
	}
	for _, c := range cases {
		if err := c.Check(); err != nil {
			return err
		}
		if seen[c.Name] {
			return fmt.Errorf("case %q is listed twice", c.Name)
		}
		seen[c.Name] = true
		for _, n := range c.Clients() {
			if !known[n] {
				return fmt.Errorf("case %q names the unknown client %q", c.Name, n)
			}
		}
		if !strings.HasPrefix(c.Name, c.Area+"-") {
			return fmt.Errorf("case %q: its name must begin with its area %q", c.Name, c.Area)
		}
	}
	return nil
}
