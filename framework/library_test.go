package framework

import (
	"cmp"
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// promise is a row of the table in docs/library.md: names of a package that stay, or all of them.
type promise struct {
	all   bool
	names []string
}

var quoted = regexp.MustCompile("`([^`]+)`")

func quotedIn(text string) []string {
	var out []string
	for _, m := range quoted.FindAllStringSubmatch(text, -1) {
		out = append(out, m[1])
	}
	return out
}

// promises are the stable packages by their folder in this repository, and the others.
func promises(t *testing.T) (stable map[string]promise, others []string) {
	t.Helper()
	text, err := os.ReadFile("../docs/library.md")
	if err != nil {
		t.Fatal(err)
	}
	stable = map[string]promise{}
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(strings.TrimSpace(line), "|")
		if len(cells) != 5 || !strings.Contains(cells[1], "framework/") && !strings.Contains(cells[1], "`suites`") && !strings.Contains(cells[1], "all others") {
			continue
		}
		kept := strings.TrimSpace(cells[3])
		if kept == "no" {
			for _, name := range quotedIn(cells[2]) {
				others = append(others, "framework/"+name)
			}
			continue
		}
		for _, name := range quotedIn(cells[1]) {
			stable[name] = promise{all: kept == "yes", names: quotedIn(kept)}
		}
	}
	return stable, others
}

// packages are the folders of the packages that somebody may import: neither programs, nor internal, nor for tests alone.
func packages(t *testing.T) []string {
	t.Helper()
	found := map[string]bool{}
	err := filepath.WalkDir(".", func(file string, d fs.DirEntry, err error) error {
		switch name := d.Name(); {
		case err != nil:
			return err
		case d.IsDir() && (name == "internal" || name == "testdata" || name != "." && strings.HasSuffix(name, "test")):
			return filepath.SkipDir
		case strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go"):
			f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.PackageClauseOnly)
			if err != nil {
				return err
			}
			if f.Name.Name != "main" {
				found[path.Join("framework", filepath.ToSlash(filepath.Dir(file)))] = true
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return append(slices.Sorted(maps.Keys(found)), "suites")
}

func TestLibraryNamesEveryPackage(t *testing.T) {
	stable, others := promises(t)
	all := packages(t)
	for _, p := range all {
		if _, ok := stable[p]; ok == slices.Contains(others, p) {
			t.Errorf("%s must be in one row of the table in docs/library.md: as a stable package, or among all others", p)
		}
	}
	for _, p := range slices.Concat(slices.Collect(maps.Keys(stable)), others) {
		if !slices.Contains(all, p) {
			t.Errorf("docs/library.md names %s, and there is no such package", p)
		}
	}
}

// unshown are promised names without an example, and why.
var unshown = map[string]string{
	"framework/components.Progress": "an interface with which the command shows what is built; leaving it out shows nothing",
}

// unrun are packages whose examples need a cluster, so that they are only compiled.
var unrun = []string{"framework/harness", "framework/provider"}

// shown are the examples of all stable packages: their names by package, and which names of which package their code has.
type shown struct {
	examples map[string][]string
	uses     map[string]bool
}

// parsed are the files of a package, its tests apart.
func parsed(t *testing.T, set *token.FileSet, pkg string) (code, tests []*ast.File) {
	t.Helper()
	files, err := filepath.Glob("../" + pkg + "/*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("%s has no files (%v)", pkg, err)
	}
	for _, name := range files {
		f, err := parser.ParseFile(set, name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(name, "_test.go") {
			tests = append(tests, f)
		} else {
			code = append(code, f)
		}
	}
	return code, tests
}

func (s shown) note(t *testing.T, pkg string, tests []*ast.File) {
	t.Helper()
	for _, x := range doc.Examples(tests...) {
		s.examples[pkg] = append(s.examples[pkg], x.Name)
		if x.Output == "" && !x.EmptyOutput && !slices.Contains(unrun, pkg) {
			t.Errorf("%s: Example%s has no output, so that it is never run", pkg, x.Name)
		}
		ast.Inspect(x.Code, func(n ast.Node) bool {
			if sel, ok := n.(*ast.SelectorExpr); ok {
				if id, ok := sel.X.(*ast.Ident); ok {
					s.uses[id.Name+"."+sel.Sel.Name] = true
				}
			}
			return true
		})
	}
}

// has says whether there is an example for a name, or for one of a type's methods.
func (s shown) has(pkg, name string) bool {
	return slices.ContainsFunc(s.examples[pkg], func(x string) bool { return x == name || strings.HasPrefix(x, name+"_") })
}

// names are what a package exports, and whether there is an example of each: a function has its own; a type has its own or that of
// one of its methods or constructors, or is named in one.
func (s shown) names(p *doc.Package, pkg string) map[string]bool {
	out := map[string]bool{}
	function := func(f *doc.Func) bool { out[f.Name] = s.has(pkg, f.Name); return out[f.Name] }
	for _, f := range p.Funcs {
		function(f)
	}
	for _, x := range p.Types {
		made := false
		for _, f := range x.Funcs {
			made = function(f) || made
		}
		out[x.Name] = made || s.has(pkg, x.Name) || s.uses[p.Name+"."+x.Name]
	}
	return out
}

// values are the constants and variables that a package exports.
func values(p *doc.Package) []string {
	var out []string
	add := func(groups ...[]*doc.Value) {
		for _, g := range groups {
			for _, v := range g {
				out = append(out, v.Names...)
			}
		}
	}
	add(p.Consts, p.Vars)
	for _, x := range p.Types {
		add(x.Consts, x.Vars)
	}
	return out
}

func TestWhatIsPromisedHasAnExample(t *testing.T) {
	stable, _ := promises(t)
	if len(stable) < 10 {
		t.Fatalf("only %d packages are promised in docs/library.md", len(stable))
	}
	set := token.NewFileSet()
	docs := map[string]*doc.Package{}
	all := shown{map[string][]string{}, map[string]bool{}}
	for pkg := range stable {
		code, tests := parsed(t, set, pkg)
		p, err := doc.NewFromFiles(set, code, pkg)
		if err != nil {
			t.Fatal(err)
		}
		docs[pkg] = p
		all.note(t, pkg, tests)
	}
	idle := maps.Clone(unshown)
	for _, pkg := range slices.SortedFunc(maps.Keys(stable), cmp.Compare) {
		known := all.names(docs[pkg], pkg)
		names := stable[pkg].names
		if stable[pkg].all {
			names = slices.Collect(maps.Keys(known))
		}
		for _, name := range slices.Sorted(slices.Values(names)) {
			shows, ok := known[name]
			why, excepted := unshown[pkg+"."+name]
			delete(idle, pkg+"."+name)
			switch {
			case !ok && !slices.Contains(values(docs[pkg]), name):
				t.Errorf("docs/library.md promises %s.%s, which does not exist", pkg, name)
			case ok && !shows && !excepted:
				t.Errorf("%s.%s is promised in docs/library.md, and no example shows it", pkg, name)
			case shows && excepted:
				t.Errorf("%s.%s has an example, and is excepted: %s", pkg, name, why)
			}
		}
	}
	for name := range idle {
		t.Errorf("%s is excepted, and nobody promises it", name)
	}
}
