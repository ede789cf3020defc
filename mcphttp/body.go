package mcphttp

import (
	"io"
	"net/http"
	"sync/atomic"
)

// body is the body of a request, with a limit.
type body struct {
	io.ReadCloser

	limit    int64
	tooLarge atomic.Bool // a reverse proxy reads on another goroutine
	atEnd    func()      // is called when it was read to its end; nil: nothing is
}

// limitBody returns a copy of a request whose body has a limit. It is an error if the request itself says that it is
// longer.
func limitBody(w http.ResponseWriter, r *http.Request, limit int64) (*http.Request, *body, error) {
	if r.ContentLength > limit {
		return nil, nil, &http.MaxBytesError{Limit: limit}
	}
	r = r.WithContext(r.Context())
	b := &body{ReadCloser: http.MaxBytesReader(w, r.Body, limit), limit: limit}
	if r.Body != nil && r.Body != http.NoBody {
		r.Body = b
	}
	return r, b, nil
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	switch {
	case err == io.EOF && b.atEnd != nil:
		b.atEnd()
	case isTooLarge(err):
		b.tooLarge.Store(true)
	}
	return n, err
}

// checked returns a handler that answers with 413 when the limit made the next one fail: mcp-go takes that for
// malformed JSON.
func (b *body) checked(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(&writer{ResponseWriter: w, check: func(status int) error {
			if status >= http.StatusBadRequest && b.tooLarge.Load() {
				return &http.MaxBytesError{Limit: b.limit}
			}
			return nil
		}}, r)
	})
}
