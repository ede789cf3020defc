package gosdk

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/seed34611480/session"
)

type status string

// The states of a task. There is no way out of the last three.
//
//	            claim                  ask
//	(created) ---------> working <------------> input_required
//	                        |        answer           |
//	                        +-------------------------+
//	                        v
//	         completed, failed, cancelled
const (
	taskWorking       status = "working"
	taskInputRequired status = "input_required"
	taskCompleted     status = "completed"
	taskFailed        status = "failed"
	taskCancelled     status = "cancelled"
)

// task is what is stored of a task. Its methods are the steps that it can take. None of them asks the clock or the
// storage: they are called in functions for [handle.Store] Update, which compares and sets, and repeats them with what
// another writer has stored meanwhile. So a condition that a step has checked holds when its result is written.
type task struct {
	Status    status    `json:"status"`
	Message   string    `json:"message,omitempty"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"` // of the status, not of the lease
	TTLMs     int64     `json:"ttl_ms"`     // as it was when the task was created

	// Call is what the handler gets in this round: the client's call, or the same with the responses so far to what the
	// handler has asked, and with its state. It is nil when the task has ended.
	Call *mcp.CallToolParamsRaw `json:"call,omitempty"`

	Lease lease `json:"lease,omitzero"` // the zero value: the task is not run, and may be claimed by any replica
	Lost  int   `json:"lost,omitempty"` // runners that died

	// Asked has what the client still has to answer. The keys are the client's, each of them used once in the life of a
	// task, whereas handlers may use theirs again in each round.
	Asked  map[string]question `json:"asked,omitempty"`
	Rounds int                 `json:"rounds,omitempty"` // in which the handler has asked

	Result json.RawMessage `json:"result,omitempty"`
	Error  *jsonrpc.Error  `json:"error,omitempty"`
}

// lease says who runs a task. Run is random, and another one each time that a task is claimed. Only the runner that has
// chosen it writes the task, so a runner that has lost its lease can change nothing. Beat counts the renewals.
type lease struct {
	Run  string `json:"run"`
	Beat uint64 `json:"beat,omitempty"`
}

func (l lease) held() bool { return l.Run != "" }

type question struct {
	Key     string          `json:"key"` // the handler's
	Request json.RawMessage `json:"request"`
}

// maxLost is how many runners a task may lose. What kills its runner must not kill one replica after the other.
const maxLost = 3

func newTask(call *mcp.CallToolParamsRaw, runner string, ttl time.Duration, now time.Time) task {
	return task{
		Status: taskWorking, CreatedAt: now, UpdatedAt: now, TTLMs: milliseconds(ttl), Call: call,
		Lease: lease{Run: runner},
	}
}

// ends is when the storage forgets the task.
func (t *task) ends() time.Time { return t.CreatedAt.Add(time.Duration(t.TTLMs) * time.Millisecond) }

func (t *task) over() bool {
	return t.Status == taskCompleted || t.Status == taskFailed || t.Status == taskCancelled
}

// heldBy reports whether a runner may still write the task.
func (t *task) heldBy(runner string) bool { return t.Status == taskWorking && t.Lease.Run == runner }

// end is the last step. What only a handler would need goes.
func (t *task) end(to status, message string, now time.Time) {
	*t = task{
		Status: to, Message: message, CreatedAt: t.CreatedAt, UpdatedAt: now, TTLMs: t.TTLMs,
		Lost: t.Lost, Rounds: t.Rounds,
	}
}

func (t *task) complete(result json.RawMessage, now time.Time) {
	t.end(taskCompleted, "", now)
	t.Result = result
}

func (t *task) fail(err *jsonrpc.Error, now time.Time) {
	t.end(taskFailed, err.Message, now)
	t.Error = err
}

func (t *task) cancel(now time.Time) { t.end(taskCancelled, "cancelled by the client", now) }

// release leaves the task to the next replica that is asked for it.
func (t *task) release() { t.Lease = lease{} }

// claim makes a runner the one that runs the task, if it may be claimed: when it is not run, or when its lease is still
// the one that was seen when it counted as dead. A task whose runner has died may fail instead. A claim may be
// repeated, when it is not known what became of it.
func (t *task) claim(runner string, seen lease, modes toolModes, now time.Time) (won bool) {
	if t.heldBy(runner) {
		return true
	}
	if t.Status != taskWorking || t.Lease != seen {
		return false
	}
	if seen.held() {
		t.Lost++
		if !modes.takeOver || t.Lost >= maxLost {
			t.fail(errRunnerDied, now)
			return false
		}
	}
	t.Lease = lease{Run: runner}
	return true
}

// ask is the step from working to input_required.
func (t *task) ask(requests mcp.InputRequestMap, state string, now time.Time) error {
	encoded, err := json.Marshal(requests)
	if err != nil {
		return fmt.Errorf("%w: %w", session.ErrEncode, err)
	}
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(encoded, &raw); err != nil {
		return fmt.Errorf("%w: %w", session.ErrEncode, err)
	}
	t.Rounds++
	t.Asked = make(map[string]question, len(raw))
	for key, request := range raw {
		t.Asked[strconv.Itoa(t.Rounds)+"."+key] = question{key, request}
	}
	call := *t.Call
	call.InputResponses, call.RequestState = nil, state
	t.Status, t.UpdatedAt, t.Call, t.Lease = taskInputRequired, now, &call, lease{}
	return nil
}

// answer takes in responses, and ignores those to what is not asked now. With the last one, the task can go on.
func (t *task) answer(responses map[string]json.RawMessage, now time.Time) error {
	if t.Status != taskInputRequired || t.Call == nil {
		return nil
	}
	accepted := maps.Clone(t.Call.InputResponses)
	for key, raw := range responses {
		asked, ok := t.Asked[key]
		if !ok {
			continue
		}
		response, err := decodeResponse(asked.Request, raw)
		if err != nil {
			return fmt.Errorf("%w %q", errNoResponse, key) // what was sent is the user's, and not repeated
		}
		if accepted == nil {
			accepted = make(mcp.InputResponseMap)
		}
		accepted[asked.Key] = response
		delete(t.Asked, key)
	}
	t.Call.InputResponses = accepted
	if len(t.Asked) == 0 {
		t.Status, t.UpdatedAt, t.Asked = taskWorking, now, nil
	}
	return nil
}

var errNoResponse = errors.New("gosdk: this is no response to the input request")

// responseKeys has, by the method of a request, the key by which the SDK knows a response to it.
var responseKeys = map[string]string{
	"elicitation/create":     "action",
	"sampling/createMessage": "role",
	"roots/list":             "roots",
}

// decodeResponse returns a response, if it is one to such a request.
func decodeResponse(request, response json.RawMessage) (mcp.InputResponse, error) {
	var asked struct {
		Method string `json:"method"`
	}
	var members map[string]json.RawMessage
	if err := errors.Join(json.Unmarshal(request, &asked), json.Unmarshal(response, &members)); err != nil {
		return nil, err
	}
	for method, key := range responseKeys {
		if _, ok := members[key]; ok != (method == asked.Method) {
			return nil, errNoResponse
		}
	}
	wrapped, err := json.Marshal(map[string]json.RawMessage{"x": response})
	if err != nil {
		return nil, err
	}
	var responses mcp.InputResponseMap
	if err := json.Unmarshal(wrapped, &responses); err != nil {
		return nil, err
	}
	return responses["x"], nil
}
