// Package reporttest is for tests that write reports: it says whether a report.json is as its published schema has it.
package reporttest

import (
	"bytes"
	"fmt"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"mesh-egress-conformance/docs"
)

const name = "report.schema.json"

var compiled = sync.OnceValues(func() (*jsonschema.Schema, error) {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(docs.ReportSchema))
	if err != nil {
		return nil, fmt.Errorf("read docs/%s: %w", name, err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat() // of times
	if err := c.AddResource(name, doc); err != nil {
		return nil, fmt.Errorf("read docs/%s: %w", name, err)
	}
	s, err := c.Compile(name)
	if err != nil {
		return nil, fmt.Errorf("compile docs/%s: %w", name, err)
	}
	return s, nil
})

// Validate checks the text of a report.json against docs/report.schema.json. The error names every place that is not as
// the schema has it.
func Validate(report []byte) error {
	s, err := compiled()
	if err != nil {
		return err
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(report))
	if err != nil {
		return fmt.Errorf("the report is no JSON: %w", err)
	}
	if err := s.Validate(doc); err != nil {
		return fmt.Errorf("the report is not as docs/%s has it: %w", name, err)
	}
	return nil
}
