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

	"mesh-egress-conformance/framework/report"
)

func openCommand() *cobra.Command {
	var printOnly bool
	cmd := &cobra.Command{
		Use:   "open [FOLDER]",
		Short: "Open the page of the last run in a browser, or print where it is",
		Long: "Open opens the report.html of a run in the browser of this desktop. Where there is none, as over ssh or in CI, it prints\n" +
			"the page's path.\n\nExit status: 0 opened or printed, 2 there is no page, 64 wrong usage.",
		Example: "  egressctl open\n  egressctl open merged\n  scp build:$(ssh build egressctl open --print) .",
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

// pageIn is the absolute path of the page in a folder.
func pageIn(dir string) (string, error) {
	page, err := filepath.Abs(filepath.Join(dir, report.HTMLFile))
	if err != nil {
		return "", err
	}
	_, err = os.Stat(page)
	if !errors.Is(err, os.ErrNotExist) {
		return page, err
	}
	data := filepath.Join(dir, report.JSONFile)
	if _, err := os.Stat(data); err == nil {
		return "", fmt.Errorf("%s is not there, but %s is: egressctl report html %[2]s makes the page", page, data)
	}
	return "", fmt.Errorf("%s is not there: egressctl run writes it, or name the folder of --out", page)
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
