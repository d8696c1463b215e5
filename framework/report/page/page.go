// Package page has what the pages that are made of reports share: how they look, and how a table of cases is filtered. Each page
// holds all of it, so that it is one file that asks nothing of any network.
package page

import _ "embed" // the parts

// CSS is the style of every page; a page's own rules come behind it.
//
//go:embed base.css
var CSS string

// FilterJS defines filterCases, by which a page's own script has its table filtered; it comes before that.
//
//go:embed filter.js
var FilterJS string
