package mesh

import (
	"context"
	"fmt"
	"slices"
	"time"

	"helm.sh/helm/v3/pkg/action"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
)

// istiodRelease is the Helm release of the default istiod.
const istiodRelease = "istiod"

// UpgradeControlPlane makes the default istiod one of the installer's version, in place (istio.io, "In-place Upgrades", with
// Helm). It does not wait for it.
func (i *Installer) UpgradeControlPlane(ctx context.Context) error {
	ch, err := i.charts[istiodChart]()
	if err != nil {
		return err
	}
	cfg, err := i.helm(istiodRelease)
	if err != nil {
		return err
	}
	up := action.NewUpgrade(cfg)
	up.Namespace, up.DisableOpenAPIValidation, up.PostRenderer = i.ns, true, renderers{eagerProbe{}}
	up.Timeout = i.opts.Limits.OrDefault().Cluster.Chart
	if _, err := up.RunWithContext(ctx, istiodRelease, ch, istiodValues(i.opts)); err != nil {
		return fmt.Errorf("upgrade istiod in place to %s: %w", i.opts.Tag, err)
	}
	return nil
}

// RemoveControlPlane removes the default istiod, as the last step of a canary upgrade does. The CRDs stay. It does not wait
// for the end of its pods.
func (i *Installer) RemoveControlPlane() error {
	cfg, err := i.helm(istiodRelease)
	if err != nil {
		return err
	}
	if _, err := action.NewUninstall(cfg).Run(istiodRelease); err != nil {
		return fmt.Errorf("remove the default istiod: %w", err)
	}
	return nil
}

// AwaitGone waits until no pod of a revision's istiod is left.
func AwaitGone(ctx context.Context, cs kubernetes.Interface, revision string, within time.Duration) error {
	err := wait.PollUntilContextTimeout(ctx, scalePause, within, true, func(ctx context.Context) (bool, error) {
		l, err := cs.CoreV1().Pods(SystemNamespace).List(ctx, metav1.ListOptions{LabelSelector: istiodSelector})
		if err != nil {
			return false, err
		}
		return !slices.ContainsFunc(l.Items, func(p corev1.Pod) bool { return revisionOf(&p) == revision }), nil
	})
	if err != nil {
		return fmt.Errorf("wait for the end of the istiod of revision %s: %w", revision, err)
	}
	return nil
}
