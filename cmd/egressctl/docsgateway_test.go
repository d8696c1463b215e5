package main

import (
	"slices"
	"strings"
	"testing"

	"mesh-egress-conformance/framework/cluster"
	"mesh-egress-conformance/framework/pages"
)

// A page whose objects are of the Gateway API says so, whether it includes their file, or its commands name the file or a folder; update
// writes it, and takes it away.
func TestNeedsGatewayAPI(t *testing.T) {
	const told = "# Title\n\n<!-- verified -->\n> Verified on 2026-01-02 with Istio 1.31.0. More.\n> " + needsGatewayAPI + "\n\n"
	includes := "<!-- include: fixtures/g/route.yaml -->\n```yaml\nkind: Route\n" + "apiVersion: gateway.networking.k8s.io/v1\n```\n```sh\ntrue\n```\n"
	writePages(t, map[string]string{
		"docs/pages/plain.md":    pageHead + "```sh\nkubectl apply -f fixtures/a.yaml\n```\n",
		"docs/pages/includes.md": told + includes,
		"docs/pages/names.md":    told + "```sh\nkubectl apply -f fixtures/g/route.yaml\n```\n",
		"docs/pages/folder.md":   told + "```sh\nkubectl apply -f fixtures/g\n```\n",
		"docs/pages/silent.md":   pageHead + includes,
		"docs/pages/in-vain.md":  told + "```sh\nkubectl apply -f fixtures/a.yaml\n```\n",
		"fixtures/a.yaml":        "kind: A\napiVersion: networking.istio.io/v1 # not gateway.networking.k8s.io/v1\n",
		"fixtures/g/route.yaml":  "kind: Route\napiVersion: gateway.networking.k8s.io/v1\n",
	})
	lib := &library{dir: "."}
	for name, want := range map[string]string{
		"plain": "", "includes": "", "names": "", "folder": "",
		"silent":  "docs/pages/silent.md:4: there are objects of the Gateway API, and the page does not say that it needs it; egressctl docs update silent writes it",
		"in-vain": "docs/pages/in-vain.md:4: none of its objects is of the Gateway API, and the page says that it needs it",
	} {
		if _, err := lib.sound([]string{name}); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, wanted %q", name, err, want)
		}
	}
	for _, name := range []string{"silent", "in-vain"} {
		list, err := lib.loaded([]string{name})
		if err != nil {
			t.Fatal(err)
		}
		if ok, err := lib.update(t.Output(), pages.Outcome{Page: list[0]}, cluster.Facts{IstioTag: "1.31.7"}); !ok || err != nil {
			t.Fatalf("%s: %t %v", name, ok, err)
		}
		if _, err := lib.sound([]string{name}); err != nil {
			t.Errorf("%s was written with a mistake: %v", name, err)
		}
	}
}

// The project's own pages say what they need, and so does the help of docs run. This test fails where a page is added that does not.
func TestOwnPagesSayWhatTheyNeed(t *testing.T) {
	t.Chdir("../..")
	lib, err := openLibrary()
	if err != nil {
		t.Fatal(err)
	}
	list, err := lib.sound(nil)
	if err != nil {
		t.Fatal(err)
	}
	var need []string
	for _, p := range list {
		if n, err := lib.needs(p); err != nil {
			t.Fatal(err)
		} else if n != "" {
			need = append(need, p.Name)
		}
	}
	if !slices.Contains(need, "wildcard-hosts") || slices.Contains(need, "tcp-egress") { // so that it is not all or nothing
		t.Errorf("these need the Gateway API: %v", need)
	}
	if _, help, _ := egressctl(t, "docs", "run", "--help"); !strings.Contains(help, needsGatewayAPI) {
		t.Errorf("the help does not say it:\n%s", help)
	}
}
