//go:build linux

package embedded

import (
	"slices"
	"strings"
	"testing"
)

// What is told of the API server is how it is started: pages read the range of Services out of it.
func TestAPIServer(t *testing.T) {
	argv := (&embeddedCluster{spec: &spec{}}).APIServer()
	if !slices.Contains(argv, "--service-cluster-ip-range="+serviceCIDR) || argv[0] != "kube-apiserver" {
		t.Error(strings.Join(argv, " "))
	}
	if !slices.Contains(argv, runDir+"/pki/ca.crt") {
		t.Errorf("%v does not name the certificates that it has", argv)
	}
}
