package manifest

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"helm.sh/helm/v3/pkg/strvals"
	"sigs.k8s.io/yaml"

	"mesh-egress-conformance/framework/input"
)

// isChart says whether a folder is a Helm chart.
func isChart(dir string) bool {
	st, err := os.Stat(filepath.Join(dir, "Chart.yaml"))
	return err == nil && st.Mode().IsRegular()
}

// chart renders a chart. Its hooks and notes are left out, and so are objects of tests.
func (r *reader) chart(s source) {
	_ = filepath.WalkDir(s.path, func(p string, d fs.DirEntry, err error) error { // what cannot be read does not render either
		if err == nil && d.IsDir() {
			r.depends(p)
		}
		return nil
	})
	rendered, crds, err := r.render(s.path)
	if err != nil {
		r.mistake(s.name, 0, "the chart does not render: %v", err)
		return
	}
	for _, name := range slices.Sorted(maps.Keys(rendered)) {
		base := filepath.Base(name)
		if base == "NOTES.txt" || strings.HasPrefix(base, "_") || strings.TrimSpace(rendered[name]) == "" {
			continue
		}
		// The first part is the chart's own name.
		_, below, _ := strings.Cut(name, "/")
		r.rendered(s.name+"/"+below, []byte(rendered[name]))
	}
	for _, c := range crds {
		r.notice(s.name+"/"+c.Name, "CustomResourceDefinitions of a chart are left out: the mesh has those of Istio")
	}
}

func (r *reader) render(dir string) (map[string]string, []*chart.File, error) {
	c, err := loader.LoadDir(dir)
	if err != nil {
		return nil, nil, err
	}
	values, err := r.values()
	if err != nil {
		return nil, nil, err
	}
	if err := chartutil.ProcessDependenciesWithMerge(c, values); err != nil {
		return nil, nil, fmt.Errorf("its dependencies: %w", err)
	}
	if lacking := missing(c); len(lacking) > 0 {
		return nil, nil, fmt.Errorf("it depends on %s, which is not in its folder charts: run helm dependency build", strings.Join(lacking, ", "))
	}
	release := chartutil.ReleaseOptions{Name: orElse(r.o.Release, c.Name()), Namespace: orElse(r.o.Namespace, defaultNamespace), Revision: 1, IsInstall: true}
	all, err := chartutil.ToRenderValues(c, values, release, chartutil.DefaultCapabilities)
	if err != nil {
		return nil, nil, err
	}
	out, err := engine.Render(c, all)
	return out, crdsOf(c), err
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// missing are the dependencies of a chart that are not in its folder.
func missing(c *chart.Chart) []string {
	var out []string
	for _, d := range c.Metadata.Dependencies {
		if d.Enabled && !slices.ContainsFunc(c.Dependencies(), func(x *chart.Chart) bool { return x.Name() == d.Name || x.Name() == d.Alias }) {
			out = append(out, d.Name)
		}
	}
	return out
}

func crdsOf(c *chart.Chart) []*chart.File {
	var out []*chart.File
	for _, x := range c.CRDObjects() {
		out = append(out, x.File)
	}
	return out
}

// values are those of the files and single ones of the options.
func (r *reader) values() (map[string]any, error) {
	out := map[string]any{}
	for _, f := range r.o.Values {
		b, err := r.o.file(f)
		if err != nil {
			return nil, fmt.Errorf("read the values: %w", err)
		}
		var v map[string]any
		if err := yaml.Unmarshal(b, &v); err != nil {
			return nil, fmt.Errorf("read the values in %s: %w", f, err)
		}
		out = chartutil.CoalesceTables(v, out)
	}
	for _, s := range r.o.Set {
		if err := strvals.ParseInto(s, out); err != nil {
			return nil, fmt.Errorf("value %q: %w", s, err)
		}
	}
	return out, nil
}

func (o Options) file(path string) ([]byte, error) {
	if o.File != nil {
		return o.File(path)
	}
	return input.ReadFile(path, input.MaxFile)
}

// rendered reads what a template has made: its lines are nobody's.
func (r *reader) rendered(file string, b []byte) {
	docs, err := input.DocumentsUpTo(file, b, maxRendered)
	if err != nil {
		m := input.AsMistake(file, 0, err)
		m.What = "what it renders to: " + m.What
		m.Line = 0
		r.set.Mistakes = append(r.set.Mistakes, m)
		return
	}
	for _, d := range docs {
		if hook(d) {
			continue
		}
		r.document(file, d, 0)
	}
}

// hook says whether an object is one of a release's hooks, which are no part of what stands.
func hook(d *input.Node) bool {
	return input.Value(d, "metadata", "annotations", "helm.sh/hook") != nil
}
