package mcphttp

import (
	"context"
	"net/http"
	"time"
)

// endingTime is how long the answer to a DELETE waits for the server.
const endingTime = time.Second

// endInServer ends a session that the server has, and no client any more. The request has the rights of the client's.
// It is sent on a goroutine of its own, because go-sdk answers a DELETE when it has come to the end of all calls of the
// session, which may be never, whatever the context says. The channel is closed when the server has answered.
func (s *Sessions) endInServer(r *http.Request, id string) (ended <-chan struct{}) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), s.grace)
	modern := Modern(r)
	r = r.Clone(ctx)
	r.Method, r.Body, r.ContentLength, r.TransferEncoding = http.MethodDelete, http.NoBody, 0, nil
	for _, name := range []string{"Content-Type", "Content-Length", "Last-Event-Id", methodHeader, nameHeader} {
		r.Header.Del(name)
	}
	if modern {
		r.Header.Del(versionHeader) // the other one has no sessions to end
	}
	r.Header.Set(sessionHeader, id)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer cancel()
		switch status := statusOf(s.server, r); {
		case status < http.StatusMultipleChoices, status == http.StatusNotFound, status == http.StatusMethodNotAllowed:
		default:
			s.logger.Warn("mcphttp: the server has not ended a session", "status", status)
		}
	}()
	return done
}

// awaitEnding waits for the server for a while.
func awaitEnding(ended <-chan struct{}) {
	select {
	case <-ended:
	case <-time.After(endingTime):
	}
}

// statusOf returns the status of a handler's answer, and drops the answer. A panic is a 500: there is no connection
// that it could break, and no net/http that would recover it.
func statusOf(handler http.Handler, r *http.Request) (status int) {
	var answer unread
	defer func() {
		status = answer.status
		if value := recover(); value != nil {
			status = http.StatusInternalServerError
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
