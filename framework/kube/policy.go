package kube

import (
	"context"
	"errors"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

// AwaitPolicy waits until the API server uses an admission policy, which it does up to seconds after it has it. inForce tries an object
// that is not made (metav1.DryRunAll) and says whether the policy was about it; its last error is told where that does not come.
func AwaitPolicy(ctx context.Context, within time.Duration, inForce func(context.Context) (bool, error)) error {
	var last error
	err := wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, within, true, func(ctx context.Context) (bool, error) {
		var yes bool
		yes, last = inForce(ctx)
		return yes, nil
	})
	if err != nil {
		return errors.Join(err, last)
	}
	return nil
}
