package input_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"mesh-egress-conformance/framework/input"
)

// A folder of somebody else's: files that are no regular ones, or too long, are refused.
func ExampleDir() {
	dir, err := os.MkdirTemp("", "input-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	if err := os.WriteFile(filepath.Join(dir, "case.yaml"), []byte("claim: c\n"), 0o600); err != nil {
		fmt.Println(err)
	}
	if err := os.Symlink("/dev/zero", filepath.Join(dir, "endless.yaml")); err != nil {
		fmt.Println(err)
	}
	text, err := fs.ReadFile(input.Dir(dir), "case.yaml")
	fmt.Printf("%s%v\n", text, err)
	_, err = fs.ReadFile(input.Dir(dir), "endless.yaml")
	fmt.Println(err != nil)
	// Output:
	// claim: c
	// <nil>
	// true
}

// What is wrong in somebody's file, where, and what to do.
func ExampleMistake() {
	m := input.Mistake{File: "cases/bank.yaml", Line: 4, What: `field "ulr" is unknown`, Remedy: `did you mean "url"?`}
	fmt.Println(m.Where())
	fmt.Println(input.Mistakes{m}.Err() != nil, input.Mistakes{}.Err())
	// Output:
	// cases/bank.yaml:4
	// true <nil>
}
