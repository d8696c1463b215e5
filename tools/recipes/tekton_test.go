package recipes

import (
	"context"
	"os"
	"strings"
	"testing"

	v1 "github.com/tektoncd/pipeline/pkg/apis/pipeline/v1"
	"sigs.k8s.io/yaml"
)

// tekton decodes a Pipeline strictly and looks at it as Tekton's admission webhook does.
func tekton(ctx context.Context, text []byte) error {
	var p v1.Pipeline
	if err := yaml.UnmarshalStrict(text, &p); err != nil {
		return err
	}
	p.SetDefaults(ctx)
	if err := p.Validate(ctx); err != nil { // not returned as it is: it is no error but a pointer, which may be nil
		return err
	}
	return nil
}

func TestTektonRecipe(t *testing.T) {
	text, err := os.ReadFile("../../docs/ci/tekton.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := tekton(t.Context(), text); err != nil {
		t.Error(err)
	}
	for what, replace := range map[string][2]string{
		"an unknown field":                    {"runAfter:", "runsAfter:"},
		"a task that runs after nothing":      {"runAfter: [run]", "runAfter: [ran]"},
		"a workspace that nobody has":         {"workspace: kubeconfig}", "workspace: kubeconfigs}"},
		"a parameter that nobody has":         {"value: $(params.image)", "value: $(params.picture)"},
		"an answer to a failure that is none": {"onError: continue", "onError: shrug"},
	} {
		t.Run(what, func(t *testing.T) {
			spoiled := strings.Replace(string(text), replace[0], replace[1], 1)
			if spoiled == string(text) {
				t.Fatal("nothing was spoiled")
			}
			if err := tekton(t.Context(), []byte(spoiled)); err == nil {
				t.Error("it is taken")
			}
		})
	}
}
