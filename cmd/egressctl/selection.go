package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/onsi/ginkgo/v2/types"
	"github.com/spf13/cobra"

	"mesh-egress-conformance/fixtures"
	"mesh-egress-conformance/framework/casefile"
	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/fixture"
	"mesh-egress-conformance/framework/input"
	"mesh-egress-conformance/framework/internet"
	"mesh-egress-conformance/suites"
)

// selection says which cases are meant.
type selection struct {
	dir     string // folder of the user's own cases; "" means the built-in ones
	names   []string
	filter  string
	shuffle uint64
	hosts   string        // file with hosts of the user's own; "" is none
	against circumstances // that cases of a folder are checked against
}

func (s *selection) addFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&s.dir, "cases", "", "folder with case files of your own, instead of the built-in cases (docs/cases.md)")
	f.StringSliceVar(&s.names, "case", nil, "only the named cases")
	f.StringVar(&s.filter, "label-filter", "", "only cases whose labels match, in Ginkgo's language; labels are the case's own and its area")
}

// selected is what a selection came to.
type selected struct {
	cases    []egress.Case
	clients  []egress.Client
	fixtures fs.FS
	own      bool            // the cases are the user's own
	hosts    *internet.Hosts // the built-in ones, and the user's own
}

// load reads the cases, checks those of the user's own, picks the selected ones and reads their fixtures, so that a mistake is found before anything
// runs.
func (s *selection) load(ctx context.Context) (selected, error) {
	out := selected{fixtures: fixtures.FS}
	var all []egress.Case
	var err error
	if all, out.clients, err = suites.Load(); err != nil {
		return out, err
	}
	if s.dir == "" {
		out.hosts, err = allHosts(s.hosts)
	} else {
		out.fixtures, out.own = overlay{input.Tree(s.dir), fixtures.FS}, true
		s.against.hosts = s.hosts
		var f *casefile.Folder
		if f, out.hosts, err = s.against.sound(ctx, s.dir); err == nil {
			all, out.clients = f.Cases(), append(out.clients, f.EgressClients()...)
		}
	}
	if err != nil {
		return out, err
	}
	for _, n := range s.names {
		if !slices.ContainsFunc(all, func(c egress.Case) bool { return c.Name == n }) {
			return out, fmt.Errorf("no case is named %q; egressctl list shows them", n)
		}
	}
	match, err := types.ParseLabelFilter(s.filter)
	if err != nil {
		return out, fmt.Errorf("label filter %q: %s", s.filter, strings.TrimSpace(err.Error()))
	}
	for _, c := range all {
		if len(s.names) > 0 && !slices.Contains(s.names, c.Name) {
			continue
		}
		if match(append(slices.Clone(c.Labels), c.Area)) {
			out.cases = append(out.cases, c)
		}
	}
	if len(out.cases) == 0 {
		return out, fmt.Errorf("no case matches the label filter %q", s.filter)
	}
	for _, c := range out.cases {
		if err := fixture.Check(ctx, out.fixtures, c.Fixtures...); err != nil {
			return out, fmt.Errorf("case %s: %w", c.Name, err)
		}
	}
	if s.shuffle != 0 {
		r := rand.New(rand.NewPCG(s.shuffle, 0))
		r.Shuffle(len(out.cases), func(i, j int) { out.cases[i], out.cases[j] = out.cases[j], out.cases[i] })
	}
	return out, nil
}

// overlay opens a file in the first file system that has it.
type overlay []fs.FS

func (o overlay) Open(name string) (f fs.File, err error) {
	for _, x := range o {
		if f, err = x.Open(name); !errors.Is(err, fs.ErrNotExist) {
			return f, err
		}
	}
	return f, err
}
