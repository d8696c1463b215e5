package harness

import (
	"fmt"
	"slices"
	"strings"

	"mesh-egress-conformance/framework/cluster"
	"mesh-egress-conformance/framework/egress"
)

// versionsOf are the Istios of a revision's istiod and of the proxies that it injects, among those whose images a cluster
// has. An error says which is missing, and how a cluster gets it.
func versionsOf(v egress.Revision, f cluster.Facts) (istiod, proxy cluster.Istio, err error) {
	i, p, err := v.Versions(f.Istio)
	if err != nil {
		return istiod, proxy, fmt.Errorf("revision %s: %w", v.Name, err)
	}
	find := func(what, version string) (cluster.Istio, error) {
		all := f.Istios()
		n := slices.IndexFunc(all, func(x cluster.Istio) bool { return x.Version == version })
		if n < 0 {
			return cluster.Istio{}, fmt.Errorf("%s of revision %s is Istio %s, and the cluster has only images of %s; one that is made with --also-istio %[3]s has them", what, v.Name, version, versionsIn(f))
		}
		return all[n], nil
	}
	if istiod, err = find("the istiod", i); err == nil {
		proxy, err = find("the proxy", p)
	}
	return istiod, proxy, err
}

// revisionsOf are those to which a case's clients are bound.
func revisionsOf(c egress.Case, clients []egress.Client) []egress.Revision {
	var out []egress.Revision
	for _, n := range c.Clients() {
		if i := slices.IndexFunc(clients, func(x egress.Client) bool { return x.Name == n }); i >= 0 && clients[i].Istiod != nil {
			out = append(out, *clients[i].Istiod)
		}
	}
	return out
}

// versionsFor are the versions beside that of a cluster to which clients of cases are bound.
func versionsFor(cases []egress.Case, clients []egress.Client, own string) []string {
	var out []string
	for _, c := range cases {
		for _, r := range revisionsOf(c, clients) {
			istiod, proxy, err := r.Versions(own)
			if err != nil {
				continue // which the case is skipped for
			}
			for _, v := range []string{istiod, proxy} {
				if v != own && !slices.Contains(out, v) {
					out = append(out, v)
				}
			}
		}
	}
	slices.SortFunc(out, func(a, b string) int {
		if egress.Older(a, b) {
			return -1
		}
		return 1
	})
	return out
}

// CarriesIstios demands that a running cluster has the images of Istio versions, as --also-istio names them.
func CarriesIstios(c cluster.Cluster, versions []string) error {
	f := c.Facts()
	for _, v := range versions {
		if !slices.ContainsFunc(f.Istios(), func(i cluster.Istio) bool { return i.Version == v || i.Tag == v }) {
			return fmt.Errorf("the running cluster %s has no images of Istio %s, only of %s: take it down, or choose another --name", c.Name(), v, versionsIn(f))
		}
	}
	return nil
}

// versionsIn lists the versions whose images a cluster has.
func versionsIn(f cluster.Facts) string {
	var out []string
	for _, i := range f.Istios() {
		out = append(out, i.Version)
	}
	return strings.Join(out, ", ")
}

// newest is the Istio of the highest minor version whose images a cluster has.
func newest(f cluster.Facts) cluster.Istio {
	all := f.Istios()
	out := all[0]
	for _, i := range all[1:] {
		if egress.Older(out.Version, i.Version) {
			out = i
		}
	}
	return out
}

// lacksVersions is the constraint of a cluster that has not the images of every Istio which clients are bound to.
type lacksVersions struct {
	facts   cluster.Facts
	clients []egress.Client
}

// skipReason says which image a case lacks; "" for none.
func (l lacksVersions) skipReason(c egress.Case) (string, error) {
	for _, r := range revisionsOf(c, l.clients) {
		if _, _, err := versionsOf(r, l.facts); err != nil {
			return err.Error(), nil //nolint:nilerr // what is missing is the reason
		}
	}
	return "", nil
}
