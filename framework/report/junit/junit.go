// Package junit is the form of JUnit XML that all reports are written in. The elements and attributes are those that the schema
// of Jenkins' xUnit plugin has (junit-10.xsd), which is the strictest reader; GitHub's and GitLab's read a part of them. Ginkgo's
// types have attributes that it refuses.
package junit

import (
	"encoding/xml"
	"fmt"
	"strconv"
)

// Suite is the test cases of one run. Its counts are those of its cases, which Write counts.
type Suite struct {
	Name       string     `xml:"name,attr"`
	Tests      int        `xml:"tests,attr"`
	Failures   int        `xml:"failures,attr"`
	Errors     int        `xml:"errors,attr"`
	Skipped    int        `xml:"skipped,attr"`
	Time       Seconds    `xml:"time,attr"`
	Timestamp  string     `xml:"timestamp,attr,omitempty"`
	Properties Properties `xml:"properties,omitempty"`
	Cases      []Case     `xml:"testcase"`
}

// Properties are what a run happened in.
type Properties []Property

// Property is one of them.
type Property struct {
	Name  string `xml:"name,attr"`
	Value string `xml:"value,attr"`
}

// MarshalXML writes the list as one element, and none where it is empty.
func (p Properties) MarshalXML(e *xml.Encoder, start xml.StartElement) error {
	if len(p) == 0 {
		return nil
	}
	return e.EncodeElement(struct {
		All []Property `xml:"property"`
	}{p}, start)
}

// Case is one test case. One that has neither of Skipped, Error and Failure has passed.
type Case struct {
	Name      string  `xml:"name,attr"`
	Classname string  `xml:"classname,attr"`
	Time      Seconds `xml:"time,attr"`
	Skipped   *Why    `xml:"skipped"`
	Error     *Why    `xml:"error"`
	Failure   *Why    `xml:"failure"`
	SystemOut string  `xml:"system-out,omitempty"`
}

// Why says why a case has not passed.
type Why struct {
	Message string `xml:"message,attr"`
	Type    string `xml:"type,attr"`
	Text    string `xml:",chardata"`
}

// Seconds is written without exponent.
type Seconds float64

// MarshalXMLAttr writes it as an attribute.
func (s Seconds) MarshalXMLAttr(name xml.Name) (xml.Attr, error) {
	return xml.Attr{Name: name, Value: strconv.FormatFloat(float64(s), 'f', 3, 64)}, nil
}

// Write renders suites as a document of that name. Texts must have nothing that XML 1.0 cannot carry (package printable).
func Write(name string, suites ...Suite) ([]byte, error) {
	all := struct {
		XMLName  xml.Name `xml:"testsuites"`
		Name     string   `xml:"name,attr"`
		Tests    int      `xml:"tests,attr"`
		Failures int      `xml:"failures,attr"`
		Errors   int      `xml:"errors,attr"`
		Time     Seconds  `xml:"time,attr"`
		Suites   []Suite  `xml:"testsuite"`
	}{Name: name}
	for _, s := range suites {
		s.count()
		all.Tests, all.Failures, all.Errors, all.Time = all.Tests+s.Tests, all.Failures+s.Failures, all.Errors+s.Errors, all.Time+s.Time
		all.Suites = append(all.Suites, s)
	}
	b, err := xml.MarshalIndent(all, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode %s as JUnit XML: %w", name, err)
	}
	return append([]byte(xml.Header), append(b, '\n')...), nil
}

// count sets the counts. A case that is skipped, failed and an error at once counts as each, as readers do.
func (s *Suite) count() {
	s.Tests, s.Failures, s.Errors, s.Skipped = len(s.Cases), 0, 0, 0
	for _, c := range s.Cases {
		if c.Failure != nil {
			s.Failures++
		}
		if c.Error != nil {
			s.Errors++
		}
		if c.Skipped != nil {
			s.Skipped++
		}
	}
}
