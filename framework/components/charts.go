package components

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// Charts returns an Istio version of the catalogue and the folder of its module, which holds its charts.
// Nothing is built or pulled.
func Charts(ctx context.Context, st *Store, o Options) (Istio, string, error) {
	cat, err := LoadCatalogue()
	if err != nil {
		return Istio{}, "", err
	}
	istio, err := cat.FindIstio(o.Istio)
	if err != nil {
		return Istio{}, "", err
	}
	f := &fetcher{store: st, opts: o, cat: cat}
	dir, err := f.istioModule(ctx, istio.Module)
	if err != nil {
		return Istio{}, "", fmt.Errorf("charts of Istio %s: %w", istio.Version, err)
	}
	return istio, dir, nil
}

// CachedCharts is Charts for an Istio version whose module an earlier command has fetched; nothing is fetched, which is an
// error that wraps fs.ErrNotExist.
func CachedCharts(st *Store, version string) (Istio, string, error) {
	cat, err := LoadCatalogue()
	if err != nil {
		return Istio{}, "", err
	}
	istio, err := cat.FindIstio(version)
	if err != nil {
		return Istio{}, "", err
	}
	e, err := st.Lookup(moduleRecipe(istio.Module))
	if err != nil {
		return istio, "", fmt.Errorf("the module of Istio %s is not in the component cache: %w", istio.Version, err)
	}
	dir, err := os.ReadFile(e.Path("path"))
	if err == nil {
		_, err = os.Stat(filepath.Join(string(dir), "go.mod"))
	}
	if err != nil {
		return istio, "", fmt.Errorf("the module of Istio %s is no longer in Go's module cache: %w", istio.Version, err)
	}
	return istio, string(dir), nil
}
