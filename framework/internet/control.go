package internet

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"

	"mesh-egress-conformance/framework/input"
)

// ControlHandler is the API by which the harness reads the arrival log, adds hosts, and breaks the internet on purpose.
// It is served where no pod can reach it, or asks for a token.
func (s *Server) ControlHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /arrivals", func(w http.ResponseWriter, r *http.Request) {
		since, err := strconv.ParseInt(r.URL.Query().Get("since"), 10, 64)
		if err != nil {
			http.Error(w, "since must be a sequence number", http.StatusBadRequest)
			return
		}
		writeJSON(w, s.log.since(since))
	})
	mux.HandleFunc("GET /secrets", func(w http.ResponseWriter, _ *http.Request) {
		secrets, err := s.ca.Secrets(s.Hosts())
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		writeJSON(w, secrets)
	})
	mux.HandleFunc("GET /hosts", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, s.Hosts()) })
	mux.HandleFunc("POST /hosts", func(w http.ResponseWriter, r *http.Request) {
		var more Hosts
		dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, input.MaxFolder))
		dec.DisallowUnknownFields()
		err := dec.Decode(&more)
		if err == nil {
			err = s.Add(context.WithoutCancel(r.Context()), &more)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
		}
	})
	mux.HandleFunc("POST /guests", func(w http.ResponseWriter, r *http.Request) {
		var guests Hosts
		dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, input.MaxFolder))
		dec.DisallowUnknownFields()
		err := dec.Decode(&guests)
		if err == nil {
			err = s.SetGuests(context.WithoutCancel(r.Context()), &guests)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
		}
	})
	mux.HandleFunc("POST /answer", func(w http.ResponseWriter, r *http.Request) {
		if err := s.Answer(r.URL.Query().Get("name"), r.URL.Query().Get("host")); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
		}
	})
	mux.HandleFunc("GET /asked", func(w http.ResponseWriter, r *http.Request) { writeJSON(w, s.Asked(r.URL.Query().Get("name"))) })
	mux.HandleFunc("POST /break/{what}", func(w http.ResponseWriter, r *http.Request) {
		if err := s.Break(context.WithoutCancel(r.Context()), r.PathValue("what")); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	return mux
}

func writeJSON(w http.ResponseWriter, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(b) // the asker is gone if this fails
}
