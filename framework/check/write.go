package check

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"mesh-egress-conformance/framework/input"
)

// Path is a file below a folder as it can be opened.
func Path(folder, file string) string {
	if file = filepath.FromSlash(file); filepath.IsAbs(file) {
		return file
	}
	return filepath.Join(folder, file)
}

// Write prints mistakes and notices for people. Files stand below a folder, so that the names can be opened as they are.
func Write(w io.Writer, folder string, mistakes, notices input.Mistakes) {
	one := func(m input.Mistake, what string) {
		m.File = Path(folder, m.File)
		fmt.Fprintf(w, "%s: %s%s\n", m.Where(), what, m.What)
		for line := range strings.Lines(m.Remedy) {
			fmt.Fprintf(w, "    %s\n", strings.TrimRight(line, "\n"))
		}
	}
	for _, m := range mistakes {
		one(m, "")
	}
	for _, m := range notices {
		one(m, "note: ")
	}
}
