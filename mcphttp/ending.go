package mcphttp

import (
	"context"
	"net/http"
)

// endInServer ends a session that the server has, and no client any more. The request has the rights of the client's.
func (s *Sessions) endInServer(r *http.Request, id string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), s.grace)
	defer cancel()
	r = r.Clone(ctx)
	r.Method, r.Body, r.ContentLength, r.TransferEncoding = http.MethodDelete, http.NoBody, 0, nil
	for _, name := range []string{"Content-Type", "Content-Length", "Last-Event-Id", methodHeader, nameHeader} {
		r.Header.Del(name)
	}
	r.Header.Set(sessionHeader, id)
	switch status := statusOf(s.server, r); {
	case status < http.StatusMultipleChoices, status == http.StatusNotFound, status == http.StatusMethodNotAllowed:
	default:
		s.logger.Warn("mcphttp: the server has not ended a session", "status", status)
	}
}

// statusOf returns the status of a handler's answer, and drops the answer.
func statusOf(handler http.Handler, r *http.Request) (status int) {
	var answer unread
	defer func() {
		status = answer.status
		// A ReverseProxy whose backend breaks off has no connection here that it could break.
		if value := recover(); value != nil && value != http.ErrAbortHandler { //nolint:errorlint // it is never wrapped
			panic(value)
		}
	}()
	handler.ServeHTTP(&answer, r)
	return answer.status
}

// unread is an answer of which only the status counts.
type unread struct {
	header http.Header
	status int // 0: there was none, which is OK
}

// Header implements [http.ResponseWriter].
func (u *unread) Header() http.Header {
	if u.header == nil {
		u.header = make(http.Header)
	}
	return u.header
}

// WriteHeader implements [http.ResponseWriter].
func (u *unread) WriteHeader(status int) {
	if u.status == 0 && status >= http.StatusOK {
		u.status = status
	}
}

// Write implements [io.Writer].
func (u *unread) Write(p []byte) (int, error) { return len(p), nil }

// Flush implements [http.Flusher], which mcp-go looks for.
func (u *unread) Flush() {}
