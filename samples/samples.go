// Package samples holds the workloads that the suites use and that people can apply by hand.
package samples

import "embed"

// AppImage is the image name of the egresshttpbin sample application.
const AppImage = "docker.io/mesh-egress-conformance/egresshttpbin:1"

// AppSource is the program of the egresshttpbin sample; the harness builds its image from it.
//
//go:embed egresshttpbin/main.go
var AppSource string

// FS holds the manifests.
//
//go:embed curl/*.yaml sleep/*.yaml egresshttpbin/*.yaml egresshttpbin/*.yml
var FS embed.FS
