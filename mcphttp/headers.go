package mcphttp

import (
	"net/http"
	"net/textproto"
	"strings"
)

const (
	sessionHeader = "Mcp-Session-Id"
	versionHeader = "Mcp-Protocol-Version"
	methodHeader  = "Mcp-Method"
	nameHeader    = "Mcp-Name"

	listenMethod = "subscriptions/listen"
)

// checkHeaders refuses a request that has one of the headers several times: one part would route by the first, and
// another read the last. What is in front may have joined repeated ones with a comma, which no version has.
func checkHeaders(h http.Header) error {
	for _, name := range []string{versionHeader, sessionHeader, methodHeader, nameHeader} {
		if len(h[name]) > 1 {
			return errRepeated
		}
	}
	if strings.Contains(h.Get(versionHeader), ",") {
		return errRepeated
	}
	return nil
}

// modernSince is the first version of the protocol that has no sessions. Versions are dates, so they can be compared.
const modernSince = "2026-07-28"

// Modern reports whether a request is of the protocol of 2026-07-28 or later, which has no sessions. Its
// MCP-Protocol-Version decides: also one that is no date and greater, because a modern server says best what is wrong
// with it. Without a version, a request that has an Mcp-Method and no Mcp-Session-Id is modern, too: one that forgot
// the version. The body is not read.
func Modern(r *http.Request) bool {
	// HTTP/2 lets the spaces around a value pass, and a backend on HTTP/1.1 does not see them: (1) a client sends
	// " 2026-07-28", (2) the proxy, which takes that for an older version, does not ask whose the task is, (3) the backend
	// reads a request of the modern era, and answers.
	if version := textproto.TrimString(r.Header.Get(versionHeader)); version != "" {
		return version >= modernSince
	}
	return r.Header.Get(methodHeader) != "" && r.Header.Get(sessionHeader) == ""
}

// isStream reports whether a request asks for messages until its client has enough of them.
func isStream(r *http.Request) bool {
	return r.Method == http.MethodGet || r.Header.Get(methodHeader) == listenMethod
}

// isEvents reports whether the header of an answer announces a stream of events.
func isEvents(h http.Header) bool { return mediaType(h) == eventsType }

const (
	eventsType = "text/event-stream"
	jsonType   = "application/json"
)

// mediaType returns the type of a body without its parameters, in lower case.
func mediaType(h http.Header) string {
	kind, _, _ := strings.Cut(h.Get("Content-Type"), ";")
	return lower(textproto.TrimString(kind))
}
