package main

import (
	"github.com/spf13/cobra"

	"mesh-egress-conformance/framework/internet"
)

// addHostsFlag adds the flag for hosts of one's own.
func addHostsFlag(cmd *cobra.Command, file *string) {
	cmd.Flags().StringVar(file, "hosts", "", "file with hosts to add to the hermetic internet (docs/hosts.md); those of a hosts.yaml beside the cases, and of the cases, are added anyway")
}

// readHosts are the built-in hosts with those of a file, which may be "".
func readHosts(file string) (*internet.Hosts, error) {
	all, err := internet.DefaultHosts()
	if err != nil {
		return nil, err
	}
	more, err := moreHosts(file)
	if err != nil {
		return nil, err
	}
	return all.Add(more)
}
