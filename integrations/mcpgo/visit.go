package mcpgo

import (
	"errors"
	"net/http"

	"github.com/mark3labs/mcp-go/server"

	"github.com/seed34611480/session"
)

// visit is one request: its answer, and the manager of its session. mcp-go asks the manager on the goroutine of the
// request, before it writes, and then writes from one goroutine at a time.
type visit struct {
	http.ResponseWriter

	hasID  bool   // the request has a session, which exists
	minted string // the id of the session that it begins
	none   bool   // it should have a session, and has none
}

type visitKey struct{}

// Generate makes the id of a session, which is stored when it is about to leave.
func (v *visit) Generate() string {
	v.minted = session.NewID()
	return v.minted
}

var errNoID = errors.New("mcpgo: the request has no session id")

// Validate accepts the session that the Handler has loaded.
func (v *visit) Validate(string) (isTerminated bool, err error) {
	if !v.hasID {
		v.none = true
		return false, errNoID
	}
	return false, nil
}

// Terminate lets mcp-go forget a session that the Handler has ended.
func (v *visit) Terminate(string) (isNotAllowed bool, err error) { return false, nil }

// WriteHeader begins the answer.
func (v *visit) WriteHeader(status int) {
	switch {
	case v.minted != "":
		v.Header().Set(server.HeaderKeySessionID, v.minted) // mcp-go does not when the answer is a stream
	case status == http.StatusNotFound && (v.hasID || v.none):
		// To clients, 404 means that their session is over. This is a request without one, or a client's answer to a request
		// of the server's that another replica has sent.
		status = http.StatusBadRequest
	}
	v.ResponseWriter.WriteHeader(status)
}

// Flush is what mcp-go needs to stream.
func (v *visit) Flush() { _ = http.NewResponseController(v.ResponseWriter).Flush() }

// Unwrap is for [http.ResponseController].
func (v *visit) Unwrap() http.ResponseWriter { return v.ResponseWriter }
