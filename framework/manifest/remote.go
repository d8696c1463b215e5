package manifest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	yamlv3 "go.yaml.in/yaml/v3"
	"sigs.k8s.io/kustomize/api/konfig"

	"mesh-egress-conformance/framework/input"
)

// Kustomize fetches what a kustomization names by a URL, by HTTP or by starting git. Nothing is fetched here, so such names are
// found before it begins.

// folders are the fields of a kustomization that name files or folders; named are those whose values may hold names of files.
var (
	folders = []string{"resources", "bases", "components", "crds", "configurations", "generators", "transformers", "validators", "patchesStrategicMerge"}
	named   = []string{"patches", "patchesJson6902", "replacements", "configMapGenerator", "secretGenerator", "openapi"}
)

// remote finds what a kustomize folder, or one that it is built on, would fetch; "" for nothing.
func remote(dir string, seen map[string]bool) (string, error) {
	if seen[dir] {
		return "", nil
	}
	seen[dir] = true
	for _, n := range konfig.RecognizedKustomizationFileNames() {
		file := filepath.Join(dir, n)
		if _, err := os.Stat(file); err != nil {
			continue
		}
		b, err := input.ReadFile(file, input.MaxFile)
		if err != nil {
			return "", err
		}
		docs, err := input.Documents(file, b)
		if err != nil {
			return "", err
		}
		for _, d := range docs {
			if found, err := remoteIn(dir, d, seen); found != "" || err != nil {
				return found, err
			}
		}
	}
	return "", nil
}

func remoteIn(dir string, d *input.Node, seen map[string]bool) (string, error) {
	for _, field := range named {
		if found := urlIn(input.Value(d, field)); found != "" {
			return found, nil
		}
	}
	if input.Value(d, "helmCharts") != nil || input.Value(d, "helmChartInflationGenerator") != nil {
		return "", fmt.Errorf("it inflates Helm charts, which starts the program helm: render it and hand the result in (kustomize build --enable-helm | egressctl verify -)")
	}
	for _, field := range folders {
		list := input.Value(d, field)
		if list == nil {
			continue
		}
		for _, x := range list.Content {
			if x.Kind != yamlv3.ScalarNode || strings.Contains(x.Value, "\n") { // written in place
				continue
			}
			at := filepath.Join(dir, filepath.FromSlash(x.Value))
			st, err := os.Stat(at)
			switch {
			case strings.Contains(x.Value, "://") || err != nil: // whatever it is, it is not here
				return x.Value, nil //nolint:nilerr // that is the answer
			case st.IsDir():
				if found, err := remote(at, seen); found != "" || err != nil {
					return found, err
				}
			}
		}
	}
	return "", nil
}

// urlIn finds a URL among the values that may be names of files: not among texts that are written in place.
func urlIn(n *input.Node) string {
	if n == nil {
		return ""
	}
	if n.Kind == yamlv3.MappingNode {
		for i := 0; i+1 < len(n.Content); i += 2 {
			if key := n.Content[i].Value; key == "patch" || key == "literals" || key == "options" || key == "target" {
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
	if n.Kind == yamlv3.ScalarNode && strings.Contains(n.Value, "://") && !strings.Contains(n.Value, "\n") {
		return n.Value
	}
	return ""
}
