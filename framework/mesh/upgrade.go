package mesh

import (
	"context"
	"fmt"
	"slices"
	"time"

	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/postrender"
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
	return i.upgrade(ctx, istiodRelease, istiodChart, istiodValues(i.opts), renderers{eagerProbe{}})
}

// UpgradeGateway makes a gateway one of the installer's version and of a revision; "" is the default one. It does not wait
// for it, and where the revision stays the same, no pod is made anew.
func (i *Installer) UpgradeGateway(ctx context.Context, name, revision string) error {
	v := gatewayValues(i.opts, name)
	v["revision"] = revision
	return i.upgrade(ctx, name, gatewayChart, v, nil)
}

func (i *Installer) upgrade(ctx context.Context, release, dir string, v values, post postrender.PostRenderer) error {
	ch, err := i.charts[dir]()
	if err != nil {
		return err
	}
	cfg, err := i.helm(release)
	if err != nil {
		return err
	}
	up := action.NewUpgrade(cfg)
	up.Namespace, up.DisableOpenAPIValidation = i.ns, true
	up.Timeout = i.opts.Limits.OrDefault().Cluster.Chart
	if post != nil {
		up.PostRenderer = post
	}
	if _, err := up.RunWithContext(ctx, release, ch, v); err != nil {
		return fmt.Errorf("upgrade chart %s as %s to %s: %w", dir, release, i.opts.Tag, err)
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
