package internet

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"reflect"
	"strings"
	"testing"
)

func fetched(t *testing.T, h http.Handler, r *http.Request) (status int, body string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	b, err := io.ReadAll(w.Result().Body)
	if err != nil {
		t.Fatal(err)
	}
	return w.Code, string(b)
}

// nestedAnswer is httpbin.org's to a POST of JSON: what the client has sent is indented, and is as it was otherwise.
const nestedAnswer = `{
  "args": {
    "q": "<"
  },
  "data": "{\"a\": {\"b\": [1, {\"c\": \"<d>\"}]}, \"headers\": {\"x\": [\"y\"]}}",
  "files": {},
  "form": {},
  "headers": {
    "Accept": "*/*",
    "Content-Type": "application/json",
    "Host": "httpbin.org"
  },
  "json": {
    "a": {
      "b": [
        1,
        {
          "c": "<d>"
        }
      ]
    },
    "headers": {
      "x": [
        "y"
      ]
    }
  },
  "method": "POST",
  "origin": "192.0.2.1",
  "url": "http://httpbin.org/post?q=%3C"
}
`

func TestHttpbinShowsValues(t *testing.T) {
	h := site(Host{Name: "httpbin.org"})
	ask := func(method, path string, body io.Reader) *http.Request {
		r := httptest.NewRequest(method, "http://httpbin.org"+path, body)
		r.Header.Set("Accept", "*/*")
		return r
	}
	if _, got := fetched(t, h, ask("GET", "/headers", nil)); got != `{
  "headers": {
    "Accept": "*/*",
    "Host": "httpbin.org"
  }
}
` {
		t.Errorf("/headers: %s", got)
	}
	nested := ask("POST", "/post?q=%3C", strings.NewReader(`{"a": {"b": [1, {"c": "<d>"}]}, "headers": {"x": ["y"]}}`))
	nested.Header.Set("Content-Type", "application/json")
	if _, got := fetched(t, h, nested); got != nestedAnswer {
		t.Errorf("/post: %s", got)
	}
	twice := ask("GET", "/get?a=1&b=2&b=<3>", nil)
	twice.Header["X-A"] = []string{"1", "2"}
	form := ask("POST", "/post", strings.NewReader("c=4"))
	form.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for _, x := range []struct {
		r     *http.Request
		field string
		want  any
	}{
		{twice, "args", map[string]any{"a": "1", "b": []any{"2", "<3>"}}},
		{twice, "headers", map[string]any{"Accept": "*/*", "Host": "httpbin.org", "X-A": "1,2"}},
		{ask("GET", "/delay/0", nil), "args", map[string]any{}},
		{ask("GET", "/anything/x", nil), "url", "http://httpbin.org/anything/x"},
		{form, "form", map[string]any{"c": "4"}},
	} {
		var got map[string]any
		if _, body := fetched(t, h, x.r); json.Unmarshal([]byte(body), &got) != nil || !reflect.DeepEqual(got[x.field], x.want) {
			t.Errorf("%s: %s is %v, not %v", x.r.URL, x.field, got[x.field], x.want)
		}
	}
	// What is no object of the request stays as it is.
	for path, want := range map[string]string{"/status/418": "teapot", "/ip": "origin", "/stream/2": `"id"`, "/bytes/3": ""} {
		if _, got := fetched(t, h, ask("GET", path, nil)); !strings.Contains(got, want) {
			t.Errorf("%s: %q", path, got)
		}
	}
	if status, _ := fetched(t, h, ask("POST", "/get", nil)); status != http.StatusMethodNotAllowed {
		t.Errorf("POST /get: %d", status)
	}
}

func TestEveryRangeOfWikipedia(t *testing.T) {
	h := builtInHosts(t)
	for _, r := range []string{"91.198.174.192/27", "103.102.166.224/27", "198.35.26.96/27", "208.80.153.224/27", "208.80.154.224/27"} {
		p := netip.MustParsePrefix(r)
		x, ok := h.Find(p.Addr().String())
		if !ok || x.Site != "wikipedia" || x.Dead {
			t.Errorf("%s: %+v", p, x)
			continue
		}
		if !strings.Contains(strings.Join(certified(x, "en.wikipedia.org", nil), " "), "*.wikipedia.org") {
			t.Errorf("%s has no certificate for other languages", x.Name)
		}
	}
	for _, n := range []string{"en", "de", "fr", "es", "it", "nl", "pl", "pt", "ja", "ru", "zh", "www"} {
		if _, ok := h.Find(n + ".wikipedia.org"); !ok {
			t.Errorf("%s.wikipedia.org is no host", n)
		}
	}
	if x, ok := h.Find("nope.wikipedia.org"); ok {
		t.Errorf("nope.wikipedia.org is %s: a name that does not exist is what res-dyn-nxdomain needs", x.Name)
	}
	for path, title := range map[string]string{
		"/wiki/Main_Page":                                              "Wikipedia, the free encyclopedia",
		"/wiki/Wikipedia:Hauptseite":                                   "Wikipedia – Die freie Enzyklopädie",
		"/wiki/Wikip%C3%A9dia:Accueil_principal":                       "Wikipédia, l'encyclopédie libre",
		"/wiki/%E3%83%A1%E3%82%A4%E3%83%B3%E3%83%9A%E3%83%BC%E3%82%B8": "Wikipedia",
	} {
		if status, got := fetched(t, site(Host{Site: "wikipedia"}), httptest.NewRequest("GET", "https://de.wikipedia.org"+path, nil)); status != http.StatusOK || !strings.Contains(got, "<title>"+title+"</title>") {
			t.Errorf("%s: %d %s", path, status, got)
		}
	}
}
