package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"regexp"
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
	"mesh-egress-conformance/framework/report"
	"mesh-egress-conformance/suites"
)

// selection says which cases are meant.
type selection struct {
	dir         string // folder of the user's own cases; "" means the built-in ones
	names       []string
	areas       []string
	filter      string
	focus, skip []string // regular expressions, as Ginkgo's flags of the same names
	failed      string   // report.json whose cases that did not conform are meant; "" for none
	part        shardFlag
	shuffle     uint64
	hosts       string        // file with hosts of the user's own; "" is none
	against     circumstances // that cases of a folder are checked against
}

func (s *selection) addFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&s.dir, "cases", "", "folder with case files of your own, instead of the built-in cases (docs/cases.md)")
	f.StringSliceVar(&s.names, "case", nil, "only the named cases")
	f.StringSliceVar(&s.areas, "area", nil, "only cases of these areas, such as http,tcp")
	f.StringVar(&s.filter, "label-filter", "", "only cases whose labels match, in Ginkgo's language; labels are the case's own and its area")
	f.StringArrayVar(&s.focus, "focus", nil, `only cases whose "name: claim" matches this regular expression; may be given several times`)
	f.StringArrayVar(&s.skip, "skip", nil, `no case whose "name: claim" matches this regular expression; may be given several times`)
}

// addPartFlags adds what narrows a selection for one of several machines or after an earlier run.
func (s *selection) addPartFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.Var(&s.part, "shard", "only this part of the selected cases, such as 2/5; egressctl merge puts the reports together")
	f.StringVar(&s.failed, "rerun-failed", "", "only cases that did not conform in this report.json (default: that of reports/out)")
	f.Lookup("rerun-failed").NoOptDefVal = defaultReport
}

// defaultReport is where run leaves its report unless it is told otherwise.
var defaultReport = filepath.Join(defaultOut, report.JSONFile)

// selected is what a selection came to.
type selected struct {
	cases    []egress.Case
	clients  []egress.Client
	fixtures fs.FS
	own      bool            // the cases are the user's own
	hosts    *internet.Hosts // the built-in ones, and the user's own
	shard    *report.Shard   // which part of the selection the cases are; nil for all
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
	if out.cases, err = s.pick(all); err != nil {
		return out, err
	}
	for _, c := range out.cases {
		if err := fixture.Check(ctx, out.fixtures, c.Fixtures...); err != nil {
			return out, fmt.Errorf("case %s: %w", c.Name, err)
		}
	}
	if s.part.Of > 0 {
		if err := out.divide(s.part); err != nil {
			return out, err
		}
	}
	if s.shuffle != 0 {
		r := rand.New(rand.NewPCG(s.shuffle, 0))
		r.Shuffle(len(out.cases), func(i, j int) { out.cases[i], out.cases[j] = out.cases[j], out.cases[i] })
	}
	return out, nil
}

// pick returns the selected cases of all, in their order.
func (s *selection) pick(all []egress.Case) ([]egress.Case, error) {
	names, err := s.named(all)
	if err != nil {
		return nil, err
	}
	for _, a := range s.areas {
		if known := areas(all); known[a] == 0 {
			return nil, fmt.Errorf("no case is of area %q; the areas are %s", a, strings.Join(slices.Sorted(maps.Keys(known)), ", "))
		}
	}
	labels, err := types.ParseLabelFilter(s.filter)
	if err != nil {
		return nil, fmt.Errorf("label filter %q: %s", s.filter, strings.TrimSpace(err.Error()))
	}
	focus, err := expressions("--focus", s.focus)
	if err != nil {
		return nil, err
	}
	skip, err := expressions("--skip", s.skip)
	if err != nil {
		return nil, err
	}
	var out []egress.Case
	for _, c := range all {
		text := c.Name + ": " + c.Claim // Ginkgo's name of the spec
		if (names == nil || slices.Contains(names, c.Name)) && (len(s.areas) == 0 || slices.Contains(s.areas, c.Area)) &&
			labels(append(slices.Clone(c.Labels), c.Area)) && (len(focus) == 0 || focus.match(text)) && !skip.match(text) {
			out = append(out, c)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("no case matches %s; egressctl list shows all", s)
	}
	return out, nil
}

// named are the names that the selection is limited to; nil does not limit it.
func (s *selection) named(all []egress.Case) ([]string, error) {
	unknown := func(name string) bool {
		return !slices.ContainsFunc(all, func(c egress.Case) bool { return c.Name == name })
	}
	if i := slices.IndexFunc(s.names, unknown); i >= 0 {
		return nil, fmt.Errorf("no case is named %q; egressctl list shows them", s.names[i])
	}
	if s.failed == "" {
		return s.names, nil
	}
	failed, err := failedIn(s.failed)
	if err != nil {
		return nil, err
	}
	if i := slices.IndexFunc(failed, unknown); i >= 0 {
		return nil, fmt.Errorf("case %q of %s is not among these cases: give --cases as in that run", failed[i], s.failed)
	}
	if s.names != nil {
		failed = slices.DeleteFunc(failed, func(n string) bool { return !slices.Contains(s.names, n) })
	}
	return failed, nil
}

// String is the selection in the words of its flags.
func (s *selection) String() string {
	var out []string
	add := func(flag string, values ...string) {
		for _, v := range values {
			if v != "" {
				out = append(out, flag+" "+v)
			}
		}
	}
	add("--case", s.names...)
	add("--rerun-failed", s.failed)
	add("--area", s.areas...)
	add("--label-filter", s.filter)
	add("--focus", s.focus...)
	add("--skip", s.skip...)
	return strings.Join(out, " ")
}

// regexps are several regular expressions of which one is enough.
type regexps []*regexp.Regexp

func expressions(flag string, texts []string) (regexps, error) {
	var out regexps
	for _, t := range texts {
		re, err := regexp.Compile(t)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", flag, err)
		}
		out = append(out, re)
	}
	return out, nil
}

func (r regexps) match(text string) bool {
	return slices.ContainsFunc(r, func(re *regexp.Regexp) bool { return re.MatchString(text) })
}

// errNoneFailed says that there is nothing to run again.
var errNoneFailed = errors.New("every case conforms")

// failedIn names the cases of a report that did not conform. Where all did, the error is errNoneFailed.
func failedIn(file string) ([]string, error) {
	r, err := report.Read(file)
	if err != nil {
		return nil, fmt.Errorf("--rerun-failed: %w", err)
	}
	var out []string
	for _, c := range r.Cases {
		if c.Verdict == egress.Violates || c.Verdict == egress.Inconclusive {
			out = append(out, c.Case.Name)
		}
	}
	switch {
	case len(out) > 0:
		return out, nil
	case r.ExitCode() != exitOK:
		return nil, fmt.Errorf("--rerun-failed: no case of %s has failed, and the run itself had: %s; run all its cases again", file, strings.Join(append(r.Faults, "no case"), "; "))
	}
	return nil, fmt.Errorf("--rerun-failed: %w in %s, so there is nothing to run again", errNoneFailed, file)
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
