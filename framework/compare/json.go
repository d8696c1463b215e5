package compare

import (
	"encoding/json"
	"fmt"

	"mesh-egress-conformance/framework/printable"
	"mesh-egress-conformance/framework/report"
)

// written is a comparison as JSON; docs/compare.md describes it.
type written struct {
	Schema  string          `json:"schema"`
	Columns []writtenColumn `json:"columns"`
	Changes []Change        `json:"changes"`
	Unseen  []Known         `json:"unseen,omitempty"`
	Cases   []writtenCase   `json:"cases"`
}

type writtenColumn struct {
	Name        string             `json:"name"`
	Environment report.Environment `json:"environment"`
	Counts      report.Counts      `json:"counts"`
	Seconds     float64            `json:"tookSeconds"`
	Failed      string             `json:"failed,omitempty"`
	Unfinished  int                `json:"unfinished,omitempty"`
	Faults      []string           `json:"faults,omitempty"`
}

type writtenCase struct {
	Name     string   `json:"name"`
	Verdicts []string `json:"verdicts"` // by column; "no run" and "-" where there is none
}

// JSON is the comparison for programs. A terminal finds no control characters in it.
func (c *Comparison) JSON() ([]byte, error) {
	out := written{Schema: Schema, Changes: c.Changes, Unseen: c.Unseen}
	if out.Changes == nil {
		out.Changes = []Change{}
	}
	for _, col := range c.Columns {
		env := col.Environment
		env.Components, env.Timings = nil, nil // the report has them
		out.Columns = append(out.Columns, writtenColumn{col.Name, env, col.Counts, col.Seconds, col.Failed, col.unfinished(), col.Faults})
	}
	for _, name := range c.Cases {
		x := writtenCase{Name: name}
		for _, col := range c.Columns {
			x.Verdicts = append(x.Verdicts, cell(col, name))
		}
		out.Cases = append(out.Cases, x)
	}
	b, err := json.MarshalIndent(out, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode the comparison: %w", err)
	}
	return append(printable.JSON(b), '\n'), nil
}
