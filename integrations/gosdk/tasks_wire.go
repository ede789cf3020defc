package gosdk

import (
	"encoding/base64"
	"encoding/json"
	"math"
	"strings"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

const (
	tasksExtension = "io.modelcontextprotocol/tasks"

	methodGetTask    = "tasks/get"
	methodUpdateTask = "tasks/update"
	methodCancelTask = "tasks/cancel"
)

// taskParams are the params of all three methods.
//
//nolint:tagliatelle // the names are those of the protocol
type taskParams struct {
	mcp.ParamsBase
	TaskID string `json:"taskId"`

	// Raw, because responses to what was not asked are ignored, whatever they are.
	InputResponses map[string]json.RawMessage `json:"inputResponses,omitempty"`
}

type taskRequest = mcp.ServerRequest[*taskParams]

// taskResult is the result of the call that creates a task, and of tasks/get.
//
//nolint:tagliatelle // the names are those of the protocol
type taskResult struct {
	mcp.ResultBase
	ResultType     string                     `json:"resultType"`
	TaskID         string                     `json:"taskId"`
	Status         status                     `json:"status"`
	StatusMessage  string                     `json:"statusMessage,omitempty"`
	CreatedAt      string                     `json:"createdAt"`
	LastUpdatedAt  string                     `json:"lastUpdatedAt"`
	TTLMs          int64                      `json:"ttlMs"`
	PollIntervalMs int64                      `json:"pollIntervalMs"`
	InputRequests  map[string]json.RawMessage `json:"inputRequests,omitempty"`
	Result         json.RawMessage            `json:"result,omitempty"`
	Error          *jsonrpc.Error             `json:"error,omitempty"`
}

// ackResult is the result of tasks/update and tasks/cancel.
//
//nolint:tagliatelle // the names are those of the protocol
type ackResult struct {
	mcp.ResultBase
	ResultType string `json:"resultType"`
}

// created is what a call returns that has become a task.
func (t *Tasks) created(id string, record task) *taskResult {
	const layout = "2006-01-02T15:04:05.000Z07:00"
	return &taskResult{
		ResultType: "task", TaskID: id, Status: record.Status, StatusMessage: record.Message,
		CreatedAt: record.CreatedAt.UTC().Format(layout), LastUpdatedAt: record.UpdatedAt.UTC().Format(layout),
		TTLMs: record.TTLMs, PollIntervalMs: milliseconds(t.poll),
	}
}

// detailed is what tasks/get returns.
func (t *Tasks) detailed(id string, record task) *taskResult {
	res := t.created(id, record)
	res.ResultType, res.Result, res.Error = "complete", record.Result, record.Error
	for key, asked := range record.Asked {
		if res.InputRequests == nil {
			res.InputRequests = make(map[string]json.RawMessage, len(record.Asked))
		}
		res.InputRequests[key] = asked.Request
	}
	return res
}

// milliseconds rounds up, but for what is too long for that.
func milliseconds(d time.Duration) int64 {
	return int64(min(d, math.MaxInt64-time.Millisecond)+time.Millisecond-1) / int64(time.Millisecond)
}

// declared reports whether a client has declared the extension in this very request. What it has declared before does
// not count, and for older versions of the protocol there is no such extension.
func declared(params mcp.Params) bool {
	meta := params.GetMeta()
	if version, _ := meta[mcp.MetaKeyProtocolVersion].(string); version < modern {
		return false
	}
	capabilities, _ := meta[mcp.MetaKeyClientCapabilities].(map[string]any)
	extensions, _ := capabilities["extensions"].(map[string]any)
	return extensions[tasksExtension] != nil
}

// routed reports whether the Mcp-Name header, by which intermediaries route, names the task of the body. The Go SDKs
// send none for tasks, so it may be missing.
func routed(extra *mcp.RequestExtra, id string) bool {
	if extra == nil {
		return true
	}
	switch names := extra.Header.Values("Mcp-Name"); len(names) {
	case 0:
		return true
	case 1:
		return names[0] == id || fromBase64(names[0]) == id
	default:
		return false
	}
}

// fromBase64 decodes a value of a header that is not plain ASCII (SEP-2243). It returns "" for all others.
func fromBase64(value string) string {
	encoded, ok := strings.CutPrefix(value, "=?base64?")
	encoded, closed := strings.CutSuffix(encoded, "?=")
	if !ok || !closed {
		return ""
	}
	decoded, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return ""
	}
	return string(decoded)
}
