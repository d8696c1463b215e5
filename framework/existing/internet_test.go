package existing

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"mesh-egress-conformance/framework/internet"
)

// A part that fails is never hidden by others that begin beside it.
func TestBeginParts(t *testing.T) {
	failed := errors.New("it did not begin")
	for bad := range 12 {
		parts, err := beginParts(12, func(i int) (*part, error) {
			if i == bad {
				return nil, failed
			}
			return &part{}, nil
		})
		if !errors.Is(err, failed) {
			t.Errorf("part %d: %v", bad, err)
		}
		begun := 0
		for _, p := range parts {
			if p != nil {
				begun++
			}
		}
		if want := 11; begun != want && bad != 0 {
			t.Errorf("part %d failed: %d of %d others are there to be closed", bad, begun, want)
		}
	}
}

// Session.Close may be called twice, and a part that never began has nothing to stop.
func TestCloseTwice(t *testing.T) {
	stopped := 0
	in := &Internet{parts: []*part{{stop: func() { stopped++ }}, nil, {}}}
	for range 2 {
		if err := in.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if stopped != 1 {
		t.Errorf("stopped %d times", stopped)
	}
}

// A part leaves numbers out: of connections whose entries became those of their first requests. What comes then is after all that a
// reader has seen of every part.
func TestArrivalsOfParts(t *testing.T) {
	pages := []string{
		`{"first":1,"next":2,"arrivals":[{"seq":1,"server":"a"}]}`,
		`{"first":1,"next":1}`,
	}
	in := &Internet{}
	for i := range pages {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, pages[i]) }))
		defer srv.Close()
		in.parts = append(in.parts, &part{client: internet.NewTCPClient(srv.Listener.Addr().String(), "", time.Minute)})
	}
	_, mark, err := in.Arrivals(t.Context(), 1<<62)
	if err != nil {
		t.Fatal(err)
	}
	pages[0] = `{"first":1,"next":4,"arrivals":[{"seq":3,"server":"a2"}]}` // 1 and 2 have become others
	pages[1] = `{"first":1,"next":2,"arrivals":[{"seq":1,"server":"b"}]}`
	log, next, err := in.Arrivals(t.Context(), mark)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, a := range log {
		got = append(got, fmt.Sprintf("%s at %d", a.Server, a.Seq))
	}
	if want := []string{"a2 at 3", "b at 4"}; mark != 2 || next != 5 || !slices.Equal(got, want) {
		t.Errorf("from %d on %v, next %d", mark, got, next)
	}
}
