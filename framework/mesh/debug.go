package mesh

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// syncStatus is an entry of /debug/syncz (istio.io/istio/pilot/pkg/xds/debug.go, SyncStatus).
type syncStatus struct {
	Proxy     string                    `json:"proxy"`
	Resources map[string]resourceStatus `json:"resources"`
}

type resourceStatus struct {
	Sent      string `json:"sent"`
	Acked     string `json:"acked"`
	LastError string `json:"last_error"`
}

// nonceCounter reads the push counter out of a nonce: "<time>/<counter><uuid>". It only grows.
func nonceCounter(nonce string) (int64, bool) {
	const uuidLen = 36
	if len(nonce) <= uuidLen {
		return 0, false
	}
	_, n, ok := strings.Cut(nonce[:len(nonce)-uuidLen], "/")
	if !ok {
		return 0, false
	}
	c, err := strconv.ParseInt(n, 10, 64)
	return c, err == nil && c >= 0
}

// Proxy names a proxy as istiod does: pod.namespace.
func Proxy(pod, namespace string) string { return pod + "." + namespace }

// push is the state of the proxies at one moment.
type push struct {
	latest int64            // highest push counter sent to any proxy
	sent   map[string]int64 // per proxy, the highest sent that is not of endpoints alone
	behind map[string]string
	nacks  []string
	// owing are proxies that were sent something and have neither acknowledged nor refused it.
	owing map[string]bool
}

// newest is the counter of the last push of rules to any proxy.
func (p push) newest() int64 {
	n := int64(-1)
	for _, sent := range p.sent {
		n = max(n, sent)
	}
	return n
}

// endpointType is the last part of the type URL of endpoints.
const endpointType = "ClusterLoadAssignment"

func parseSync(b []byte) (push, error) {
	var st []syncStatus
	if err := json.Unmarshal(b, &st); err != nil {
		return push{}, fmt.Errorf("read istiod's syncz: %w", err)
	}
	p := push{sent: map[string]int64{}, behind: map[string]string{}, owing: map[string]bool{}}
	for _, s := range st {
		p.sent[s.Proxy] = 0
		missing := map[string]bool{"Cluster": true, "Listener": true} // one that connects asks for one type after the other
		for typ, r := range s.Resources {
			typ = typ[strings.LastIndex(typ, ".")+1:]
			if c, ok := nonceCounter(r.Sent); ok {
				p.latest = max(p.latest, c)
				delete(missing, typ)
				if typ != endpointType { // a push of endpoints alone carries no rule
					p.sent[s.Proxy] = max(p.sent[s.Proxy], c)
				}
			}
			if r.Sent != r.Acked {
				p.behind[s.Proxy] = typ
				p.owing[s.Proxy] = p.owing[s.Proxy] || r.LastError == ""
			}
			if r.LastError != "" {
				p.nacks = append(p.nacks, fmt.Sprintf("%s rejected %s: %s", s.Proxy, typ, r.LastError))
			}
		}
		for typ := range missing {
			p.behind[s.Proxy] = typ
		}
	}
	return p, nil
}

// Version identifies one version of one object. The resource version would not do: istiod itself
// writes a ServiceEntry's status (allocated addresses), which changes it.
type Version struct {
	Group, Kind, Namespace, Name string
	UID                          string // "" means that the object must be absent
	Generation                   int64
	// Revision is the only one whose istiod looks at the object, as its label says; "" for every istiod.
	Revision string
	// Addressed says that istiod has written the addresses that it allocates into the object's status,
	// which is a change of its own and causes a push of its own.
	Addressed bool
}

// config is what istiod holds: the version of each object, by what it is called.
type config map[Version]Version

// object is a version's key.
func (v Version) object() Version {
	return Version{Group: v.Group, Kind: v.Kind, Namespace: v.Namespace, Name: v.Name}
}

func parseConfig(configz []byte) (config, error) {
	var have []struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
		Metadata   struct {
			Name       string `json:"name"`
			Namespace  string `json:"namespace"`
			UID        string `json:"uid"`
			Generation int64  `json:"generation"`
		} `json:"metadata"`
		Status struct {
			Addresses []any `json:"addresses"`
		} `json:"status"`
	}
	if err := json.Unmarshal(configz, &have); err != nil {
		return nil, fmt.Errorf("read istiod's configz: %w", err)
	}
	c := config{}
	for _, h := range have {
		group, _, _ := strings.Cut(h.APIVersion, "/")
		v := Version{Group: group, Kind: h.Kind, Namespace: h.Metadata.Namespace, Name: h.Metadata.Name, UID: h.Metadata.UID, Generation: h.Metadata.Generation, Addressed: len(h.Status.Addresses) > 0}
		c[v.object()] = v
	}
	return c, nil
}

func (c config) holds(want []Version) bool {
	for _, w := range want {
		got := c[w.object()]
		if got.UID != w.UID || (w.UID != "" && got.Generation < w.Generation) || w.Addressed && !got.Addressed {
			return false
		}
	}
	return true
}

// computed is what istiod's metrics say of the pushes that it has computed.
type computed struct {
	pushes  int64
	took    time.Duration // all of them
	process string        // when its process was started, in seconds since 1970; "" where that is not known
}

// parseComputed reads it out of the metrics.
func parseComputed(metrics []byte) (computed, error) {
	pushes, err := number(metrics, "pilot_pushcontext_init_seconds_count")
	seconds, err2 := number(metrics, "pilot_pushcontext_init_seconds_sum")
	return computed{pushes: int64(pushes), took: time.Duration(seconds * float64(time.Second)), process: metric(metrics, "process_start_time_seconds")}, errors.Join(err, err2)
}

// number is the value of a metric that must be there.
func number(page []byte, name string) (float64, error) {
	text := metric(page, name)
	if text == "" {
		return 0, fmt.Errorf("istiod's metrics do not have %s", name)
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0, fmt.Errorf("read istiod's metric %s %s: %w", name, text, err)
	}
	return v, nil
}

// metric is the value of a metric without labels, as it stands there; "" where there is none. The page is asked for with every
// change, and an expression for its lines took long.
func metric(page []byte, name string) string {
	start := []byte(name + " ")
	for line := range bytes.Lines(page) {
		if value, found := bytes.CutPrefix(line, start); found {
			return string(bytes.TrimSpace(value))
		}
	}
	return ""
}
