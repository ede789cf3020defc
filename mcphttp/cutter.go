package mcphttp

import (
	"context"
	"net/http"
	"sync"
	"time"
)

// stalledAfter is how long a client that does not read or write may hold up the end of an answer that was cut.
const stalledAfter = time.Second

// cutter cuts one answer.
type cutter struct {
	end     context.CancelCauseFunc
	control *http.ResponseController

	mu       sync.Mutex // protects following fields
	isDone   bool
	free     bool // the server's deadline was taken away
	deadline bool // that of cut was set
	hasBody  bool // the request, and it was not read to its end
}

func newCutter(w http.ResponseWriter, r *http.Request, end context.CancelCauseFunc) *cutter {
	c := &cutter{end: end, control: http.NewResponseController(w)}
	if body, ok := r.Body.(*body); ok {
		c.hasBody, body.atEnd = true, c.bodyRead
	}
	return c
}

// cut ends the context of the handler. A handler that waits for its client to read what it has written does not notice:
// (1) the client stalls, (2) the handler's write waits, (3) the answer is cut, (4) Shutdown waits for the handler. So
// writes must end soon, too, and so must reads of the request's body.
func (c *cutter) cut(cause error) {
	c.end(cause)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isDone || c.deadline {
		return
	}
	c.deadline = true
	at := time.Now().Add(stalledAfter)
	_ = c.control.SetWriteDeadline(at)
	if c.hasBody {
		_ = c.control.SetReadDeadline(at)
	}
}

// bodyRead is called at the end of the request's body. From then on net/http reads, to notice that the client leaves: a
// deadline for that would end the connection.
func (c *cutter) bodyRead() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.hasBody && c.deadline && !c.isDone {
		_ = c.control.SetReadDeadline(time.Time{})
	}
	c.hasBody = false
}

// unlimited lets the answer take as long as it does: a server's WriteTimeout is for calls that have no stream.
func (c *cutter) unlimited() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.free && !c.deadline {
		c.free = true
		_ = c.control.SetWriteDeadline(time.Time{})
	}
}

// done is called when the answer has ended. The next one on the connection must not meet the deadline of this one. That
// for reads stays: net/http now reads what is left of the body, and would wait for it.
func (c *cutter) done() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.isDone = true
	if c.deadline {
		_ = c.control.SetWriteDeadline(time.Time{})
	}
}
