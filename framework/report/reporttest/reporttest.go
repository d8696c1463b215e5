// Package reporttest is for tests that write reports: it says whether a report is as its published schema has it.
package reporttest

import (
	"bytes"
	"fmt"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"mesh-egress-conformance/docs"
)

// published is a schema in the folder docs.
type published struct {
	file    string
	compile func() (*jsonschema.Schema, error)
}

var (
	ofRuns     = publish("report.schema.json", docs.ReportSchema)
	ofUpgrades = publish("upgrade.schema.json", docs.UpgradeSchema)
	ofChanges  = publish("comparison.schema.json", docs.ComparisonSchema)
	ofVerify   = publish("verify.schema.json", docs.VerifySchema)
)

func publish(file string, text []byte) published {
	return published{file, sync.OnceValues(func() (*jsonschema.Schema, error) {
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			return nil, fmt.Errorf("read docs/%s: %w", file, err)
		}
		c := jsonschema.NewCompiler()
		c.AssertFormat() // of times
		if err := c.AddResource(file, doc); err != nil {
			return nil, fmt.Errorf("read docs/%s: %w", file, err)
		}
		s, err := c.Compile(file)
		if err != nil {
			return nil, fmt.Errorf("compile docs/%s: %w", file, err)
		}
		return s, nil
	})}
}

// Validate checks the text of a report.json against docs/report.schema.json. The error names every place that is not as
// the schema has it.
func Validate(report []byte) error { return ofRuns.validate(report) }

// ValidateUpgrade checks the text of an upgrade.json against docs/upgrade.schema.json, as Validate does.
func ValidateUpgrade(report []byte) error { return ofUpgrades.validate(report) }

// ValidateComparison checks the text of a comparison.json against docs/comparison.schema.json, as Validate does.
func ValidateComparison(comparison []byte) error { return ofChanges.validate(comparison) }

// ValidateVerify checks the text of a verify.json against docs/verify.schema.json, as Validate does.
func ValidateVerify(report []byte) error { return ofVerify.validate(report) }

func (p published) validate(report []byte) error {
	s, err := p.compile()
	if err != nil {
		return err
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(report))
	if err != nil {
		return fmt.Errorf("the report is no JSON: %w", err)
	}
	if err := s.Validate(doc); err != nil {
		return fmt.Errorf("the report is not as docs/%s has it: %w", p.file, err)
	}
	return nil
}
