// Package docs has the files of this folder that programs read.
package docs

import "embed"

// Pages are the pages whose commands can be run, below pages/.
//
//go:embed pages/*.md
var Pages embed.FS

// ReportSchema is the JSON Schema (2020-12) of report.json. It is generated from the Go types:
//
//	go test ./framework/report -run TestSchema -update
//
//go:embed report.schema.json
var ReportSchema []byte

// UpgradeSchema is the JSON Schema (2020-12) of upgrade.json. It is generated from the Go types:
//
//	go test ./framework/upgrade -run TestSchema -update
//
//go:embed upgrade.schema.json
var UpgradeSchema []byte

// ComparisonSchema is the JSON Schema (2020-12) of comparison.json. It is generated from the Go types:
//
//	go test ./framework/compare -run TestSchema -update
//
//go:embed comparison.schema.json
var ComparisonSchema []byte

// VerifySchema is the JSON Schema (2020-12) of verify.json. It is generated from the Go types:
//
//	go test ./framework/verify -run TestSchema -update
//
//go:embed verify.schema.json
var VerifySchema []byte
