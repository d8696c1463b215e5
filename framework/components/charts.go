package components

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// Charts returns the Istio that options mean and the folder which holds its charts. Nothing is built or pulled.
func Charts(ctx context.Context, st *Store, o Options) (Istio, string, error) {
	cat, err := LoadCatalogue(o.Releases)
	if err != nil {
		return Istio{}, "", err
	}
	istio, err := cat.find(ctx, o)
	if err != nil {
		return Istio{}, "", err
	}
	f := &fetcher{store: st, opts: o, cat: cat}
	dir, err := f.istioFolder(ctx, istio)
	if err != nil {
		return Istio{}, "", fmt.Errorf("charts of Istio %s: %w", istio.Version, err)
	}
	return istio, dir, nil
}

// CachedCharts is Charts for an Istio whose module an earlier command has fetched, or that is a folder on this machine;
// nothing is fetched, which is an error that wraps fs.ErrNotExist.
func CachedCharts(ctx context.Context, st *Store, o Options) (Istio, string, error) {
	istio, err := Find(ctx, o)
	if err != nil {
		return Istio{}, "", err
	}
	if istio.Checkout != nil {
		return istio, istio.Checkout.Dir, nil
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
