package main

import (
	"context"
	"debug/buildinfo"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// writeSBOM writes the CycloneDX bill of materials of a program, of what the go command has noted in it, and compares
// the two. It has neither time nor serial number, so that it is the same for the same program.
func (o *options) writeSBOM(ctx context.Context, program, out string) error {
	_, err := output(ctx, filepath.Dir(program), nil, o.sbom, "bin", "-json", "-std", "-noserial", "-notimestamp", "-version", o.version, "-output", out, program)
	if err != nil {
		return fmt.Errorf("write the SBOM of %s: %w", program, err)
	}
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return fmt.Errorf("read the build information of %s: %w", program, err)
	}
	var modules []string
	for _, d := range info.Deps {
		if d.Replace != nil {
			d = d.Replace
		}
		modules = append(modules, d.Path+"@"+d.Version)
	}
	text, err := os.ReadFile(out)
	if err != nil {
		return err
	}
	return complete(text, modules)
}

// complete says which modules (path@version) an SBOM does not have.
func complete(sbom []byte, modules []string) error {
	var bom struct {
		Format     string `json:"bomFormat"`
		Components []struct{ Name, Version string }
	}
	if err := json.Unmarshal(sbom, &bom); err != nil {
		return fmt.Errorf("read the SBOM: %w", err)
	}
	if bom.Format != "CycloneDX" || len(modules) == 0 {
		return fmt.Errorf("the SBOM's format is %q, and the program has %d modules", bom.Format, len(modules))
	}
	have := map[string]bool{}
	for _, c := range bom.Components {
		have[c.Name+"@"+c.Version] = true
	}
	modules = slices.DeleteFunc(slices.Clone(modules), func(m string) bool { return have[m] })
	if len(modules) > 0 {
		return fmt.Errorf("the SBOM lacks modules of the program: %v", modules)
	}
	return nil
}
