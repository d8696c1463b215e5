package harness

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"mesh-egress-conformance/framework/egress"
	"mesh-egress-conformance/framework/fixture"
	"mesh-egress-conformance/framework/internet"
	"mesh-egress-conformance/framework/mesh"
)

func objectOf(apiVersion, kind, name, host string) egress.Object {
	return egress.Object{"apiVersion": apiVersion, "kind": kind, "metadata": map[string]any{"name": name, "namespace": "shop"}, "spec": map[string]any{"hosts": []any{host}}}
}

// What stands is changed where it differs, and nowhere else.
func TestDiffer(t *testing.T) {
	const networking = "networking.istio.io/v1"
	entry := func(name, host string) egress.Object { return objectOf(networking, "ServiceEntry", name, host) }
	gateway := func(host string) egress.Object { return objectOf("apps/v1", "Deployment", "gw", host) }
	for name, x := range map[string]struct {
		stands, wanted []egress.Object
		refused        string // which of those that stand was refused
		apply          []int
		gone, again    []string
	}{
		"nothing stands":             {nil, []egress.Object{entry("a", "a.example")}, "", []int{0}, nil, nil},
		"all of it stands":           {[]egress.Object{entry("a", "a.example")}, []egress.Object{entry("a", "a.example")}, "", nil, nil, nil},
		"one is new":                 {[]egress.Object{entry("a", "a.example")}, []egress.Object{entry("b", "b.example"), entry("a", "a.example")}, "", []int{0}, nil, nil},
		"one differs":                {[]egress.Object{entry("a", "a.example"), entry("b", "b.example")}, []egress.Object{entry("a", "a.example"), entry("b", "c.example")}, "", []int{1}, nil, nil},
		"one is gone":                {[]egress.Object{entry("a", "a.example"), entry("b", "b.example")}, []egress.Object{entry("a", "a.example")}, "", nil, []string{"networking.istio.io|ServiceEntry|shop|b"}, nil},
		"one has another kind":       {[]egress.Object{entry("a", "a.example")}, []egress.Object{objectOf(networking, "Sidecar", "a", "a.example")}, "", []int{0}, []string{"networking.istio.io|ServiceEntry|shop|a"}, nil},
		"a refused one is as it was": {[]egress.Object{entry("a", "a.example")}, []egress.Object{entry("a", "a.example")}, "a", nil, nil, nil},
		"a refused one is mended":    {[]egress.Object{entry("a", "a.example")}, []egress.Object{entry("a", "b.example")}, "a", []int{0}, nil, nil},
		"a gateway's pods differ":    {[]egress.Object{gateway("a.example")}, []egress.Object{gateway("b.example")}, "", []int{0}, nil, []string{"apps|Deployment|shop|gw"}},
		"a gateway is as it was":     {[]egress.Object{gateway("a.example")}, []egress.Object{gateway("a.example")}, "", nil, nil, nil},
	} {
		s := &stood{objects: map[string]*standing{}}
		for _, o := range x.stands {
			made := &standing{was: o, made: []*fixture.Object{{Object: o}}}
			if (&fixture.Object{Object: o}).GetName() == x.refused {
				made = &standing{was: o, refused: errors.New("no")}
			}
			s.objects[keyOf(o)] = made
		}
		d := s.differ(x.wanted)
		if !slices.Equal(d.apply, x.apply) || !slices.Equal(d.gone, x.gone) || !slices.Equal(d.again, x.again) {
			t.Errorf("%s: %+v", name, d)
		}
	}
}

// Proxies keep what a name resolves to, so a host that gets another address lets nothing stand.
func TestMoved(t *testing.T) {
	hosts := func(all ...string) *internet.Hosts {
		out := &internet.Hosts{}
		for i := 0; i < len(all); i += 2 {
			a := netip.MustParseAddr(all[i+1])
			out.Hosts = append(out.Hosts, internet.Host{Name: all[i], Address: internet.Addresses{netip.PrefixFrom(a, a.BitLen())}, Guest: true})
		}
		return out
	}
	before := hosts("a.example", "192.0.2.1", "b.example", "192.0.2.2")
	for now, want := range map[*internet.Hosts]bool{
		hosts("a.example", "192.0.2.1", "b.example", "192.0.2.2"):                           false,
		hosts("b.example", "192.0.2.2", "c.example", "192.0.2.1"):                           false,
		hosts("a.example", "192.0.2.1", "b.example", "192.0.2.2", "c.example", "192.0.2.3"): false,
		hosts("a.example", "192.0.2.2", "b.example", "192.0.2.1"):                           true,
		hosts("b.example", "192.0.2.9"):                                                     true,
		hosts():                                                                             false,
	} {
		if got := moved(before, now); got != want {
			t.Error(fmt.Sprint(got, now.Hosts))
		}
	}
}

// What is noted makes a result partial. That a further push has carried a change to every proxy does not.
func TestExaminedSettled(t *testing.T) {
	for name, x := range map[string]struct {
		of   mesh.Settled
		want []string
	}{
		"acknowledged":        {mesh.Settled{Acknowledged: true}, nil},
		"concerns nobody":     {mesh.Settled{Acknowledged: true, Unconcerned: true}, nil},
		"by a further push":   {mesh.Settled{Acknowledged: true, Reached: true, Note: nudgedNote}, nil},
		"not acknowledged":    {mesh.Settled{Note: "no later push"}, []string{"no later push"}},
		"refused by a proxy":  {mesh.Settled{Acknowledged: true, Rejections: []string{"NACK"}}, []string{"NACK"}},
		"refused and further": {mesh.Settled{Acknowledged: true, Rejections: []string{"NACK"}, Note: nudgedNote}, []string{"NACK"}},
	} {
		var out Examined
		out.settled(x.of)
		if !slices.Equal(out.Notes, x.want) {
			t.Errorf("%s: %q, want %q", name, out.Notes, x.want)
		}
	}
}

// What stood and goes is noted where no proxy has acknowledged that, and not where a further push has carried it.
func TestFall(t *testing.T) {
	for name, x := range map[string]struct {
		world   *lyingWorld
		changes int
		want    []string
	}{
		"acknowledged":    {&lyingWorld{}, 1, nil},
		"may be lost":     {&lyingWorld{beside: true}, 3, nil}, // the nudge comes and goes
		"no proxy has it": {&lyingWorld{unheard: true}, 1, []string{"no proxy acknowledges it"}},
	} {
		w := &lyingWorld{}
		r, c := rulesIn(t, w), caseOf(examined, "a")
		if _, err := r.Apply(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		have := &stood{objects: map[string]*standing{"a": {made: slices.Clone(w.there)}}}
		w.beside, w.unheard, w.did = x.world.beside, x.world.unheard, nil
		var out Examined
		if err := r.fall(t.Context(), c, have, []string{"a"}, &out); err != nil || len(w.there) != 0 || len(have.objects) != 0 {
			t.Errorf("%s: %v, left: %q", name, err, w.names())
		}
		if !slices.Equal(out.Notes, x.want) || len(w.did) != x.changes {
			t.Errorf("%s: %q after %d changes, want %q after %d", name, out.Notes, len(w.did), x.want, x.changes)
		}
	}
}
