package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"
)

const (
	// defaultAtOnce is what two processors carry: with more clusters, cases wait for the processor, and no run ends sooner.
	defaultAtOnce = 2
	// clusterMemory is what a cluster takes with all its clients, in MiB; `egressctl status` shows it.
	clusterMemory = 2048
)

// room is how many clusters may run at once: as many as were asked for, and as fit into the memory that is free.
func room(asked int, say io.Writer) int {
	free, known := freeMemory("/proc/meminfo")
	if !known { // not Linux: whoever runs the containers has memory of its own
		return max(1, asked)
	}
	return fitting(asked, free, say)
}

// fitting is room with so many MiB free.
func fitting(asked, free int, say io.Writer) int {
	n := max(1, asked)
	if fit := max(1, free/clusterMemory); fit < n {
		n = fit
		fmt.Fprintf(say, "%d MiB of memory are free, and a cluster takes %d: %d at once, the others in turn\n", free, clusterMemory, n)
	}
	return n
}

// freeMemory is what the kernel could give without swapping, in MiB.
func freeMemory(file string) (mib int, known bool) {
	f, err := os.Open(file)
	if err != nil {
		return 0, false
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		var kib int
		if _, err := fmt.Sscanf(strings.TrimSpace(s.Text()), "MemAvailable: %d kB", &kib); err == nil {
			return kib >> 10, true
		}
	}
	return 0, false
}
