package gosdk

import (
	"cmp"
	"encoding/json"
	"math"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/stretchr/testify/require"
)

var (
	created = time.Date(2026, 7, 28, 12, 0, 0, 0, time.UTC)
	later   = created.Add(time.Minute)
)

func aTask(runner string) task {
	return newTask(&mcp.CallToolParamsRaw{Name: "work", Arguments: json.RawMessage(`{}`)}, runner, time.Hour, created)
}

// A claim is written only if the task may be claimed, or is the one whose runner was found dead.
func TestClaims(t *testing.T) {
	t.Parallel()
	held, beat, other, won := lease{Run: "a"}, lease{Run: "a", Beat: 1}, lease{Run: "b"}, lease{Run: "new"}
	again := toolModes{takeOver: true}
	for name, test := range map[string]struct {
		stored, seen lease
		lost         int
		modes        toolModes
		status, want status // "": working
		wantLease    lease
	}{
		"released":             {wantLease: won},
		"claimed meanwhile":    {stored: other, wantLease: other},
		"dead, fails":          {stored: beat, seen: beat, want: taskFailed},
		"dead, may run again":  {stored: beat, seen: beat, modes: again, wantLease: won},
		"renewed meanwhile":    {stored: beat, seen: held, modes: again, wantLease: beat},
		"taken over meanwhile": {stored: other, seen: held, modes: again, wantLease: other},
		"has lost too many":    {stored: held, seen: held, lost: maxLost - 1, modes: again, want: taskFailed},
		"waits for input":      {status: taskInputRequired, want: taskInputRequired},
		"has ended":            {status: taskCancelled, want: taskCancelled},
	} {
		record := aTask("")
		record.Status, record.Lease, record.Lost = cmp.Or(test.status, taskWorking), test.stored, test.lost
		require.Equal(t, test.wantLease == won, record.claim("new", test.seen, test.modes, later), name)
		require.Equal(t, cmp.Or(test.want, taskWorking), record.Status, name)
		require.Equal(t, test.wantLease, record.Lease, name)
		require.Equal(t, test.wantLease == won, record.heldBy("new"), name)
		require.Equal(t, created, record.CreatedAt, name)
	}
}

// What a task was stored as is what another replica reads.
func TestRecordsSurviveTheStorage(t *testing.T) {
	t.Parallel()
	record := aTask("a")
	record.Call.Meta = taskMeta()
	requests := mcp.InputRequestMap{
		"who": &mcp.ElicitParams{Message: "who?"},
		//nolint:staticcheck // servers may still ask that
		"think": &mcp.CreateMessageParams{MaxTokens: 5, Messages: []*mcp.SamplingMessage{}},
		"roots": &mcp.ListRootsParams{}, //nolint:staticcheck // as above
	}
	require.NoError(t, record.ask(requests, "state", later))
	record = stored(t, record)
	require.Equal(t, taskInputRequired, record.Status)
	require.False(t, record.Lease.held())
	responses := map[string]json.RawMessage{
		"1.who":   json.RawMessage(`{"action":"accept","content":{"a":1}}`),
		"1.think": json.RawMessage(`{"role":"assistant","content":{"type":"text","text":"x"},"model":"m"}`),
		"1.roots": json.RawMessage(`{"roots":[{"uri":"file:///"}]}`),
	}
	for key, response := range responses {
		require.Equal(t, taskInputRequired, record.Status)
		require.NoError(t, record.answer(map[string]json.RawMessage{key: response}, later))
		record = stored(t, record)
		require.NotContains(t, record.Asked, key)
	}
	require.Equal(t, taskWorking, record.Status)
	require.Equal(t, "state", record.Call.RequestState)
	require.True(t, declared(record.Call))
	record.Call.Meta[mcp.MetaKeyClientCapabilities] = map[string]any{"extensions": map[string]any{tasksExtension: nil}}
	require.False(t, declared(record.Call), "null is nothing")
	require.Len(t, record.Call.InputResponses, 3)
	require.Equal(t, "accept", record.Call.InputResponses["who"].(*mcp.ElicitResult).Action)
	require.True(t, record.claim("b", lease{}, toolModes{}, later))
	before := stored(t, record)
	require.NoError(t, record.answer(responses, later.Add(time.Hour)))
	require.Equal(t, before, stored(t, record), "all was answered before")
	require.NoError(t, record.ask(mcp.InputRequestMap{"who": &mcp.ElicitParams{Message: "again?"}}, "", later))
	require.Empty(t, record.Call.InputResponses, "those of the round before are not repeated")

	record.complete(json.RawMessage(`{"content":[]}`), later)
	record = stored(t, record)
	require.True(t, record.over())
	require.Nil(t, record.Call, "what no one needs any more is not kept")
}

func stored(t *testing.T, record task) task {
	t.Helper()
	data, err := json.Marshal(record)
	require.NoError(t, err)
	var read task
	require.NoError(t, json.Unmarshal(data, &read))
	return read
}

func TestOptionsOfTasks(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]func(){
		"no server":    func() { InstallTasks(nil, nil) },
		"no tool":      func() { InstallTasks(mcp.NewServer(&mcp.Implementation{}, nil), presentStorage{}) },
		"no name":      func() { WithTool("") },
		"unknown mode": func() { WithTool("x", ToolMode(9)) },
		"named twice": func() {
			InstallTasks(mcp.NewServer(&mcp.Implementation{}, nil), presentStorage{}, WithTool("x"), WithTool("x"))
		},
		"no TTL":         func() { WithTaskTTL(0) },
		"no interval":    func() { WithPollInterval(-1) },
		"no lease":       func() { WithLease(time.Microsecond) },
		"nothing runs":   func() { WithMaxRunning(0) },
		"no principal":   func() { WithTaskPrincipal(nil) },
		"not the server": func() { InstallTasks(mcp.NewServer(&mcp.Implementation{}, nil), nil, WithTool("x")) },
	} {
		require.Panics(t, f, name)
	}
	require.NotPanics(t, func() { // for ever, as some would say
		InstallTasks(mcp.NewServer(&mcp.Implementation{}, nil), presentStorage{}, WithTool("x"),
			WithTaskTTL(math.MaxInt64), WithPollInterval(math.MaxInt64), WithLease(math.MaxInt64))
	})
	require.Positive(t, milliseconds(math.MaxInt64))
	o := defaultTaskOptions()
	WithTaskLogger(nil)(&o)
	require.NotNil(t, o.logger)
}
