package internet

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// guests are hosts as YAML has them.
func guests(t *testing.T, text string) *Hosts {
	t.Helper()
	h, err := ReadHosts("guests.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestWithGuests(t *testing.T) {
	stay := add(t, ownHosts)
	had := len(stay.Hosts)
	all, err := stay.WithGuests(guests(t, "hosts:\n  - {name: httpbin.org, services: [{port: 8443, kind: https}]}\n  - {name: api.partner.example, services: [{port: 443, kind: https}]}\n"))
	if err != nil {
		t.Fatal(err)
	}
	h, _ := all.Find("httpbin.org")
	if !h.Guest || len(h.Services) != 1 || len(h.Address) != 1 || len(all.Guests().Hosts) != 2 || len(all.Hosts) != had+2 {
		t.Errorf("the guest is not what the name means: %+v", h)
	}
	next, err := all.WithGuests(&Hosts{})
	if err != nil || len(next.Hosts) != had || len(next.Guests().Hosts) != 0 {
		t.Errorf("%v: %d hosts stay", err, len(next.Hosts))
	}
	if h, _ := next.Find("httpbin.org"); h.Guest || len(h.Services) == 1 {
		t.Errorf("the name means %+v when the guest is gone", h)
	}
	again, err := all.WithGuests(all.Guests())
	if err != nil || len(again.Hosts) != had+2 {
		t.Errorf("the same guests again: %v", err)
	}
	for text, want := range map[string]string{
		"{name: a.example, address: 198.51.100.10}":                                  "belongs to httpbin.org already",
		"{name: a.example, address: 10.9.9.9}, {name: a.example, address: 10.9.9.8}": "the name a.example is that of another host",
		"{name: a.example, guest: true}":                                             `field "guest" is unknown`,
	} {
		h, err := ReadHosts("g.yaml", []byte("hosts: ["+text+"]"))
		if err == nil {
			_, err = stay.WithGuests(h)
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// A running internet has other guests from one moment to the next, whatever they are called.
func TestSetGuests(t *testing.T) {
	stay := &Hosts{Hosts: []Host{{Name: "a.example", Address: Addresses{netip.MustParsePrefix("192.0.2.7/32")}, Services: []Service{{Port: 48080, Kind: Banner}}}}}
	ca, err := NewCA("test")
	if err != nil {
		t.Fatal(err)
	}
	s := NewServer(stay, ca)
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	var owned []string
	s.Own = func(h *Hosts) error {
		for _, x := range h.Hosts {
			owned = append(owned, x.Name)
		}
		return nil
	}
	var gone []string
	s.Disown = func(a []netip.Addr, r []netip.Prefix) error {
		gone = append(gone, strings.Trim(fmt.Sprint(a), "[]"))
		for _, x := range r {
			gone = append(gone, x.String())
		}
		return nil
	}
	open := func() string { return strings.Join(sortedHosts(s), " ") }
	for _, x := range []struct{ guests, open, owned, gone string }{
		{"[{name: a.example, address: 192.0.2.8, services: [{port: 48081, kind: banner}]}, {name: b.example, address: 192.0.2.9, services: [{port: 48081, kind: echo}]}]", "a.example guest a.example guest b.example", "a.example b.example", ""},
		{"[{name: b.example, address: 192.0.2.9, services: [{port: 48081, kind: echo}]}]", "a.example guest b.example", "", "192.0.2.8"},
		{"[{name: b.example, address: 192.0.2.9, services: [{port: 48082, kind: echo}]}]", "a.example guest b.example", "b.example", ""},
		{"[]", "a.example", "", "192.0.2.9"},
	} {
		owned, gone = nil, nil
		if err := s.SetGuests(t.Context(), guests(t, "hosts: "+x.guests)); err != nil {
			t.Fatal(err)
		}
		if open() != x.open || strings.Join(owned, " ") != x.owned || strings.Join(gone, " ") != x.gone {
			t.Errorf("%s: open %q, owned %q, gone %q", x.guests, open(), owned, gone)
		}
	}
	bad := &Hosts{Hosts: []Host{{Name: "c.example", Address: stay.Hosts[0].Address}}}
	if err := s.SetGuests(t.Context(), bad); err == nil || open() != "a.example" {
		t.Errorf("%v, open %q", err, open())
	}
}

// A guest that cannot come leaves no guests, and nothing of theirs.
func TestSetGuestsFails(t *testing.T) {
	stay := &Hosts{Hosts: []Host{{Name: "a.example", Address: Addresses{netip.MustParsePrefix("192.0.2.7/32")}}}}
	s := NewServer(stay, nil)
	var gone []string
	s.Own = func(*Hosts) error { return errors.New("no more addresses") }
	s.Disown = func(a []netip.Addr, r []netip.Prefix) error {
		gone = append(gone, fmt.Sprint(a, r))
		return nil
	}
	err := s.SetGuests(t.Context(), guests(t, "hosts: [{name: b.example, address: [192.0.2.8, 192.0.3.0/24]}]"))
	if err == nil || len(s.Hosts().Guests().Hosts) != 0 || strings.Join(gone, " ") != "[192.0.2.8] [192.0.3.0/24]" {
		t.Errorf("%v: %v, taken back %q", err, s.Hosts().Guests(), gone)
	}
}

func sortedHosts(s *Server) []string {
	s.open.mu.Lock()
	defer s.open.mu.Unlock()
	var out []string
	for k, fs := range s.open.byHost {
		if len(fs) > 0 {
			out = append(out, k)
		}
	}
	slices.Sort(out)
	return out
}
