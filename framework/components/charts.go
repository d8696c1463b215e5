package components

import (
	"context"
	"fmt"
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
