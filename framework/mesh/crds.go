package mesh

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// crdFile holds the CustomResourceDefinitions of Istio, below the folder of its module.
const crdFile = "manifests/charts/base/files/crd-all.gen.yaml"

// CRDs are the CustomResourceDefinitions that a cluster of ours has with the Istio whose module is in a folder, as YAML
// documents: Istio's own, and those of the Gateway API.
func CRDs(module string) ([][]byte, error) {
	var out [][]byte
	for file, ours := range map[string]func(doc []byte) bool{
		crdFile: func([]byte) bool { return true },
		gatewayAPIFile: func(doc []byte) bool {
			return slices.ContainsFunc(gatewayAPIKinds, func(n string) bool { return bytes.Contains(doc, []byte("\n  name: "+n+"\n")) })
		},
	} {
		b, err := os.ReadFile(filepath.Join(module, file))
		if err != nil {
			return nil, fmt.Errorf("read Istio's CustomResourceDefinitions: %w", err)
		}
		for doc := range bytes.SplitSeq(b, []byte("\n---\n")) {
			if ours(doc) {
				out = append(out, doc)
			}
		}
	}
	return out, nil
}
