package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"time"

	"github.com/seed34611480/session"
)

const maxBody = 4 << 20 // of a request; it is one JSON-RPC message

// errShutdown is why answers are cut that outlive the grace.
var errShutdown = errors.New("the proxy shuts down")

// forward sends a request to a backend, and keeps its session alive until the answer ends. id is empty if there is no
// session. The hook answered, if any, runs before the client sees the answer. If it returns an error, the client gets
// that error instead.
func (p *proxy) forward(
	w http.ResponseWriter, r *http.Request, backend *url.URL, id string, answered func(*http.Response) error,
) {
	r, ok := readWhole(w, r, p.grace)
	if !ok {
		return
	}
	ctx, cut := context.WithCancelCause(r.Context())
	defer cut(nil)
	grace := p.grace
	if isStream(r) {
		grace = 0 // it lasts as long as the client wants; the client opens a new one through another replica
	}
	stop := context.AfterFunc(p.running, func() { time.AfterFunc(grace, func() { cut(errShutdown) }) })
	defer stop()
	if id != "" {
		go p.attend(ctx, id, cut)
	}
	reverse := httputil.ReverseProxy{
		// SetURL also replaces the Host: a backend on loopback refuses any other.
		Rewrite:       func(out *httputil.ProxyRequest) { out.SetURL(backend); out.SetXForwarded() },
		Transport:     p.transport,
		FlushInterval: -1, // events must not wait in a buffer
		ModifyResponse: func(answer *http.Response) error {
			if strings.HasPrefix(answer.Header.Get("Content-Type"), "text/event-stream") {
				answer.Body = events{answer.Body, ctx}
			}
			if answered == nil {
				return nil
			}
			return answered(answer)
		},
		ErrorHandler: refuse,
		ErrorLog:     p.log,
	}
	reverse.ServeHTTP(w, r.WithContext(ctx))
}

// attend loads the session of an open answer now and then: a session lives by its loads, and a client that listens to a
// stream or waits for a long call causes none. When the session has ended, attend cuts the answer. Only the storage's
// "not found" is an end, an outage is none.
func (p *proxy) attend(ctx context.Context, id string, cut context.CancelCauseFunc) {
	due := time.NewTicker(p.keepAlive)
	defer due.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-due.C:
		}
		if _, err := p.sessions.Load(ctx, id); errors.Is(err, session.ErrNotFound) {
			cut(err)
			return
		}
	}
}

// isStream reports whether a request asks for messages until the client has enough of them.
func isStream(r *http.Request) bool {
	return r.Method == http.MethodGet || r.Header.Get("Mcp-Method") == "subscriptions/listen"
}

// events is a stream of events. When the proxy cuts the stream, the client sees it end, not break.
type events struct {
	io.ReadCloser

	ctx context.Context
}

func (e events) Read(p []byte) (int, error) {
	n, err := e.ReadCloser.Read(p)
	if err != nil && e.ctx.Err() != nil {
		err = io.EOF
	}
	return n, err
}

// readWhole returns a request whose body was read, or answers with an error.
//
// Why not pass the body on as it comes: when a backend answers early, (1) the proxy writes the answer's header, and
// before that, Go's HTTP/1 server reads the rest of the request's body and closes it; (2) the transport, which has sent
// the last byte, reads once more to see the body end, and finds it closed; (3) it takes that for a failed request, and
// closes the backend's connection in the middle of the answer. ResponseController.EnableFullDuplex skips (1), but
// panics when a body was not read to its end (golang/go#68560). With the body in memory there is no such race, the
// server notices at once when the client leaves, and the transport can send a request again that met a connection which
// the backend had closed.
func readWhole(w http.ResponseWriter, r *http.Request, limit time.Duration) (*http.Request, bool) {
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(limit)) // or a body that does not come would hold up a shutdown
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	_ = control.SetReadDeadline(time.Time{})
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		http.Error(w, "the request is too large", http.StatusRequestEntityTooLarge)
		return nil, false
	}
	if err != nil {
		http.Error(w, "the request is incomplete", http.StatusBadRequest)
		return nil, false
	}
	r = r.WithContext(r.Context()) // a copy
	r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	r.Body, _ = r.GetBody()
	r.ContentLength, r.TransferEncoding = int64(len(body)), nil
	return r, true
}
