// Package csp has the content security policy of the pages that are made of reports: files that hold everything they show.
package csp

import (
	"crypto/sha256"
	"encoding/base64"
)

// SelfContained is the policy of a page whose only style and only script are these texts, as they stand between their tags; ""
// is none. It forbids every request, and every other style and script, since a browser knows these two by their digests
// (https://www.w3.org/TR/CSP3/, hash-source). The page may have an empty icon, which keeps browsers from asking a server for one.
func SelfContained(style, script string) string {
	return "default-src 'none'; img-src data:; style-src " + only(style) + "; script-src " + only(script) + "; base-uri 'none'; form-action 'none'"
}

func only(text string) string {
	if text == "" {
		return "'none'"
	}
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}
