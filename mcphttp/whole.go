package mcphttp

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"time"
)

// errIncomplete: the body of a request broke off.
var errIncomplete = errors.New("mcphttp: the request is incomplete")

// readWhole returns a request whose body was read, and the body.
//
// Why it is not passed on as it comes: when a backend answers early, (1) the proxy writes the answer's header, and
// before that, Go's HTTP/1 server reads the rest of the request's body and closes it; (2) the transport, which has
// sent the last byte, reads once more to see the body end, and finds it closed; (3) it takes that for a failed
// request, and closes the backend's connection in the middle of the answer. That cuts about one of 600 streamed
// answers of a plain ReverseProxy. [http.ResponseController.EnableFullDuplex] skips (1), but panics when the body was
// not read to its end (golang/go#68560). With the body in memory there is no such race, the server notices at once
// when the client leaves, and a request can be sent again that met a connection which the backend had closed.
func readWhole(w http.ResponseWriter, r *http.Request) (*http.Request, []byte, error) {
	control := http.NewResponseController(w)
	var body []byte
	if r.Body != nil && r.Body != http.NoBody {
		var err error
		if body, err = readUntil(r.Context(), control, r); err != nil {
			return r, nil, err
		}
	}
	r = r.WithContext(r.Context()) // a copy
	r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	r.Body, _ = r.GetBody()
	r.ContentLength, r.TransferEncoding = int64(len(body)), nil
	return r, body, nil
}

// readUntil reads a body until the context ends: a body that does not come would hold up a shutdown.
func readUntil(ctx context.Context, control *http.ResponseController, r *http.Request) ([]byte, error) {
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		_ = control.SetReadDeadline(time.Unix(1, 0))
	})
	buffer := bytes.NewBuffer(make([]byte, 0, max(0, min(r.ContentLength, bufferSize))+bytes.MinRead))
	_, err := buffer.ReadFrom(r.Body)
	if !stop() {
		<-ended
		_ = control.SetReadDeadline(time.Time{})
	}
	switch {
	case err == nil, isTooLarge(err):
		return buffer.Bytes(), err
	case context.Cause(ctx) != nil:
		return nil, context.Cause(ctx)
	}
	return nil, errIncomplete
}
