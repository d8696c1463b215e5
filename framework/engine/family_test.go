package engine

import "testing"

// A client with addresses of both families is itself at each of them, and uses the one of the other end's family.
func TestClientAddresses(t *testing.T) {
	four, dual := ClientInfo{IP: "10.0.0.1"}, ClientInfo{IP: "10.0.0.1", Also: []string{"fd00::1"}}
	for remote, want := range map[string]string{"192.0.2.1": "10.0.0.1", "2001:db8::1": "fd00::1", "": "10.0.0.1"} {
		if got := dual.toward(remote); got != want {
			t.Errorf("toward %q: %s", remote, got)
		}
	}
	if got := four.toward("2001:db8::1"); got != "10.0.0.1" {
		t.Errorf("without the family: %s", got)
	}
	if !dual.owns("fd00::1") || !dual.owns("10.0.0.1") || dual.owns("fd00::2") || four.owns("fd00::1") || four.owns("") {
		t.Error("whose an address is")
	}
	shell := round{script: Script{Ports: [2]int{20000, 20003}}}
	shell.client.Shell = true
	for peer, want := range map[string]bool{"[fd00::1]:20001": true, "10.0.0.1:20001": true, "[fd00::2]:20001": false, "[fd00::1]:30000": false} {
		if got := fromRound(peer, "", shell, dual); got != want {
			t.Errorf("%s: %t", peer, got)
		}
	}
	if portOf("[fd00::1]:40000", dual) != 40000 || portOf("[fd00::1]:40000", four) != 0 {
		t.Error("a port of the other family")
	}
}
