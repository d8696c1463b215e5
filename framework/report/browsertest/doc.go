// Package browsertest is for tests that open the pages of reports in a real Chromium, headless. All of it has the build tag
// browser, so that other tests need no Chromium; scripts/verify-html.sh installs one and runs the tests that have the tag. With the
// tag they fail where there is none, so that nobody takes a skip for a proof.
package browsertest
