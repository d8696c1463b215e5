//go:build linux

package embedded

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	k8stesting "k8s.io/client-go/testing"
)

// Only the policy's own refusal tells that it is in force.
func TestAwaitPodPolicy(t *testing.T) {
	policy, _, err := podPolicy()
	if err != nil || policy.Name != podPolicyName {
		t.Fatalf("%v %v", policy, err)
	}
	refusal := fmt.Errorf("deployments.apps \"guard-\" is forbidden: ValidatingAdmissionPolicy '%s' with binding '%s' denied request", policy.Name, policy.Name)
	for name, x := range map[string]struct {
		answers []error // the last one stays
		want    string
	}{
		"at once":                  {[]error{refusal}, ""},
		"a moment later":           {[]error{nil, errors.New("etcdserver: request timed out"), nil, refusal}, ""},
		"never":                    {[]error{nil}, "refuses pods that could reach the machine"},
		"refused by somebody else": {[]error{errors.New("denied by another webhook")}, "denied by another webhook"},
	} {
		t.Run(name, func(t *testing.T) {
			cs, asked := fake.NewClientset(), 0
			cs.PrependReactor("create", "deployments", func(a k8stesting.Action) (bool, runtime.Object, error) {
				create := a.(k8stesting.CreateActionImpl)
				if len(create.CreateOptions.DryRun) == 0 {
					t.Error("a workload was made")
				}
				asked++
				return true, create.Object, x.answers[min(asked, len(x.answers))-1]
			})
			err := awaitPodPolicy(t.Context(), cs, 500*time.Millisecond)
			if (err == nil) != (x.want == "") || err != nil && !strings.Contains(err.Error(), x.want) || err == nil && asked != len(x.answers) {
				t.Errorf("after %d questions: %v", asked, err)
			}
		})
	}
}
