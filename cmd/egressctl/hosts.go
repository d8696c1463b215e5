package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"mesh-egress-conformance/framework/casefile"
	"mesh-egress-conformance/framework/input"
	"mesh-egress-conformance/framework/internet"
)

// addHostsFlag adds the flag for hosts of one's own.
func addHostsFlag(cmd *cobra.Command, file *string) {
	cmd.Flags().StringVar(file, "hosts", "", "file with hosts to add to the hermetic internet (docs/hosts.md); those of a hosts.yaml beside the cases, and of the cases, are added anyway")
}

// readHosts are the built-in hosts with those of a folder of cases, which may be nil, and of a file, which may be "".
func readHosts(dir fs.FS, file string) (*internet.Hosts, error) {
	all, err := internet.DefaultHosts()
	if err != nil {
		return nil, err
	}
	more := &internet.Hosts{}
	if dir != nil {
		if more, err = casefile.Hosts(dir); err != nil {
			return nil, err
		}
	}
	if file != "" {
		b, err := readFile(file)
		if err != nil {
			return nil, fmt.Errorf("read the hosts of --hosts: %w", err)
		}
		of, err := internet.ReadHosts(file, b)
		if err != nil {
			return nil, err
		}
		more.Hosts = append(more.Hosts, of.Hosts...)
		more.ClientCertificates = append(more.ClientCertificates, of.ClientCertificates...)
	}
	return all.Add(more)
}

// readFile reads a regular file of bounded size.
func readFile(file string) ([]byte, error) {
	full, err := filepath.Abs(file)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(full); err != nil {
		return nil, err
	}
	return fs.ReadFile(input.Dir(filepath.Dir(full)), filepath.Base(full))
}
