package mesh

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"testing"
)

// insiders notes which pods are dialled.
type insiders struct{ dialled []string }

func (i *insiders) DialPod(_ context.Context, namespace, pod, address string) (net.Conn, error) {
	i.dialled = append(i.dialled, fmt.Sprintf("%s/%s:%s", namespace, pod, address))
	return nil, errors.New("not here")
}

// A pod is named by its URL, whatever dots its name has, so that no connection goes to another pod of its address.
func TestWayInside(t *testing.T) {
	in := &insiders{}
	w := Way{Inside: in}
	for _, pod := range []string{"istiod-1", "istiod-1.2.3"} {
		url, stop, err := w.open(t.Context(), "istio-system", pod, 8080)
		if err != nil {
			t.Fatal(err)
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/debug", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := (&http.Client{Transport: &http.Transport{DialContext: w.dial}}).Do(req)
		if err == nil {
			resp.Body.Close()
			t.Error("somebody answers")
		}
		stop()
		if got, want := in.dialled[len(in.dialled)-1], "istio-system/"+pod+":8080"; got != want {
			t.Errorf("%s is dialled, not %s", got, want)
		}
	}
	for _, addr := range []string{"nodots:1", "a.b"} {
		if _, err := w.dial(t.Context(), "tcp", addr); err == nil {
			t.Errorf("%s is a pod", addr)
		}
	}
	if len(in.dialled) != 2 {
		t.Errorf("%v", in.dialled)
	}
}
