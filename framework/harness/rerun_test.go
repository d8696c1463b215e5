package harness

import (
	"os/exec"
	"strings"
	"testing"

	"mesh-egress-conformance/framework/cluster"
)

func TestRerun(t *testing.T) {
	for want, x := range map[string]struct {
		command []string
		place   place
	}{
		"egressctl run --provider embedded --name default --istio 1.31 --case http-a": {nil, place{provider: "embedded", name: "default", istio: "1.31"}},
		"bin/egressctl run --cases 'my cases' --hosts '/tmp/it'\"'\"'s/hosts.yaml' --provider kind --name a --internet live --sabotage allow-any --case http-a": {
			[]string{"bin/egressctl", "run", "--cases", "my cases", "--hosts", "/tmp/it's/hosts.yaml"},
			place{provider: "kind", name: "a", internet: cluster.Live, sabotage: "allow-any"},
		},
		"egressctl run --kubeconfig '/home/a b/config' --context 'arn:aws:eks:eu-west-1:1:cluster/a$b' --case http-a": {
			nil, place{provider: "existing", name: "default", istio: "1.29", kubeconfig: "/home/a b/config", context: "arn:aws:eks:eu-west-1:1:cluster/a$b"},
		},
	} {
		if got := rerun(x.command, x.place, "http-a"); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

// What a shell makes of the line is what was meant, whatever is in it.
func TestRerunCanBePasted(t *testing.T) {
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("no shell")
	}
	words := []string{"run", "--cases", "a b/$(id)/`id`/*", "--hosts", `it's "quoted"\`, "--label", "", "--x=~;&|<>\nnext"}
	line := rerun(append([]string{"printf", `%s\0`}, words...), place{provider: "kind"}, "http-a")
	out, err := exec.CommandContext(t.Context(), sh, "-c", line).Output()
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Join(append(words, "--provider", "kind", "--case", "http-a"), "\x00") + "\x00"
	if string(out) != want {
		t.Errorf("got  %q\nwant %q\nfrom %s", out, want, line)
	}
}
