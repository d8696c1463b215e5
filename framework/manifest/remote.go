package manifest

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	yamlv3 "go.yaml.in/yaml/v3"
	"sigs.k8s.io/kustomize/api/konfig"
	"sigs.k8s.io/kustomize/api/types"

	"mesh-egress-conformance/framework/input"
)

// Kustomize fetches what a kustomization names by a URL, by HTTP or by starting git. Nothing is fetched here, so such names are
// found before it begins. A kustomization is read by kustomize's own type, which takes its fields in any case of their letters.

// fetches says whether kustomize would fetch what has this name, or may: it clones whatever looks to it like a repository, also
// where a folder of that name is there (kustomize api/internal/git, NewRepoSpecFromURL).
func fetches(name string) bool {
	low := strings.ToLower(name)
	u, err := url.Parse(name)
	return strings.Contains(name, "://") || err == nil && (u.Scheme == "http" || u.Scheme == "https") ||
		strings.HasPrefix(low, "git::") || strings.HasPrefix(low, "github.com/") || strings.HasPrefix(low, "github.com:") || loginRE.MatchString(name)
}

// loginRE is the beginning of user@host:path, the way of scp.
var loginRE = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9-]*@`)

// remotes looks for what would be fetched, and on the way for files with patches.
type remotes struct {
	seen    map[string]bool // folders, and folders of plugins
	patches map[string]bool // files that change objects and are none, by their paths without links
}

// remote finds what a kustomize folder, or one that it is built on, would fetch; "" for nothing. Patches are the files of patches.
func remote(dir string) (found string, patches map[string]bool, err error) {
	r := &remotes{map[string]bool{}, map[string]bool{}}
	found, err = r.folder(dir, false)
	return found, r.patches, err
}

// folder looks through a folder; plugins says that its resources configure generators and transformers.
func (r *remotes) folder(dir string, plugins bool) (string, error) {
	key := fmt.Sprint(dir, plugins)
	if r.seen[key] {
		return "", nil
	}
	r.seen[key] = true
	for _, n := range konfig.RecognizedKustomizationFileNames() {
		file := filepath.Join(dir, n)
		if _, err := os.Stat(file); err != nil {
			continue
		}
		b, err := input.ReadFile(file, input.MaxFile)
		if err != nil {
			return "", err
		}
		if _, err := input.Documents(file, b); err != nil { // which bounds what aliases stand for
			return "", err
		}
		var k types.Kustomization
		if err := k.Unmarshal(b); err != nil {
			return "", fmt.Errorf("%s: %w", file, err)
		}
		if found, err := r.kustomization(dir, k, plugins); found != "" || err != nil {
			return found, err
		}
	}
	return "", nil
}

func (r *remotes) kustomization(dir string, k types.Kustomization, plugins bool) (string, error) {
	if len(k.HelmCharts) > 0 || len(k.HelmChartInflationGenerator) > 0 {
		return "", errors.New("it inflates Helm charts, which starts the program helm: render it and hand the result in (kustomize build --enable-helm | egressctl verify -)")
	}
	if i := slices.IndexFunc(loaded(k), fetches); i >= 0 {
		return loaded(k)[i], nil
	}
	for _, p := range patchesOf(k) {
		if full, err := filepath.EvalSymlinks(filepath.Join(dir, filepath.FromSlash(p))); err == nil { // else kustomize says so
			r.patches[full] = true
		}
	}
	for _, name := range slices.Concat(k.Resources, k.Bases, k.Components) { //nolint:staticcheck // deprecated, and read by kustomize
		if found, err := r.named(dir, name, plugins); found != "" || err != nil {
			return found, err
		}
	}
	for _, name := range slices.Concat(k.Generators, k.Transformers, k.Validators) {
		if docs := mappingsIn(name, []byte(name)); len(docs) > 0 { // written in place
			if found := urlsIn(docs); found != "" {
				return found, nil
			}
			continue
		}
		if found, err := r.named(dir, name, true); found != "" || err != nil {
			return found, err
		}
	}
	return "", nil
}

// loaded are the names of files that a kustomization loads as they are.
func loaded(k types.Kustomization) []string {
	out := slices.Concat(k.Crds, k.Configurations, patchesOf(k))
	for _, p := range k.OpenAPI {
		out = append(out, p)
	}
	for _, p := range k.Replacements {
		out = append(out, p.Path)
	}
	var pairs []types.KvPairSources
	for _, g := range k.ConfigMapGenerator {
		pairs = append(pairs, g.KvPairSources)
	}
	for _, g := range k.SecretGenerator {
		pairs = append(pairs, g.KvPairSources)
	}
	for _, p := range pairs {
		for _, f := range slices.Concat(p.FileSources, p.EnvSources, []string{p.EnvSource}) {
			if key, file, ok := strings.Cut(f, "="); ok && !fetches(key) {
				f = file
			}
			out = append(out, f)
		}
	}
	return out
}

// patchesOf are the names of files with patches.
func patchesOf(k types.Kustomization) []string {
	var out []string
	for _, p := range k.PatchesStrategicMerge { //nolint:staticcheck // as above
		if !strings.Contains(string(p), "\n") { // written in place
			out = append(out, string(p))
		}
	}
	for _, p := range slices.Concat(k.Patches, k.PatchesJson6902) { //nolint:staticcheck // as above
		if p.Path != "" {
			out = append(out, p.Path)
		}
	}
	return out
}

// named looks at a file or folder that a kustomization is built on.
func (r *remotes) named(dir, name string, plugins bool) (string, error) {
	at := filepath.Join(dir, filepath.FromSlash(name))
	if filepath.IsAbs(name) {
		at = name
	}
	st, err := os.Stat(at)
	switch {
	case fetches(name) || err != nil: // whatever it is, it is not here
		return name, nil //nolint:nilerr // that is the answer
	case st.IsDir():
		return r.folder(at, plugins)
	case !plugins:
		return "", nil
	}
	b, err := input.ReadFile(at, input.MaxFile)
	if err != nil {
		return "", err
	}
	return urlsIn(mappingsIn(at, b)), nil
}

// mappingsIn are the documents of a text that are mappings; none where it is no YAML.
func mappingsIn(file string, b []byte) []*input.Node {
	docs, err := input.Documents(file, b)
	if err != nil {
		return nil
	}
	return slices.DeleteFunc(docs, func(d *input.Node) bool { return d.Kind != yamlv3.MappingNode })
}

// urlsIn finds what generators and transformers would fetch. What some of them write into objects may be a URL.
func urlsIn(docs []*input.Node) string {
	for _, d := range docs {
		if kind := input.Value(d, "kind"); kind != nil && (kind.Value == "AnnotationsTransformer" || kind.Value == "LabelTransformer") {
			continue
		}
		if found := urlIn(d); found != "" {
			return found
		}
	}
	return ""
}

// urlIn finds a name among values that would be fetched: not among texts that are written in place.
func urlIn(n *input.Node) string {
	if n.Kind == yamlv3.MappingNode {
		for i := 0; i+1 < len(n.Content); i += 2 {
			if key := n.Content[i].Value; slices.Contains([]string{"patch", "literals", "options", "target", "apiVersion", "metadata"}, key) {
				continue
			}
			if found := urlIn(n.Content[i+1]); found != "" {
				return found
			}
		}
		return ""
	}
	for _, c := range n.Content {
		if found := urlIn(c); found != "" {
			return found
		}
	}
	if n.Kind == yamlv3.ScalarNode && !strings.Contains(n.Value, "\n") && strings.Contains(n.Value, "://") {
		return n.Value
	}
	return ""
}
