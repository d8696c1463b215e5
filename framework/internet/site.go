package internet

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/mccutchen/go-httpbin/v2/httpbin"
)

// site is what a host's web server serves.
func site(h Host) http.Handler {
	switch h.Site {
	case "wikipedia":
		return pages(wikipedia)
	case "cnn":
		return pages(map[string]string{"/{$}": newsPage, "/politics": newsPage})
	}
	return plainValues(httpbin.New(httpbin.WithHostname(h.Name), httpbin.WithMaxDuration(30*time.Second)))
}

// wikipedia are the pages that Wikipedia's servers have, by path: each of them serves every language.
var wikipedia = map[string]string{
	"/{$}":                              wikipediaPage,
	"/wiki/Main_Page":                   mainPage,
	"/wiki/Wikipedia:Hauptseite":        titled("de", "Wikipedia – Die freie Enzyklopädie"),
	"/wiki/Wikipédia:Accueil_principal": titled("fr", "Wikipédia, l'encyclopédie libre"),
	"/wiki/Wikipedia:Portada":           titled("es", "Wikipedia, la enciclopedia libre"), //nolint:misspell // Spanish
	"/wiki/Pagina_principale":           titled("it", "Wikipedia, l'enciclopedia libera"),
	"/wiki/Hoofdpagina":                 titled("nl", "Wikipedia, de vrije encyclopedie"),
	"/wiki/Wikipedia:Strona_główna":     titled("pl", "Wikipedia, wolna encyklopedia"), //nolint:misspell // Polish
	"/wiki/Wikipédia:Página_principal":  titled("pt", "Wikipédia, a enciclopédia livre"),
	"/wiki/メインページ":                      titled("ja", "Wikipedia"),
	"/wiki/Заглавная_страница":          titled("ru", "Википедия — свободная энциклопедия"),
	"/wiki/Wikipedia:首页":                titled("zh", "维基百科，自由的百科全书"),
}

// mainPage has the element that the Istio task's article count looks for.
const mainPage = `<!DOCTYPE html>
<html><head><title>Wikipedia, the free encyclopedia</title></head><body>
<div id="mp-topbanner">Welcome to Wikipedia
<div id="articlecount"><a href="/wiki/Special:Statistics" title="Special:Statistics">6,543,210</a> articles in English</div>
</div></body></html>
`

const (
	wikipediaPage = "<!DOCTYPE html><html><head><title>Wikipedia</title></head><body>Wikipedia</body></html>\n"
	newsPage      = "<!DOCTYPE html><html><head><title>News</title></head><body>News</body></html>\n"
)

// titled is a page of a language that shows its title.
func titled(language, title string) string {
	return `<!DOCTYPE html><html lang="` + language + `"><head><meta charset="utf-8"><title>` + title + "</title></head><body>" + title + "</body></html>\n"
}

// pages serves a text for each pattern of a path.
func pages(of map[string]string) http.Handler {
	mux := http.NewServeMux()
	for path, text := range of {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) })
	}
	return mux
}

// plainValues makes httpbin's answers like those of httpbin.org, whose implementation in Python shows a value where the one in
// Go shows a list of values.
func plainValues(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !echoes(r.URL.Path) {
			next.ServeHTTP(w, r)
			return
		}
		held := &heldAnswer{header: w.Header(), status: http.StatusOK}
		next.ServeHTTP(held, r)
		body := held.body.Bytes()
		if kind, _, err := mime.ParseMediaType(w.Header().Get("Content-Type")); err == nil && kind == "application/json" {
			body = flat(body)
			w.Header().Del("Content-Length")
		}
		w.WriteHeader(held.status)
		_, _ = w.Write(body) // the client is gone if this fails
	})
}

// echoes says whether httpbin's answer at a path is one JSON object with what the request was. Others may be streams.
func echoes(path string) bool {
	switch first, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/"); first {
	case "headers", "get", "post", "put", "patch", "delete", "anything", "delay":
		return true
	}
	return false
}

// heldAnswer is an answer that is not sent yet.
type heldAnswer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *heldAnswer) Header() http.Header         { return a.header }
func (a *heldAnswer) WriteHeader(status int)      { a.status = status }
func (a *heldAnswer) Write(b []byte) (int, error) { return a.body.Write(b) }

// flat shows the headers as texts, and every other list of one value as that value. What is no JSON object stays as it is.
func flat(body []byte) []byte {
	var all map[string]json.RawMessage
	if json.Unmarshal(body, &all) != nil {
		return body
	}
	for _, field := range []string{"headers", "args", "form", "files"} {
		var lists map[string][]string
		if json.Unmarshal(all[field], &lists) != nil {
			continue
		}
		values := map[string]any{}
		for name, list := range lists {
			switch {
			case field == "headers":
				values[name] = strings.Join(list, ",")
			case len(list) == 1:
				values[name] = list[0]
			default:
				values[name] = list
			}
		}
		text, err := plainJSON(values)
		if err != nil {
			return body
		}
		all[field] = text
	}
	// Put together by hand: an encoder reads each value several times more, and a client may have posted a megabyte.
	var lines [][]byte
	for _, name := range slices.Sorted(maps.Keys(all)) {
		lines = append(lines, fmt.Appendf(nil, "  %q: %s", name, all[name]))
	}
	return slices.Concat([]byte("{\n"), bytes.Join(lines, []byte(",\n")), []byte("\n}\n"))
}

// plainJSON encodes a field's value as httpbin.org does: two blanks for each level, of which the field is the first, and no escapes for
// HTML.
func plainJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("  ", "  ")
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
