package report

import (
	"fmt"

	"mesh-egress-conformance/framework/egress"
)

// Shard says that a run was of a part of the selected cases, whose other parts have run elsewhere.
type Shard struct {
	Number int `json:"number"` // from 1
	Of     int `json:"of"`     // how many shards there are
	// Selection is a digest of all cases that were selected and of their fixtures: only shards of the same selection
	// have the same.
	Selection string `json:"selection"`
	// Cases is how many cases were selected, in all shards together.
	Cases int `json:"cases"`
}

// String is the shard as --shard takes it: "2/5".
func (s Shard) String() string { return fmt.Sprintf("%d/%d", s.Number, s.Of) }

// words say to people what the shard is.
func (s Shard) words() string {
	return fmt.Sprintf("shard %s: %d of %d selected cases; egressctl merge puts the reports of all shards together", s, s.Size(), s.Cases)
}

// Size is how many cases the shard has. The first shards have one more where they do not come out even.
func (s Shard) Size() int { return (s.Cases + s.Of - s.Number) / s.Of }

// Part picks the shard's cases. They are dealt out one by one: neighbours in the list, which are alike and take about as long
// as each other, come into different shards.
func (s Shard) Part(cases []egress.Case) []egress.Case {
	var out []egress.Case
	for i := s.Number - 1; i < len(cases); i += s.Of {
		out = append(out, cases[i])
	}
	return out
}

// check says what is wrong with a shard that was read from a file, and with a report that claims to be its.
func (s Shard) check(cases int) error {
	switch {
	case s.Of < 1 || s.Number < 1 || s.Number > s.Of || s.Cases < s.Of || s.Selection == "":
		return fmt.Errorf("it says that it is shard %s of %d cases, which cannot be", s, s.Cases)
	case cases != s.Size():
		return fmt.Errorf("it is shard %s of %d cases, which are %d, and it has %d", s, s.Cases, s.Size(), cases)
	}
	return nil
}
