package mcphttp

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
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
func readWhole(r *http.Request) (*http.Request, []byte, error) {
	var body []byte
	if r.Body != nil && r.Body != http.NoBody {
		buffer := bytes.NewBuffer(make([]byte, 0, max(0, min(r.ContentLength, bufferSize))+bytes.MinRead))
		_, err := buffer.ReadFrom(r.Body)
		switch {
		case isTooLarge(err):
			return r, nil, err
		case err != nil:
			return r, nil, cmp.Or(context.Cause(r.Context()), errIncomplete) // it was cut, or broke off
		}
		body = buffer.Bytes()
	}
	r = r.WithContext(r.Context()) // a copy
	r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	r.Body, _ = r.GetBody()
	r.ContentLength, r.TransferEncoding = int64(len(body)), nil
	return r, body, nil
}
