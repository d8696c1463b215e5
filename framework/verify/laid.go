package verify

import (
	"slices"

	"mesh-egress-conformance/framework/manifest"
)

// Laid is what was read of a cluster with files laid over it: an object of a file takes the place of the cluster's of that kind,
// namespace and name, and mesh settings in files that of all the cluster's. Namespaces of the cluster in which nothing is are left out
// then, since each would have a stand-in for whatever may run there. name is what messages call the cluster, namespace that of objects
// that name none; "" is default.
func Laid(name string, cluster, files *manifest.Set, namespace string) *manifest.Set {
	p := &pruner{name: name, out: &manifest.Set{Mistakes: slices.Concat(cluster.Mistakes, files.Mistakes), Notices: slices.Concat(cluster.Notices, files.Notices), Folders: files.Folders}}
	over, settled := map[string]bool{}, false
	for _, x := range files.Objects {
		over[x.Key(namespace)] = true
		settled = settled || roleOf(x) == settings && hasSettings(x)
	}
	lived := inhabited(slices.Concat(cluster.Objects, files.Objects), namespace)
	var replaced, unsettled, empty []string
	for _, x := range cluster.Objects {
		switch {
		case over[x.Key(namespace)]:
			replaced = append(replaced, x.String())
		case settled && roleOf(x) == settings:
			unsettled = append(unsettled, x.String())
		case roleOf(x) == space && !lived[x.Name()]:
			empty = append(empty, x.Name())
		default:
			p.out.Objects = append(p.out.Objects, x)
		}
	}
	p.out.Objects = append(p.out.Objects, files.Objects...)
	p.tell("the files have them otherwise", replaced)
	p.tell("the files have mesh settings", unsettled)
	p.tell("namespaces in which no workload and no rule is", empty)
	p.out.Mistakes, p.out.Notices = p.out.Mistakes.Sorted(), p.out.Notices.Sorted()
	return p.out
}

// inhabited are the namespaces in which something is that matters by itself.
func inhabited(objects []manifest.Object, namespace string) map[string]bool {
	out := map[string]bool{}
	for _, x := range objects {
		if r := roleOf(x); r == workload || r == ruled {
			out[x.In(namespace)] = true
		}
	}
	return out
}
