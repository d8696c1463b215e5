package why

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Config is the part of a proxy's configuration that decides where a connection or request goes.
type Config struct {
	Clusters  []Cluster
	Tables    []Table
	Listeners []Listener
}

// Cluster is where a proxy sends what it lets out.
type Cluster struct {
	Name   string
	Object string // that Istio has made it of beside the service, such as "DestinationRule shop/bank"; "" for none
}

// Table is a route configuration, for the requests of one port.
type Table struct {
	Name  string
	Hosts []VirtualHost
}

// VirtualHost has the routes of some names.
type VirtualHost struct {
	Name    string
	Domains []string
	Routes  []Route
}

// Route is one route of a virtual host.
type Route struct {
	Name     string
	Object   string // that it was written in, such as "VirtualService shop/bank"; "" for one that Istio makes of a service
	Clusters []string
}

// Listener takes the connections to a port.
type Listener struct {
	Name   string
	Chains []Chain // with the default one
}

// Chain is a filter chain: what becomes of some of a listener's connections.
type Chain struct {
	Object   string
	Clusters []string
}

// ParseConfig reads answers of a proxy's /config_dump: the whole one, or those for one kind of resource each.
func ParseConfig(dumps ...string) (Config, error) {
	var out Config
	for _, d := range dumps {
		var dump struct {
			Configs []json.RawMessage `json:"configs"`
		}
		if err := json.Unmarshal([]byte(d), &dump); err != nil {
			return out, fmt.Errorf("read the proxy's configuration: %w", err)
		}
		for _, c := range dump.Configs {
			if err := out.add(c); err != nil {
				return out, fmt.Errorf("read the proxy's configuration: %w", err)
			}
		}
	}
	return out, nil
}

// The parts of Envoy's messages that matter (envoy.admin.v3). A whole dump has them in lists by kind; one that asks for
// one kind of resource has the elements of that list.
type (
	element struct {
		DynamicClusters  []element      `json:"dynamic_active_clusters"`
		StaticClusters   []element      `json:"static_clusters"`
		DynamicRoutes    []element      `json:"dynamic_route_configs"`
		StaticRoutes     []element      `json:"static_route_configs"`
		DynamicListeners []element      `json:"dynamic_listeners"`
		Cluster          *wireCluster   `json:"cluster"`
		RouteConfig      *wireTable     `json:"route_config"`
		Name             string         `json:"name"`
		Active           *wireListening `json:"active_state"`
	}
	wireMetadata struct {
		Filter struct {
			Istio struct {
				Config string `json:"config"`
			} `json:"istio"`
		} `json:"filter_metadata"`
	}
	wireCluster struct {
		Name     string       `json:"name"`
		Metadata wireMetadata `json:"metadata"`
	}
	wireTable struct {
		Name  string `json:"name"`
		Hosts []struct {
			Name    string   `json:"name"`
			Domains []string `json:"domains"`
			Routes  []struct {
				Name     string       `json:"name"`
				Metadata wireMetadata `json:"metadata"`
				Route    wireTarget   `json:"route"`
			} `json:"routes"`
		} `json:"virtual_hosts"`
	}
	wireTarget struct {
		Cluster  string `json:"cluster"`
		Weighted struct {
			Clusters []struct {
				Name string `json:"name"`
			} `json:"clusters"`
		} `json:"weighted_clusters"`
	}
	wireListening struct {
		Listener struct {
			Chains  []wireChain `json:"filter_chains"`
			Default *wireChain  `json:"default_filter_chain"`
		} `json:"listener"`
	}
	wireChain struct {
		Metadata wireMetadata `json:"metadata"`
		Filters  []struct {
			Config json.RawMessage `json:"typed_config"` // of a filter of any kind; that of a TCP proxy has a target
		} `json:"filters"`
	}
)

func (c *Config) add(raw json.RawMessage) error {
	var e element
	if err := json.Unmarshal(raw, &e); err != nil {
		var kind *json.UnmarshalTypeError
		if errors.As(err, &kind) { // a resource of another kind
			return nil
		}
		return err
	}
	c.take(e)
	return nil
}

func (c *Config) take(e element) {
	for _, list := range [][]element{e.DynamicClusters, e.StaticClusters, e.DynamicRoutes, e.StaticRoutes, e.DynamicListeners} {
		for _, x := range list {
			c.take(x)
		}
	}
	switch {
	case e.Cluster != nil:
		c.Clusters = append(c.Clusters, Cluster{e.Cluster.Name, e.Cluster.Metadata.object()})
	case e.RouteConfig != nil:
		c.Tables = append(c.Tables, e.RouteConfig.table())
	case e.Active != nil:
		c.Listeners = append(c.Listeners, e.listener())
	}
}

func (t wireTarget) clusters() []string {
	var out []string
	if t.Cluster != "" {
		out = append(out, t.Cluster)
	}
	for _, w := range t.Weighted.Clusters {
		out = append(out, w.Name)
	}
	return out
}

func (t *wireTable) table() Table {
	out := Table{Name: t.Name}
	for _, h := range t.Hosts {
		v := VirtualHost{Name: h.Name, Domains: h.Domains}
		for _, r := range h.Routes {
			v.Routes = append(v.Routes, Route{r.Name, r.Metadata.object(), r.Route.clusters()})
		}
		out.Hosts = append(out.Hosts, v)
	}
	return out
}

func (e element) listener() Listener {
	out := Listener{Name: e.Name}
	chains := e.Active.Listener.Chains
	if d := e.Active.Listener.Default; d != nil {
		chains = append(slices.Clone(chains), *d)
	}
	for _, ch := range chains {
		x := Chain{Object: ch.Metadata.object()}
		for _, f := range ch.Filters {
			var t wireTarget
			if json.Unmarshal(f.Config, &t) == nil { // a filter of another kind may have a cluster that is no name
				x.Clusters = append(x.Clusters, t.clusters()...)
			}
		}
		out.Chains = append(out.Chains, x)
	}
	return out
}

// autogenerated is in the names of VirtualServices that istiod makes of the Gateway API's routes, for itself alone: no cluster has them.
const autogenerated = "istio-autogenerated-"

// object is the object that a piece of configuration was made of, which Istio writes as
// /apis/networking.istio.io/v1/namespaces/shop/virtual-service/bank: "VirtualService shop/bank".
func (m wireMetadata) object() string {
	f := strings.Split(strings.TrimPrefix(m.Filter.Istio.Config, "/apis/"), "/")
	if len(f) != 6 || f[2] != "namespaces" || strings.Contains(f[5], autogenerated) {
		return ""
	}
	var kind strings.Builder
	for _, word := range strings.Split(f[4], "-") {
		if word != "" {
			kind.WriteString(strings.ToUpper(word[:1]) + word[1:])
		}
	}
	return kind.String() + " " + f[3] + "/" + f[5]
}

// cluster finds a cluster by its name.
func (c Config) cluster(name string) (Cluster, bool) {
	i := slices.IndexFunc(c.Clusters, func(x Cluster) bool { return x.Name == name })
	if i < 0 {
		return Cluster{}, false
	}
	return c.Clusters[i], true
}

// routed finds the objects in whose routes a request to a host goes to a cluster. "" for the cluster means any.
func (c Config) routed(authority string, port int, cluster string) (objects []string, host string) {
	for _, t := range c.Tables {
		for _, h := range t.Hosts {
			if !h.has(authority, port) {
				continue
			}
			for _, r := range h.Routes {
				if cluster != "" && !slices.Contains(r.Clusters, cluster) {
					continue
				}
				host = h.Name
				if r.Object != "" && !slices.Contains(objects, r.Object) {
					objects = append(objects, r.Object)
				}
			}
		}
	}
	return objects, host
}

// has says whether a virtual host is that of a request to a host, and not the one for all hosts.
func (h VirtualHost) has(authority string, port int) bool {
	suffix := ":" + strconv.Itoa(port)
	if i := strings.LastIndexByte(h.Name, ':'); i >= 0 && h.Name[i:] != suffix {
		return false // Istio names a virtual host after its service's host and port
	}
	return slices.ContainsFunc(h.Domains, func(d string) bool {
		return d != "*" && hostMatches(strings.TrimSuffix(d, suffix), authority)
	})
}

// chained finds the objects whose routes lead connections to a cluster.
func (c Config) chained(cluster string) []string {
	var out []string
	for _, l := range c.Listeners {
		for _, ch := range l.Chains {
			if ch.Object != "" && slices.Contains(ch.Clusters, cluster) && !slices.Contains(out, ch.Object) {
				out = append(out, ch.Object)
			}
		}
	}
	return out
}

// service is a cluster of the registry, as its name says: outbound|443|v2|bank.example.
type service struct {
	host, subset string
	port         int
}

func serviceOf(cluster string) (service, bool) {
	f := strings.Split(cluster, "|")
	if len(f) != 4 || f[0] != "outbound" {
		return service{}, false
	}
	port, err := strconv.Atoi(f[1])
	return service{host: f[3], subset: f[2], port: port}, err == nil
}

// ports are those on which the proxy knows a host.
func (c Config) ports(host string) []int {
	var out []int
	for _, x := range c.Clusters {
		if s, ok := serviceOf(x.Name); ok && hostMatches(s.host, host) && !slices.Contains(out, s.port) {
			out = append(out, s.port)
		}
	}
	slices.Sort(out)
	return out
}

// hostMatches says whether a name is a host, or one of those that a wildcard such as *.example.com stands for.
func hostMatches(pattern, name string) bool {
	name = strings.TrimSuffix(name, ".")
	if suffix, wild := strings.CutPrefix(pattern, "*"); wild {
		return strings.HasSuffix(name, suffix) && len(name) > len(suffix)
	}
	return strings.EqualFold(strings.TrimSuffix(pattern, "."), name)
}
