package mcphttp

import (
	"encoding/json"
	"io"
	"net/http"
)

// Era serves both eras of the protocol on one URL: requests of 2026-07-28 or later, which know no sessions, go to
// modern, and all others to legacy. go-sdk needs two handlers for that. [Modern] tells which is which. Neither headers
// nor body are changed, and the body is not read.
//
// A request with several MCP-Protocol-Version, Mcp-Session-Id, Mcp-Method or Mcp-Name headers is answered with 400: Era
// would go by one of them, and the handler perhaps by another. So is one with several versions in one header.
//
// A handler that is nil stands for an era that is not served. Its POSTs are answered with 400 and the JSON-RPC error
// -32022, which names the versions that are served, so that clients can fall back. All other methods are answered with
// 405. mcp-go's client depends on that before a server of the legacy era only: go-sdk's own answer to it lists legacy
// versions, which mcp-go takes for a modern server, and fails. Era panics when both are nil.
//
// CORS is the caller's, in front: an OPTIONS is passed on like every other request.
func Era(modern, legacy http.Handler) http.Handler {
	if modern == nil && legacy == nil {
		panic("mcphttp: Era: both handlers are nil")
	}
	if modern == nil {
		modern = notServed{legacyVersions}
	}
	if legacy == nil {
		legacy = notServed{modernVersions}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch err := checkHeaders(r.Header); {
		case err != nil:
			WriteError(w, err)
		case Modern(r):
			modern.ServeHTTP(w, r)
		default:
			legacy.ServeHTTP(w, r)
		}
	})
}

var (
	modernVersions = []string{modernSince}
	legacyVersions = []string{"2025-11-25", "2025-06-18", assumedVersion} // those with Streamable HTTP
)

// assumedVersion is that of a request which does not name one.
const assumedVersion = "2025-03-26"

// notServed answers the requests of an era that is not served.
type notServed struct {
	versions []string // of the other era
}

const (
	maxAnswered        = 64 << 10 // how much of a body is read to answer it
	unsupportedVersion = -32022
)

func (n notServed) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "this version of the protocol has no "+r.Method+" here", http.StatusMethodNotAllowed)
		return
	}
	var request struct {
		ID     json.RawMessage `json:"id"`
		Params struct {
			ProtocolVersion string `json:"protocolVersion"` //nolint:tagliatelle // of initialize, as MCP spells it
		} `json:"params"`
	}
	if body, err := io.ReadAll(io.LimitReader(r.Body, maxAnswered)); err == nil {
		_ = json.Unmarshal(body, &request) // what could not be read is answered without an id
	}
	requested := r.Header.Get(versionHeader)
	if requested == "" {
		requested = request.Params.ProtocolVersion
	}
	if requested == "" {
		requested = assumedVersion
	}
	answer, err := json.Marshal(refusal{
		Version: "2.0",
		ID:      request.ID,
		Error: refusalError{
			Code:    unsupportedVersion,
			Message: "unsupported protocol version",
			Data:    refusalData{Supported: n.versions, Requested: requested},
		},
	})
	if err != nil {
		WriteError(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusBadRequest)
	_, _ = w.Write(answer)
}

// refusal is a JSON-RPC error. Its id is null if it is not known.
type refusal struct {
	Version string          `json:"jsonrpc"`
	ID      json.RawMessage `json:"id"`
	Error   refusalError    `json:"error"`
}

type refusalError struct {
	Code    int         `json:"code"`
	Message string      `json:"message"`
	Data    refusalData `json:"data"`
}

type refusalData struct {
	Supported []string `json:"supported"`
	Requested string   `json:"requested"`
}
