// Package casefile reads what a folder says about egress: cases, the clients, hosts and setup that they share, and the
// manifests that they point at. The built-in cases and those that a mesh team keeps in a folder of its own are read alike.
//
// A document with a claim is a case, whatever its file is called; the objects after it in its file belong to it.
package casefile

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	yamlv3 "go.yaml.in/yaml/v3"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/input"
	"mesh-egress-conformance/framework/internet"
)

// Names of files with a meaning of their own, without the ending, as long as there is no case in them.
const (
	clientsFile   = "clients"   // clients that all cases may name
	revisionsFile = "revisions" // istiods that clients may name
	hostsFile     = "hosts"     // hosts of the hermetic internet
	setupFile     = "setup"     // objects that are the setup of every case of their folder
)

// maxMistakes is how many mistakes are enough for one run.
const maxMistakes = 50

// Folder is what the files of a folder say.
type Folder struct {
	Loaded  []*Loaded // sorted by the case's name
	Clients []Client
	// Revisions are those of revisions.yaml files and of cases.
	Revisions []Revision
	// Hosts are those of hosts.yaml files and of cases, added up by Internet.
	Hosts []*internet.Hosts
	// Mistakes are all that were found, unless there are very many.
	Mistakes input.Mistakes
	// Notices are what is no mistake, and may still be meant otherwise, such as files that are not read.
	Notices input.Mistakes
}

// Loaded is a case with the places of what it says.
type Loaded struct {
	Case egress.Case
	Node *input.Node // its document
	// Objects are all Kubernetes objects of the case, from wherever they come.
	Objects []Document
	// Broken says that it has mistakes already, so that what it lacks may come from them.
	Broken bool
}

// At is the place of a field of the case.
func (l *Loaded) At(what string, path ...any) input.Mistake {
	return input.Mistake{File: l.Case.File, Line: input.At(l.Node, path...).Line, What: what}
}

// Demand is what a probe demands, on all Istio versions or on some, with its path in the case.
type Demand struct {
	ArrivesAt                      egress.ByPhase[string]
	Arrival, AccessLog, GatewayLog egress.ByPhase[map[string]string]
	path                           []any
}

// Demands are those of all probes.
func (l *Loaded) Demands() []Demand {
	var out []Demand
	for i, p := range l.Case.Probes {
		out = append(out, Demand{p.ArrivesAt, p.Arrival, p.AccessLog, p.GatewayLog, []any{"probes", i}})
		for k, v := range p.Versions {
			out = append(out, Demand{v.ArrivesAt, v.Arrival, v.AccessLog, nil, []any{"probes", i, "versions", k}})
		}
	}
	return out
}

// PathOf is the path to what a field of a demand says for a phase, as PathIn is.
func (l *Loaded) PathOf(d Demand, ph egress.Phase, field string, more ...any) []any {
	return l.inPhase(append(slices.Clone(d.path), field), ph, more)
}

// PathIn is the path to what a probe's field says for a phase: the field may have one value for all phases.
func (l *Loaded) PathIn(ph egress.Phase, probe int, field string, more ...any) []any {
	return l.inPhase([]any{"probes", probe, field}, ph, more)
}

func (l *Loaded) inPhase(path []any, ph egress.Phase, more []any) []any {
	if input.Value(l.Node, append(path, ph.String())...) != nil {
		path = append(path, ph.String())
	}
	return append(path, more...)
}

// Document is a Kubernetes object with its place.
type Document struct {
	File  string
	Node  *input.Node
	Field string // setup, fixtures, objects, change or refused
}

// Client is a client with its place.
type Client struct {
	egress.Client
	File string
	Node *input.Node
}

// Internet is a hermetic internet with the folder's hosts added. Where they do not fit there or each other, the mistakes
// say it.
func (f *Folder) Internet(base *internet.Hosts) (*internet.Hosts, input.Mistakes) {
	all := &internet.Hosts{}
	for _, h := range f.Hosts {
		all.Hosts = append(all.Hosts, h.Hosts...)
		all.ClientCertificates = append(all.ClientCertificates, h.ClientCertificates...)
	}
	out, err := base.Add(all)
	return out, input.Lines(".", err)
}

// Cases are the cases alone.
func (f *Folder) Cases() []egress.Case {
	out := make([]egress.Case, len(f.Loaded))
	for i, l := range f.Loaded {
		out[i] = l.Case
	}
	return out
}

// EgressClients are the clients alone.
func (f *Folder) EgressClients() []egress.Client {
	out := make([]egress.Client, len(f.Clients))
	for i, c := range f.Clients {
		out[i] = c.Client
	}
	return out
}

// Load reads every case below a folder, and what cases share. All files are looked at, so that one run finds all
// mistakes, unless there are very many, or more files than one folder may have (input.MaxDocuments, input.MaxFolder).
// Fixtures are looked for beside the case, in the folders above it, and in the further file systems.
func Load(fsys fs.FS, more ...fs.FS) *Folder {
	r := &reader{fsys: fsys, more: more, folder: &Folder{}, setup: map[string][]Document{}, manifests: map[string][]*input.Node{}, files: map[string]file{}}
	if err := fs.WalkDir(fsys, ".", r.visit); err != nil {
		r.fault(input.AsMistake(".", 0, err))
	}
	for _, l := range r.folder.Loaded {
		r.share(l)
		r.fixtures(l)
	}
	r.bind()
	r.unused()
	f := r.folder
	slices.SortStableFunc(f.Loaded, func(a, b *Loaded) int { return strings.Compare(a.Case.Name, b.Case.Name) })
	f.Mistakes, f.Notices = f.Mistakes.Sorted(), f.Notices.Sorted()
	if len(f.Mistakes) >= maxMistakes {
		f.Mistakes = append(f.Mistakes[:maxMistakes], input.Mistake{File: ".", What: "there may be more mistakes: not all files were read"})
	}
	return f
}

// Text is all that a case says, its fixtures included, for those who look for names and addresses in it.
func Text(c egress.Case, fixtures fs.FS) (string, error) {
	b, err := json.Marshal(c)
	for _, f := range c.Fixtures {
		if err != nil {
			break
		}
		var more []byte
		more, err = fs.ReadFile(fixtures, f)
		b = append(b, more...)
	}
	return string(b), err
}

// reader is one reading of a folder.
type reader struct {
	fsys   fs.FS
	more   []fs.FS
	folder *Folder

	setup     map[string][]Document    // by folder
	manifests map[string][]*input.Node // by file: objects without a case
	files     map[string]file          // fixtures that were read
	looked    int                      // files of other endings that were looked at

	documents, size int
}

var errEnough = errors.New("there are too many files")

func (r *reader) fault(m input.Mistake) { r.folder.Mistakes = append(r.folder.Mistakes, m) }

func (r *reader) notice(file string, format string, a ...any) {
	r.folder.Notices = append(r.folder.Notices, input.Mistake{File: file, What: fmt.Sprintf(format, a...)})
}

func (r *reader) visit(p string, d fs.DirEntry, err error) error {
	name := path.Base(p)
	switch {
	case err != nil && p == ".":
		return fmt.Errorf("the folder cannot be read: %w", err)
	case err != nil:
		r.fault(input.Mistake{File: p, What: "it cannot be read: " + err.Error()})
		return nil //nolint:nilerr // it is a mistake among others
	case len(r.folder.Mistakes) >= maxMistakes:
		return fs.SkipAll
	case d.IsDir() && (name == ".git" || strings.HasPrefix(name, "..")): // mounted ConfigMaps have folders such as ..data
		return fs.SkipDir
	case d.IsDir():
		return nil
	case p == ".":
		r.fault(input.Mistake{File: p, What: "this is a file and no folder", Remedy: "give the folder in which it lies"})
		return nil
	}
	if why := passedOver(p); why != "" {
		r.passOver(p, d, why)
		return nil
	}
	docs, err := r.read(r.fsys, p)
	if errors.Is(err, errEnough) {
		return err
	}
	if err != nil {
		r.fault(input.AsMistake(p, 0, err))
		return nil
	}
	r.file(p, docs)
	return nil
}

// read parses a file within the bounds of one folder.
func (r *reader) read(fsys fs.FS, p string) ([]*input.Node, error) {
	b, err := fs.ReadFile(fsys, p)
	if err != nil {
		return nil, input.Mistake{File: p, What: "it cannot be read: " + err.Error()}
	}
	if r.size += len(b); r.size > input.MaxFolder {
		return nil, fmt.Errorf("%s: the YAML files up to this one are longer than %d MiB together: %w", p, input.MaxFolder>>20, errEnough)
	}
	docs, err := input.Documents(p, b)
	if r.documents += len(docs); r.documents > input.MaxDocuments {
		return nil, fmt.Errorf("%s: the YAML files up to this one have more than %d documents together: %w", p, input.MaxDocuments, errEnough)
	}
	return docs, err
}

// file sorts out what a file is.
func (r *reader) file(p string, docs []*input.Node) {
	switch base := strings.TrimSuffix(path.Base(p), path.Ext(p)); {
	case len(docs) == 0:
		r.notice(p, "the file is empty")
	case slices.ContainsFunc(docs, isCase):
		r.cases(p, docs)
	case base == clientsFile:
		r.clients(p, docs)
	case base == revisionsFile:
		r.revisions(p, docs)
	case base == hostsFile:
		r.hosts(p, docs)
	case base == setupFile:
		for _, d := range docs {
			if r.isObject(p, d, "every document of "+path.Base(p)) {
				r.setup[path.Dir(p)] = append(r.setup[path.Dir(p)], Document{p, d, "setup"})
			}
		}
	default:
		r.manifests[p] = docs
	}
}

// isCase says whether a document is a case. One that has probes and is no Kubernetes object is meant as one.
func isCase(d *input.Node) bool {
	return input.Value(d, "claim") != nil || input.Value(d, "probes") != nil && input.Value(d, "kind") == nil
}

// isObject says whether a document is a Kubernetes object, and reports it where it must be one.
func (r *reader) isObject(p string, d *input.Node, what string) bool {
	if input.Value(d, "kind") != nil && input.Value(d, "apiVersion") != nil {
		return true
	}
	r.fault(input.Mistake{File: p, Line: d.Line, What: what + " must be a Kubernetes object with apiVersion and kind"})
	return false
}

// cases reads a file with one case or several; objects belong to the case before them.
func (r *reader) cases(p string, docs []*input.Node) {
	var now *Loaded
	first := len(r.folder.Loaded)
	for _, d := range docs {
		switch {
		case isCase(d):
			now = r.oneCase(p, d, len(r.folder.Loaded) > first)
			r.folder.Loaded = append(r.folder.Loaded, now)
		case now == nil:
			r.fault(input.Mistake{
				File: p, Line: d.Line, What: "this document stands before the case, and belongs to none",
				Remedy: "put it after the case that applies it",
			})
		case r.isObject(p, d, "every document after the case"):
			now.Objects = append(now.Objects, Document{p, d, "objects"})
			now.Case.Objects = append(now.Case.Objects, r.object(p, d))
		default:
			now.Broken = true
		}
	}
}

func (r *reader) object(p string, d *input.Node) egress.Object {
	var o egress.Object
	if err := input.Decode(d, &o); err != nil {
		r.fault(input.AsMistake(p, d.Line, err))
	}
	return o
}

func (r *reader) oneCase(p string, d *input.Node, further bool) *Loaded {
	l := &Loaded{Node: d}
	c := &l.Case
	dec := decoderOf(p, "hosts", "clientCertificates", "revisions")
	dec.Value(d, c)
	c.File = p
	if list := input.Value(d, "revisions"); list != nil {
		r.addRevisions(p, list)
	}
	r.addHosts(p, input.Value(d, "hosts"), input.Value(d, "clientCertificates"))
	if c.Area == "" {
		c.Area = r.area(p)
	}
	switch {
	case c.Name == "" && further:
		dec.Mistake(d, "this is not the first case of its file, and has no name", fmt.Sprintf("name it, for instance name: %s-2", c.Area))
	case c.Name == "":
		c.Name = c.Area + "-" + word(strings.TrimSuffix(path.Base(p), path.Ext(p)))
	}
	for i := range c.Probes {
		if c.Probes[i].From == "" {
			c.Probes[i].From = "client"
		}
	}
	for _, f := range []string{"setup", "change", "refused"} {
		if list := input.Value(d, f); list != nil && list.Kind == yamlv3.SequenceNode {
			for _, o := range list.Content {
				if r.isObject(p, o, "every entry of "+f) {
					l.Objects = append(l.Objects, Document{p, o, f})
				}
			}
		}
	}
	if len(dec.Found) == 0 {
		checkCase(dec, d, *c)
	}
	l.Broken = len(dec.Found) > 0
	r.folder.Mistakes = append(r.folder.Mistakes, dec.Found...)
	return l
}

// checkCase asks the case itself, and each probe alone, so that a mistake has its probe's line.
func checkCase(d *input.Decoder, n *input.Node, c egress.Case) {
	err := c.Check()
	if err == nil {
		return
	}
	text := func(err error) string { return strings.TrimPrefix(err.Error(), fmt.Sprintf("case %q: ", c.Name)) }
	const ofProbe = "probe 0: "
	for i, p := range c.Probes {
		alone := c
		alone.Probes = []egress.Probe{p}
		if err := alone.Check(); err != nil && strings.HasPrefix(text(err), ofProbe) {
			d.Mistake(input.At(n, "probes", i), strings.TrimPrefix(text(err), ofProbe), "")
		}
	}
	if len(d.Found) == 0 {
		d.Mistake(n, text(err), "")
	}
}

// area is the name of a file's folder; files of the folder itself have its own name.
func (r *reader) area(p string) string {
	folder := path.Base(path.Dir(p))
	if named, ok := r.fsys.(interface{ Name() string }); ok && folder == "." {
		folder = named.Name()
	}
	if w := word(folder); w != "" {
		return w
	}
	return "cases"
}

// word makes a name of lower-case letters, digits and dashes.
func word(s string) string {
	return strings.Join(strings.FieldsFunc(strings.ToLower(s), func(c rune) bool { return (c < 'a' || c > 'z') && (c < '0' || c > '9') }), "-")
}

// share gives a case the setup of its folder.
func (r *reader) share(l *Loaded) {
	docs := r.setup[path.Dir(l.Case.File)]
	var objs []egress.Object
	for _, d := range docs {
		objs = append(objs, r.object(d.File, d.Node))
	}
	l.Case.Setup = append(objs, l.Case.Setup...)
	l.Objects = append(slices.Clone(docs), l.Objects...)
}

// hosts reads a hosts.yaml.
func (r *reader) hosts(p string, docs []*input.Node) {
	for _, d := range docs {
		var also struct{}
		dec := decoderOf(p, "hosts", "clientCertificates")
		dec.Value(d, &also)
		r.folder.Mistakes = append(r.folder.Mistakes, dec.Found...)
		r.addHosts(p, input.Value(d, "hosts"), input.Value(d, "clientCertificates"))
	}
}

func (r *reader) addHosts(p string, hosts, certificates *input.Node) {
	h, err := internet.HostsFrom(p, hosts, certificates)
	if err != nil {
		r.folder.Mistakes = append(r.folder.Mistakes, input.Lines(p, err)...)
		return
	}
	r.folder.Hosts = append(r.folder.Hosts, h)
}
