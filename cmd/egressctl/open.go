package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"

	"github.com/spf13/cobra"

	comparehtml "mesh-egress-conformance/framework/compare/html"
	"mesh-egress-conformance/framework/report"
	upgradehtml "mesh-egress-conformance/framework/upgrade/html"
)

func openCommand() *cobra.Command {
	var printOnly bool
	cmd := &cobra.Command{
		Use:   "open [FOLDER]",
		Short: "Open the page of the last run in a browser, or print where it is",
		Long: "Open opens the page in a folder in the browser of this desktop: the report.html of a run, or else the comparison.html of\n" +
			"compare and matrix, or the upgrade.html of an upgrade. Where there is no desktop, as over ssh or in CI, it prints the\n" +
			"page's path.\n\nExit status: 0 opened or printed, 2 there is no page, 64 wrong usage.",
		Example: "  egressctl open\n  egressctl open merged\n  egressctl open reports/out/matrix\n  scp build:$(ssh build egressctl open --print) .",
		Args:    usageArgs(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := defaultOut
			if len(args) > 0 {
				dir = args[0]
			}
			page, err := pageIn(dir)
			if err != nil {
				return err
			}
			if program := browser(runtime.GOOS, os.Getenv); program != "" && !printOnly && onTerminal(cmd.OutOrStdout()) {
				if err := show(cmd.Context(), program, page); err == nil {
					return nil
				}
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), page)
			return err
		},
	}
	cmd.Flags().BoolVar(&printOnly, "print", false, "only print the path")
	return cmd
}

// openable are the pages that a folder may have, each with the file that it can be made of. The first that is there is opened.
var openable = [][2]string{{report.HTMLFile, report.JSONFile}, {comparehtml.File, comparisonJSON}, {upgradehtml.File, upgradeJSON}}

// pageIn is the absolute path of the page in a folder.
func pageIn(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	for _, p := range openable {
		page := filepath.Join(dir, p[0])
		if _, err := os.Stat(page); !errors.Is(err, os.ErrNotExist) {
			return page, err
		}
	}
	for _, p := range openable {
		data := filepath.Join(dir, p[1])
		if _, err := os.Stat(data); err == nil {
			return "", fmt.Errorf("%s is not there, but %s is: egressctl report html %[2]s makes the page", filepath.Join(dir, p[0]), data)
		}
	}
	return "", fmt.Errorf("%s is not there: egressctl run writes it, or name the folder of --out", filepath.Join(dir, report.HTMLFile))
}

// browser is the program that opens a page on this desktop; "" where there is none.
func browser(system string, env func(string) string) string {
	switch {
	case system == "darwin":
		return "open"
	case env("DISPLAY") != "" || env("WAYLAND_DISPLAY") != "":
		return "xdg-open"
	}
	return ""
}

// show starts the browser, which tells at once whether it could be.
func show(ctx context.Context, program, page string) error {
	if err := exec.CommandContext(ctx, program, page).Run(); err != nil {
		return fmt.Errorf("%s %s: %w", program, page, err)
	}
	return nil
}
