package mcphttp

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/seed34611480/session/internal/digest"
)

const (
	paramPrefix = "Mcp-Param-"

	callMethod  = "tools/call"
	taskMethods = "tasks/"
)

// The kinds of routing keys.
const (
	taskKind   = "task"
	callerKind = "caller" // of WithKey; that of a parameter is its header
)

const (
	keyLabel = "github.com/seed34611480/session/mcphttp key"
	keyStart = "mcphttp:"
)

// keyID returns the id under which the backend of a key is stored. Values have any length and any bytes, and some are
// credentials. No two keys have one id: the kind is part of it, and so is the owner, who alone has a task.
func keyID(kind, owner, value string) string {
	return keyStart + digest.Hex(keyLabel, kind, owner, value)
}

// taskOf returns the task that a request of the modern era is about, or "". The header alone would do if clients sent
// it, as they must: those of go-sdk 1.8 and mcp-go 1.2 do not.
func taskOf(r *http.Request, body []byte) string {
	switch method := r.Header.Get(methodHeader); {
	case strings.HasPrefix(method, taskMethods):
		if name, ok := decoded(r.Header.Get(nameHeader)); ok && name != "" {
			return name
		}
		return text(member(body, "params", "taskId"))
	case method == listenMethod:
		var tasks []json.RawMessage
		if json.Unmarshal(member(body, "params", "notifications", "taskIds"), &tasks) == nil && len(tasks) > 0 {
			return text(tasks[0])
		}
	}
	return ""
}

// member returns what a body has at a path, nil if there is nothing. Other than a struct's, the names are compared
// exactly: a backend must not find another task there.
func member(body []byte, path ...string) json.RawMessage {
	at := json.RawMessage(body)
	for _, name := range path {
		var object map[string]json.RawMessage
		if json.Unmarshal(at, &object) != nil {
			return nil
		}
		at = object[name]
	}
	return at
}

// text returns the string that a JSON value is, "" if it is none.
func text(value json.RawMessage) string {
	var s string
	if json.Unmarshal(value, &s) != nil {
		return ""
	}
	return s
}

// affinityOf returns the key by which a request is kept together with others, if it has one.
func (p *Proxy) affinityOf(r *http.Request) (id string, ok bool) {
	if Modern(r) { // of an older request, no server compares the header with the body
		for _, header := range p.params {
			values := r.Header[header]
			if len(values) != 1 {
				continue
			}
			if value, ok := decoded(values[0]); ok {
				return keyID(header, "", value), true
			}
		}
	}
	if p.key != nil {
		if value, ok := p.key(r); ok {
			return keyID(callerKind, "", value), true
		}
	}
	return "", false
}

// decoded returns what a header means. A value that cannot be decoded is no key: the backend says what is wrong with
// it.
func decoded(header string) (string, bool) {
	encoded, ok := strings.CutPrefix(header, "=?base64?")
	if !ok {
		return header, true
	}
	encoded, ok = strings.CutSuffix(encoded, "?=")
	if !ok {
		return header, true
	}
	b, err := base64.StdEncoding.DecodeString(encoded)
	return string(b), err == nil
}
