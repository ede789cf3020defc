// Package learn finds the ids of tasks in the answers of MCP servers while they pass.
//
// A tool call may be answered with {"result": {"resultType": "task", "taskId": ...}}, as JSON or as the data of an
// event. Before its client can know the id, a proxy has to store which backend has the task. A [Reader] passes the
// answer on as it comes, in constant memory, and holds back the byte that completes such a message, the last brace,
// until the id is stored. Without that byte there is no message, whichever way a client reads events: some take an
// event for complete when the stream ends, not only at the blank line.
//
// Read message.go first.
package learn

import (
	"errors"
	"io"
)

// ErrTooLong is the error of [Reader.Read] when the id of a task has more than 4 KiB.
var ErrTooLong = errors.New("learn: the id of a task is too long")

// Reader is the body of an answer. It is used by one goroutine at a time.
type Reader struct {
	body    io.ReadCloser
	found   func(Task) error
	events  *events // nil: the body is one message
	message message
	err     error
}

// JSON returns a reader for a body that is one JSON-RPC message. found is called for a task, from within Read. When it
// returns an error, Read returns that, and what completes the message is never read.
func JSON(body io.ReadCloser, found func(Task) error) *Reader {
	return &Reader{body: body, found: found}
}

// Events is [JSON] for a body of server-sent events, any number of which may announce tasks.
func Events(body io.ReadCloser, found func(Task) error) *Reader {
	return &Reader{body: body, found: found, events: new(events)}
}

// Read reads from the body.
func (r *Reader) Read(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	n, err := r.body.Read(p)
	for done := 0; done < n; {
		at := r.scan(p[done:n])
		if at < 0 {
			break
		}
		if r.err = r.learn(); r.err != nil {
			return done + at, r.err
		}
		done += at + 1
	}
	return n, err
}

// Close closes the body.
func (r *Reader) Close() error { return r.body.Close() }

func (r *Reader) scan(p []byte) int {
	if r.events != nil {
		return r.events.scan(p, &r.message)
	}
	return r.message.scan(p)
}

func (r *Reader) learn() error {
	if r.message.long {
		return ErrTooLong
	}
	return r.found(r.message.task)
}
