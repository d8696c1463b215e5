package main

import (
	"strings"
	"testing"

	"mesh-egress-conformance/framework/cluster"
)

// What is known beyond a check's outcome is told too, and a warning is no failure.
func TestDoctorLines(t *testing.T) {
	checks := []cluster.Check{
		{Name: "overlayfs", OK: true},
		{Name: "inotify", OK: true, Detail: "128 for each cluster"},
		{Name: "inotify", OK: true, Warning: true, Detail: "12 for each cluster", Remedy: "have more"},
		{Name: "root", Detail: "this is user 1", Remedy: "run with sudo"},
	}
	const want = "ok    overlayfs\nok    inotify: 128 for each cluster\nwarn  inotify: 12 for each cluster\n      remedy: have more\nFAIL  root: this is user 1\n      remedy: run with sudo\n"
	var out strings.Builder
	if err := printChecks(&out, checks); err != nil || out.String() != want || failed(checks) != 1 {
		t.Errorf("%v, %d failed\n%s", err, failed(checks), out.String())
	}
}
