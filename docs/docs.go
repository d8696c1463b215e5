// Package docs has the files of this folder that programs read.
package docs

import _ "embed" // the schema

// ReportSchema is the JSON Schema (2020-12) of report.json. It is generated from the Go types:
//
//	go test ./framework/report -run TestSchema -update
//
//go:embed report.schema.json
var ReportSchema []byte
