package mcphttp

import "net/http"

// writer passes an answer on as it comes, unless check refuses it before its header has left: then the client gets that
// error in its place. Like any ResponseWriter, it is for one goroutine at a time.
type writer struct {
	http.ResponseWriter

	check   func(status int) error // called once, and not for 1xx; the header may still be changed
	began   bool                   // an answer has left, this one or that of the error
	refused bool                   // it was the error's
}

// WriteHeader implements [http.ResponseWriter].
func (w *writer) WriteHeader(status int) {
	if status >= 100 && status < 200 && status != http.StatusSwitchingProtocols {
		w.inform(status)
		return
	}
	if w.began {
		if !w.refused {
			w.ResponseWriter.WriteHeader(status) // it complains
		}
		return
	}
	if err := w.check(status); err != nil {
		w.refuse(err)
		return
	}
	w.began = true
	w.ResponseWriter.WriteHeader(status)
}

// inform sends what comes before the answer itself. The id of a session is not in it: it was not stored yet.
func (w *writer) inform(status int) {
	h := w.Header()
	ids := h[sessionHeader]
	delete(h, sessionHeader)
	w.ResponseWriter.WriteHeader(status)
	if ids != nil {
		h[sessionHeader] = ids
	}
}

// Write implements [io.Writer]. What follows a refused header is dropped. That is no error: a ReverseProxy would break
// the connection because of one, before the client has got the answer.
func (w *writer) Write(p []byte) (int, error) {
	w.begin()
	if w.refused {
		return len(p), nil
	}
	return w.ResponseWriter.Write(p)
}

// Flush implements [http.Flusher], for servers that ask for no more than that.
func (w *writer) Flush() { _ = w.FlushError() }

// FlushError is what [http.ResponseController] calls.
func (w *writer) FlushError() error {
	w.begin()
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Unwrap is for [http.ResponseController].
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *writer) begin() {
	if !w.began {
		w.WriteHeader(http.StatusOK)
	}
}

// refuse answers with an error, if no answer has left yet.
func (w *writer) refuse(err error) {
	if w.began {
		return
	}
	w.began, w.refused = true, true
	WriteError(w.ResponseWriter, err)
}
