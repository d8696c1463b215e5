package components

import (
	"fmt"
	"os"
	"runtime"
)

// Self is the file of this program for Linux, which containers run to play the hermetic internet.
func Self() (string, error) {
	exe, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find this program's own file: %w", err)
	}
	if runtime.GOOS == "linux" {
		return exe, nil
	}
	exe += "-linux"
	if _, err := os.Stat(exe); err != nil {
		return "", fmt.Errorf("containers run Linux and need this program built for it (make build makes it): %w", err)
	}
	return exe, nil
}
