package snapshot

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"mesh-egress-conformance/framework/manifest"
	"mesh-egress-conformance/framework/verify"
)

// makers are the kinds, among those that are read, whose controllers make objects of other kinds that are read.
var makers = []schema.GroupKind{
	{Group: "apps", Kind: "DaemonSet"},
	{Group: "apps", Kind: "Deployment"},
	{Group: "apps", Kind: "ReplicaSet"},
	{Group: "apps", Kind: "StatefulSet"},
	{Group: "batch", Kind: "CronJob"},
	{Group: "batch", Kind: "Job"},
	{Group: "gateway.networking.k8s.io", Kind: "Gateway"},
}

// What the API server and controllers write into objects beside what somebody has written, by the place where it is.
var (
	addedMeta   = []string{"creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "finalizers", "generateName", "generation", "managedFields", "ownerReferences", "resourceVersion", "selfLink", "uid"}
	addedNotes  = []string{"kubectl.kubernetes.io/last-applied-configuration", "deployment.kubernetes.io/revision", "deployment.kubernetes.io/desired-replicas", "deployment.kubernetes.io/max-replicas", "deprecated.daemonset.template.generation"}
	addedLabels = []string{
		"pod-template-hash", "rollouts-pod-template-hash", "controller-revision-hash", "pod-template-generation", "statefulset.kubernetes.io/pod-name", "apps.kubernetes.io/pod-index",
		"controller-uid", "batch.kubernetes.io/controller-uid",
	}
)

// taken is an object as its author has written it, as far as that can be told; false for one that another one makes, or that makes
// nothing. One whose owner is of a kind that is not read is called by its owner's name, which stays when it is made anew.
func taken(o *unstructured.Unstructured) (manifest.Object, bool) {
	owner := metav1.GetControllerOfNoCopy(o)
	if owner != nil && slices.Contains(makers, schema.FromAPIVersionAndKind(owner.APIVersion, owner.Kind).GroupKind()) || idle(o, owner) {
		return manifest.Object{}, false
	}
	x := manifest.Object{Fields: o.Object}
	if k := o.GetKind(); owner != nil && (k == "Pod" || k == "ReplicaSet") {
		x.File = ownerOf(o, owner)
		o.SetName(owner.Name)
	}
	strip(o)
	if x.File == "" {
		x.File = x.String()
	}
	return x, true
}

// ownerOf is the place of an object's owner.
func ownerOf(o *unstructured.Unstructured, owner *metav1.OwnerReference) string {
	return owner.Kind + " " + o.GetNamespace() + "/" + owner.Name
}

// pod is one that runs: whose it is, and whether it has no sidecar.
type pod struct {
	whose string
	bare  bool
}

// note notes whose a pod is, and whose an owner is itself. A list may be read twice.
func (r *reader) note(o *unstructured.Unstructured) {
	owner := metav1.GetControllerOfNoCopy(o)
	if idle(o, owner) {
		return
	}
	x := manifest.Object{Fields: o.Object}
	whose := x.String()
	if owner != nil {
		whose = ownerOf(o, owner)
	}
	switch x.Kind() {
	case "Pod":
		r.pods[x.String()] = pod{whose, !verify.HasSidecar(x)}
	case "ReplicaSet", "Job":
		r.owners[x.String()] = whose
	}
}

// running are the pods by the place of what makes them in the end: of a ReplicaSet's pods that is its Deployment.
func (r *reader) running() map[string]verify.Running {
	out := map[string]verify.Running{}
	for _, p := range r.pods {
		place := p.whose
		if owner, owned := r.owners[place]; owned {
			place = owner
		}
		n := out[place]
		n.Pods++
		if p.bare {
			n.Bare++
		}
		out[place] = n
	}
	return out
}

// idle says whether an object that would make calls makes none: a pod that has ended, is going or is the kubelet's own, and the former
// versions of what a ReplicaSet's owner has.
func idle(o *unstructured.Unstructured, owner *metav1.OwnerReference) bool {
	switch o.GetKind() {
	case "Pod":
		phase, _, _ := unstructured.NestedString(o.Object, "status", "phase")
		_, mirror := o.GetAnnotations()[corev1.MirrorPodAnnotationKey]
		return mirror || o.GetDeletionTimestamp() != nil || phase == string(corev1.PodSucceeded) || phase == string(corev1.PodFailed)
	case "ReplicaSet":
		n, set, _ := unstructured.NestedInt64(o.Object, "spec", "replicas")
		return owner != nil && set && n == 0
	}
	return false
}

// strip takes out of an object what its author has not written.
func strip(o *unstructured.Unstructured) {
	delete(o.Object, "status")
	meta, _ := o.Object["metadata"].(map[string]any)
	for _, f := range addedMeta {
		delete(meta, f)
	}
	for _, path := range [][]string{{"metadata"}, {"spec", "template", "metadata"}} {
		without(o.Object, append(path, "annotations"), addedNotes)
		without(o.Object, append(path, "labels"), addedLabels)
	}
	without(o.Object, []string{"spec", "selector", "matchLabels"}, addedLabels)
}

// without takes keys out of a mapping, and an empty mapping away.
func without(fields map[string]any, path, keys []string) {
	got, found, err := unstructured.NestedFieldNoCopy(fields, path...)
	m, is := got.(map[string]any)
	if err != nil || !found || !is {
		return
	}
	had := len(m)
	for _, k := range keys {
		delete(m, k)
	}
	if len(m) == 0 && had > 0 {
		unstructured.RemoveNestedField(fields, path...)
	}
}

// several leaves one of the objects since a place that are called by one owner's name: pods of one owner are alike.
func (r *reader) several(first int) {
	count := map[string]int{}
	rest := slices.DeleteFunc(r.objects[first:], func(x manifest.Object) bool {
		count[x.Key("")]++
		return count[x.Key("")] > 1
	})
	for _, x := range rest {
		if n := count[x.Key("")]; n > 1 {
			r.notice("%d objects of kind %s are %s's: the first stands for all", n, x.Kind(), x.File)
		}
	}
	r.objects = r.objects[:first+len(rest)]
}
