package probe

import "embed"

// Source is this package, from which the program for the pods is built.
//
//go:embed probe.go datagram.go web.go agent.go source.go agent/main.go wire/wire.go
var Source embed.FS
