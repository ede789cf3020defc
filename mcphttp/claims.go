package mcphttp

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
)

// errMismatch: the headers and the body of a request do not say the same, or not the same to every reader.
var errMismatch = errors.New("mcphttp: the headers do not match the body")

// maxClaimed is how many tasks one request may name: each of them costs a load.
const maxClaimed = 64

// claimedBy returns the tasks that a request of the modern era is about, and whether it is about tasks at all. It is
// for tasks that have owners: what is checked must be what the backend reads, and a backend reads the body.
//
//	(1) A client has begun task a. It sends Mcp-Name: a, and params.taskId: b.
//	(2) The proxy goes by the header, finds that a is the client's, and passes the request on.
//	(3) The backend knows nothing of owners, and mcp-go's does not compare: it answers with b, which is another user's.
//
// So the headers must match, and a body that two readers may understand differently is refused: repeated members, or
// members in another case, which encoding/json takes for the same.
func claimedBy(r *http.Request, body []byte) (tasks []string, isAbout bool, err error) {
	member, err := only(body, "method")
	if err != nil {
		return nil, false, err
	}
	method, header := text(member), r.Header.Get(methodHeader)
	switch {
	case !aboutTasks(method) && !aboutTasks(header):
		return nil, false, nil
	case method != header:
		return nil, true, errMismatch
	}
	params, err := only(body, "params")
	if err != nil || params == nil {
		return nil, true, err
	}
	if method == listenMethod {
		tasks, err = listenedTo(params)
		return tasks, len(tasks) > 0, err
	}
	member, err = only(params, "taskId")
	if err != nil {
		return nil, true, err
	}
	task := text(member)
	if name := r.Header.Get(nameHeader); name != "" && name != task {
		if name, ok := decoded(name); !ok || name != task {
			return nil, true, errMismatch
		}
	}
	if task == "" {
		return nil, true, nil
	}
	return []string{task}, true, nil
}

func aboutTasks(method string) bool {
	return strings.HasPrefix(method, taskMethods) || method == listenMethod
}

// listenedTo returns the tasks of subscriptions/listen.
func listenedTo(params json.RawMessage) (tasks []string, err error) {
	notifications, err := only(params, "notifications")
	if err != nil || notifications == nil {
		return nil, err
	}
	member, err := only(notifications, "taskIds")
	if err != nil || member == nil {
		return nil, err
	}
	if json.Unmarshal(member, &tasks) != nil || len(tasks) > maxClaimed {
		return nil, errMismatch
	}
	return tasks, nil
}

// only returns what an object has under a name, nil if it has nothing. The error is errMismatch if not every reader
// would find the same there.
func only(object json.RawMessage, name string) (found json.RawMessage, err error) {
	d := json.NewDecoder(bytes.NewReader(object))
	if begin, err := d.Token(); err != nil || begin != json.Delim('{') {
		return nil, errMismatch
	}
	for d.More() {
		token, err := d.Token()
		var value json.RawMessage
		if err != nil || d.Decode(&value) != nil {
			return nil, errMismatch
		}
		key, _ := token.(string)
		switch {
		case !strings.EqualFold(key, name):
		case found != nil, key != name:
			return nil, errMismatch
		default:
			found = value
		}
	}
	if _, err := d.Token(); err != nil {
		return nil, errMismatch
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errMismatch
	}
	return found, nil
}
