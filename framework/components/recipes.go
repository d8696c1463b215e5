package components

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

//go:embed recipes
var embedded embed.FS

// recipes are folders with wrapper modules and further recipes: the one that is part of this program, and those of the
// user's releases.
type recipes []fs.FS

// builtInRecipes are those that are part of this program.
func builtInRecipes() recipes {
	dir, err := fs.Sub(embedded, "recipes")
	if err != nil { // it is in the program
		panic(err)
	}
	return recipes{dir}
}

// file is the text of a file of the recipes, "" when there is none of that name.
func (r recipes) file(name string) string {
	for _, dir := range r {
		if b, err := fs.ReadFile(dir, name); err == nil {
			return string(b)
		}
	}
	return ""
}

// inputs are the bytes of a recipe, as part of the cache key.
func (r recipes) inputs(name string) string {
	var b strings.Builder
	for _, ext := range []string{".mod", ".sum", ".gosrc", ".sh"} {
		b.WriteString(r.file(name + ext))
	}
	return b.String()
}

// wrapperFiles says which file of a recipe becomes which of its module. The recipes end in .mod and .sum, so that they
// are not modules of their own in this repository.
var wrapperFiles = map[string]string{".mod": "go.mod", ".sum": "go.sum", ".gosrc": "main.go"}

// writeWrapper lays out the small module in which a component is built.
func (r recipes) writeWrapper(name, dir string) error {
	if r.file(name+".mod") == "" {
		return fmt.Errorf("build recipe %q is neither part of this program nor in the folder of releases", name)
	}
	var all error
	for ext, to := range wrapperFiles {
		if text := r.file(name + ext); text != "" {
			all = errors.Join(all, os.WriteFile(filepath.Join(dir, to), []byte(text), 0o644))
		}
	}
	if all != nil {
		return fmt.Errorf("write build module %s: %w", name, all)
	}
	return nil
}

// wrapperOrigin stands for all modules that a wrapper module's go.sum names.
func (r recipes) wrapperOrigin(wrapper string) Origin {
	sum := sha256.Sum256([]byte(r.file(wrapper + ".sum")))
	return Origin{Kind: "go.sum", Name: "recipes/" + wrapper + ".sum", Digest: sha256Prefix + hex.EncodeToString(sum[:]), Checked: byCatalogue}
}
