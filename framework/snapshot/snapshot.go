// Package snapshot reads of a live cluster what decides about egress, as the objects that files would give. It reads and
// does nothing else: lists of the kinds that matter, page by page, a few ConfigMaps by name, and never a Secret. The only
// requests that are not reads ask the API server what this user may do.
package snapshot

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"mesh-egress-conformance/framework/input"
	"mesh-egress-conformance/framework/limits"
	"mesh-egress-conformance/framework/manifest"
	"mesh-egress-conformance/framework/verify"
)

// Options say what to read.
type Options struct {
	// Name is what messages call the cluster.
	Name string
	// Namespaces are those that are read, beside istio-system; none means all.
	Namespaces []string
	// NoSettings leaves the mesh settings out.
	NoSettings bool
	// InPlace says that the cluster is to be asked itself afterwards: what takes notice of pods there is read too, and that this user
	// may do what asking takes (Actions) is demanded with everything else, before anything is read.
	InPlace bool
}

// resources are the kinds that are read.
func (o Options) resources() []verify.Resource {
	if o.InPlace {
		return append(verify.Resources(), verify.InPlaceResources()...)
	}
	return verify.Resources()
}

// Snapshot is what was read of a cluster.
type Snapshot struct {
	Name string
	// Set are the objects without what the API server and controllers have added, and without what others in the set make.
	Set *manifest.Set
	// Running are the pods that run, by the place of the workload that makes them.
	Running map[string]verify.Running
	// Notices are what a reader must know of the reading itself; Set has them too.
	Notices input.Mistakes
	// namespace is one of the cluster's, whose uid no other cluster has.
	namespace string
	uid       types.UID
}

// Take reads a cluster. What this user may not read is named in one error, before anything is read. Kinds that the cluster does not
// have are told among the notices.
func Take(ctx context.Context, cfg *rest.Config, o Options) (*Snapshot, error) {
	r, err := newReader(cfg, o)
	if err == nil {
		err = r.discover(ctx)
	}
	if err == nil {
		err = r.preflight(ctx)
	}
	if err == nil {
		err = r.read(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", o.Name, err)
	}
	set := verify.FromCluster(&manifest.Set{Objects: r.objects, Notices: r.notices}, o.Name)
	return &Snapshot{Name: o.Name, Set: set, Running: r.running(), Notices: r.notices, namespace: r.namespace, uid: r.uid}, nil
}

// reader reads one cluster.
type reader struct {
	o         Options
	discovery *discovery.DiscoveryClient
	clients   kubernetes.Interface
	dynamic   dynamic.Interface

	served  []served
	objects []manifest.Object
	notices input.Mistakes
	pods    map[string]pod    // by place
	owners  map[string]string // the places of what makes pods, and of what makes it

	namespace string // the first that was read, with its uid
	uid       types.UID
}

// served is a kind as this API server has it.
type served struct {
	verify.Resource
	version    string
	namespaced bool
}

func (s served) resource() schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: s.Group, Version: s.version, Resource: s.Name}
}

func newReader(cfg *rest.Config, o Options) (*reader, error) {
	cfg = rest.CopyConfig(cfg)
	cfg.Timeout = limits.Process().Cluster.List
	r := &reader{o: o, pods: map[string]pod{}, owners: map[string]string{}}
	var err, err2, err3 error
	r.discovery, err = discovery.NewDiscoveryClientForConfig(cfg)
	r.clients, err2 = kubernetes.NewForConfig(cfg)
	r.dynamic, err3 = dynamic.NewForConfig(cfg)
	if err := errors.Join(err, err2, err3); err != nil {
		return nil, fmt.Errorf("make a client for %s: %w", cfg.Host, err)
	}
	return r, nil
}

func (r *reader) notice(format string, a ...any) {
	r.notices = append(r.notices, input.Mistake{File: r.o.Name, What: fmt.Sprintf(format, a...)})
}

// discover finds the version in which the cluster has each kind: the one that it prefers of those that have it.
func (r *reader) discover(ctx context.Context) error {
	groups, err := r.discovery.ServerGroupsWithContext(ctx)
	if err != nil {
		return fmt.Errorf("ask which kinds there are: %w", err)
	}
	lists := map[string]*metav1.APIResourceList{}
	var lacking []string
	for _, want := range r.o.resources() {
		s, err := r.find(ctx, groups, want, lists)
		if err != nil {
			return err
		}
		if s.version == "" {
			lacking = append(lacking, strings.TrimSuffix(want.Kind+"."+want.Group, "."))
			continue
		}
		r.served = append(r.served, s)
	}
	if len(lacking) > 0 {
		r.notice("it does not have %s: nothing of these kinds is there", strings.Join(lacking, ", "))
	}
	return nil
}

// find is a kind as the cluster has it; without a version where it has none.
func (r *reader) find(ctx context.Context, groups *metav1.APIGroupList, want verify.Resource, lists map[string]*metav1.APIResourceList) (served, error) {
	at := slices.IndexFunc(groups.Groups, func(g metav1.APIGroup) bool { return g.Name == want.Group })
	if at < 0 {
		return served{}, nil
	}
	for _, v := range groups.Groups[at].Versions {
		list := lists[v.GroupVersion]
		if list == nil {
			var err error
			if list, err = r.discovery.ServerResourcesForGroupVersionWithContext(ctx, v.GroupVersion); err != nil && !apierrors.IsNotFound(err) {
				return served{}, fmt.Errorf("ask which kinds of %s there are: %w", v.GroupVersion, err)
			}
			if list == nil { // it has gone since
				list = &metav1.APIResourceList{}
			}
			lists[v.GroupVersion] = list
		}
		for _, have := range list.APIResources {
			if have.Name == want.Name && have.Kind == want.Kind && slices.Contains(have.Verbs, "list") {
				return served{want, v.Version, have.Namespaced}, nil
			}
		}
	}
	return served{}, nil
}

// read reads everything.
func (r *reader) read(ctx context.Context) error {
	for _, s := range r.served {
		if err := r.kind(ctx, s); err != nil {
			return err
		}
	}
	if len(r.o.Namespaces) > 0 {
		r.notice("only %s and %s are read: what other namespaces export to these is not seen", strings.Join(r.o.Namespaces, ", "), verify.RootNamespace)
	}
	if r.o.NoSettings {
		return nil
	}
	names := verify.ConfigMaps(r.objects)
	if err := r.mayGet(ctx, names[len(verify.DefaultConfigMaps()):]); err != nil {
		return err
	}
	for _, name := range names {
		if err := r.configMap(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// kind reads all objects of a kind.
func (r *reader) kind(ctx context.Context, s served) error {
	switch {
	case len(r.o.Namespaces) == 0:
		return r.list(ctx, s, "")
	case !s.namespaced:
		return r.named(ctx, s, r.o.Namespaces)
	}
	for _, ns := range r.places() {
		if err := r.list(ctx, s, ns); err != nil {
			return err
		}
	}
	return nil
}

// places are the namespaces that are read; "" is all.
func (r *reader) places() []string {
	if len(r.o.Namespaces) == 0 {
		return []string{""}
	}
	out := slices.Clone(r.o.Namespaces)
	if !slices.Contains(out, verify.RootNamespace) {
		out = append(out, verify.RootNamespace)
	}
	return out
}

// named reads objects by their names.
func (r *reader) named(ctx context.Context, s served, names []string) error {
	for _, name := range names {
		o, err := r.dynamic.Resource(s.resource()).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return fmt.Errorf("read %s %s: %w", s.Kind, name, err)
		}
		r.take(o)
	}
	return nil
}

const (
	// pageSize is how many objects a page has: what kubectl asks for.
	pageSize = 500
	// listTries is how often a list is begun that the API server no longer knows halfway through.
	listTries = 5
)

// list reads the objects of a kind in a namespace, page by page. A list is as of one moment, and an API server that is busy may have
// forgotten that moment before the last page: it is read again then.
func (r *reader) list(ctx context.Context, s served, namespace string) error {
	before := len(r.objects)
	var err error
	for range listTries {
		r.objects = r.objects[:before]
		if err = r.pages(ctx, s, namespace); !apierrors.IsResourceExpired(err) {
			break
		}
	}
	if apierrors.IsNotFound(err) {
		return nil // its CustomResourceDefinition has just gone
	}
	if err != nil {
		return fmt.Errorf("list %s%s: %w", s.Name, in(namespace), err)
	}
	return nil
}

func in(namespace string) string {
	if namespace == "" {
		return ""
	}
	return " in namespace " + namespace
}

func (r *reader) pages(ctx context.Context, s served, namespace string) error {
	o := metav1.ListOptions{Limit: pageSize, LabelSelector: s.Labels}
	first := len(r.objects)
	for {
		page, err := r.dynamic.Resource(s.resource()).Namespace(namespace).List(ctx, o)
		if err != nil {
			return err //nolint:wrapcheck // by list, which looks at it
		}
		for i := range page.Items {
			r.take(&page.Items[i])
		}
		if o.Continue = page.GetContinue(); o.Continue == "" {
			break
		}
	}
	r.several(first)
	return nil
}

// configMap reads a ConfigMap with mesh settings, if it is there.
func (r *reader) configMap(ctx context.Context, name string) error {
	o, err := r.dynamic.Resource(schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}).Namespace(verify.RootNamespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the mesh settings, ConfigMap %s/%s: %w", verify.RootNamespace, name, err)
	}
	r.take(o)
	return nil
}

// Of says whether a cluster is the one that was read.
func (s *Snapshot) Of(ctx context.Context, cfg *rest.Config) (bool, error) {
	clients, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return false, fmt.Errorf("make a client for %s: %w", cfg.Host, err)
	}
	n, err := clients.CoreV1().Namespaces().Get(ctx, s.namespace, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read namespace %s of %s: %w", s.namespace, cfg.Host, err)
	}
	return n.UID == s.uid, nil
}

// take takes an object, unless another one makes it.
func (r *reader) take(o *unstructured.Unstructured) {
	if o.GetKind() == "Namespace" && r.namespace == "" {
		r.namespace, r.uid = o.GetName(), o.GetUID()
	}
	r.note(o)
	if x, ok := taken(o); ok {
		r.objects = append(r.objects, x)
	}
}
