package main

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io/fs"
	"regexp"
	"strconv"

	"mesh-egress-conformance/framework/report"
)

// shardFlag is --shard: which part of the selected cases, of how many. Of is 0 where it was not given.
type shardFlag struct{ Number, Of int }

var shardRE = regexp.MustCompile(`^([1-9][0-9]{0,5})/([1-9][0-9]{0,5})$`)

// Set reads "2/5".
func (s *shardFlag) Set(text string) error {
	m := shardRE.FindStringSubmatch(text)
	if m == nil {
		return fmt.Errorf("%q is no part such as 2/5, the second of five", text)
	}
	s.Number, _ = strconv.Atoi(m[1]) // six digits
	s.Of, _ = strconv.Atoi(m[2])
	if s.Number > s.Of {
		return fmt.Errorf("%q: there is no part %d of %d", text, s.Number, s.Of)
	}
	return nil
}

func (s *shardFlag) String() string {
	if s.Of == 0 {
		return ""
	}
	return fmt.Sprintf("%d/%d", s.Number, s.Of)
}

// Type is what help shows in place of a value.
func (s *shardFlag) Type() string { return "N/OF" }

// divide leaves one part of the selected cases.
func (w *selected) divide(part shardFlag) error {
	if part.Of > len(w.cases) {
		return fmt.Errorf("--shard %s: only %s selected, so some of %d shards would be empty and prove nothing", part.String(), counted(len(w.cases), "case"), part.Of)
	}
	digest, err := w.digest()
	if err != nil {
		return err
	}
	w.shard = &report.Shard{Number: part.Number, Of: part.Of, Cases: len(w.cases), Selection: digest}
	w.cases = w.shard.Part(w.cases)
	return nil
}

// digest tells one selection of cases from another, and cases from others of the same names: it is over the cases as
// data and over the files of their fixtures.
func (w *selected) digest() (string, error) {
	sum := sha256.New()
	for _, c := range w.cases {
		b, err := json.Marshal(c)
		if err != nil {
			return "", fmt.Errorf("case %s: %w", c.Name, err)
		}
		fmt.Fprintf(sum, "%d\n%s\n", len(b), b)
		for _, name := range c.Fixtures {
			text, err := fs.ReadFile(w.fixtures, name)
			if err != nil {
				return "", fmt.Errorf("case %s: read the fixture: %w", c.Name, err)
			}
			fmt.Fprintf(sum, "%d\n%s\n", len(text), text)
		}
	}
	return fmt.Sprintf("sha256:%x", sum.Sum(nil)), nil
}
