package main

import "github.com/spf13/cobra"

// addHostsFlag adds the flag for hosts of one's own.
func addHostsFlag(cmd *cobra.Command, file *string) {
	cmd.Flags().StringVar(file, "hosts", "", "file with hosts to add to the hermetic internet (docs/hosts.md); those of a hosts.yaml beside the cases, and of the cases, are added anyway")
}
