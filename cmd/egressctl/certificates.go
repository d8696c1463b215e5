package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

func certificatesCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "certificates DIR",
		Short: "Write the CA and the client certificates of a cluster's hermetic internet into a folder",
		Long: "Certificates writes what cases have as placeholders (docs/hosts.md): ca.crt, the CA of the hosts, and client.crt and client.key,\n" +
			"which hosts accept that demand a client certificate; an authority and a client certificate of your own hosts as NAME.ca.crt,\n" +
			"NAME.crt and NAME.key. They are made anew with each cluster. Keys are readable by you alone.\n\n" +
			"Exit status: 0 written, 2 there is no such cluster or folder, 64 wrong usage.",
		Example: "  egressctl certificates certs\n  egressctl certificates --name docs certs",
		Args:    usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := o.cluster(cmd)
			if err != nil {
				return err
			}
			in := c.Internet()
			if in == nil {
				return usage(fmt.Errorf("cluster %s reaches the live internet, or one that runs make for themselves: it has no certificates of ours", c.Name()))
			}
			secrets, err := in.Secrets(cmd.Context())
			if err != nil {
				return err
			}
			return writeCertificates(args[0], secrets)
		},
	}
}

// certificateFiles are the endings of files by what begins a placeholder with a name; those without one are fixed.
var (
	certificateEndings = map[string]string{"CA": ".ca.crt", "CLIENT_CERT": ".crt", "CLIENT_KEY": ".key"}
	certificateFiles   = map[string]string{"INTERNET_CA": "ca.crt", "CLIENT_CERT": "client.crt", "CLIENT_KEY": "client.key"}
)

// certificateFile is the file for a placeholder, such as client.crt for ${CLIENT_CERT}; "" for none that is known.
func certificateFile(placeholder string) string {
	inner := strings.TrimSuffix(strings.TrimPrefix(placeholder, "${"), "}")
	what, of, named := strings.Cut(inner, ":")
	if !named {
		return certificateFiles[what]
	}
	ending := certificateEndings[what]
	if ending == "" || of != filepath.Base(of) {
		return ""
	}
	return of + ending
}

// writeCertificates writes PEM texts by their placeholders into a folder, which it makes.
func writeCertificates(dir string, secrets map[string]string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the folder for certificates: %w", err)
	}
	for _, p := range slices.Sorted(maps.Keys(secrets)) {
		file := certificateFile(p)
		if file == "" {
			return fmt.Errorf("the internet has a certificate %s, for which no file is known", p)
		}
		if err := os.WriteFile(filepath.Join(dir, file), []byte(secrets[p]), 0o600); err != nil {
			return fmt.Errorf("write a certificate: %w", err)
		}
	}
	return nil
}
