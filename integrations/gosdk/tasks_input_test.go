package gosdk

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/stretchr/testify/require"
)

// A handler that asks twice under the same key runs as a task, each round on another replica.
func TestRoundsOfATask(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		a, b, c := l.start("a"), l.start("b"), l.start("c")
		id := a.begin("ask", `{"seconds":100}`)
		synctest.Wait()
		res := b.get(id)
		require.Equal(t, taskInputRequired, res.Status)
		require.JSONEq(t, `{"method":"elicitation/create","params":{"mode":"form","message":"who?"}}`,
			string(res.InputRequests["1.name"]))

		answer := func(r *labReplica, key, text string) {
			t.Helper()
			_, err := r.send("alice", methodUpdateTask, id,
				`{"unknown":{"ignored":true},"`+key+`":{"action":"accept","content":{"text":"`+text+`"}}}`)
			require.NoError(t, err)
		}
		answer(b, "1.name", "one")
		synctest.Wait()
		res = a.get(id)
		require.Equal(t, taskInputRequired, res.Status)
		require.Equal(t, []string{"2.name"}, slices.Collect(maps.Keys(res.InputRequests)), "another key")
		answer(c, "1.name", "late")
		require.Equal(t, taskInputRequired, c.status(id), "answered already, and ignored")

		answer(c, "2.name", "two")
		require.Equal(t, taskWorking, a.status(id))
		c.cable.cut.Store(true) // the runner of the last round dies: another one repeats that round, and only that
		requireSaid(t, "b told one by alice; a told two by alice; ", a.await(id, taskWorking))
		answer(b, "2.name", "late")
		requireSaid(t, "b told one by alice; a told two by alice; ", b.get(id))
	})
}

// The replica stops after it has stored the last answer, and before it runs the task.
func TestAnsweredTaskIsNotLost(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		a, b := l.start("a"), l.start("b")
		id := a.begin("ask", `{}`)
		synctest.Wait()
		closing := make(chan struct{})
		go func() { defer close(closing); _ = b.tasks.Close(t.Context()) }()
		<-closing
		_, err := b.send("alice", methodUpdateTask, id, `{"1.name":{"action":"decline"}}`)
		require.NoError(t, err)
		require.Equal(t, taskWorking, b.status(id))
		require.Equal(t, taskWorking, a.status(id), "claims it")
		synctest.Wait()
		require.Equal(t, taskInputRequired, a.status(id))
	})
}

// The storage has taken the claim of a task, and its answer is lost. The handler is called all the same: the task does
// not wait until its runner counts as dead.
func TestClaimWhoseAnswerIsLost(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		a, b := l.start("a"), l.start("b")
		id := a.begin("ask", `{}`)
		synctest.Wait()
		b.cable.afterNext(func() error { // that was the response
			b.cable.afterNext(func() error { return errCut })
			return nil
		})
		_, err := b.send("alice", methodUpdateTask, id, `{"1.name":{"action":"decline"}}`)
		require.NoError(t, err)
		require.Equal(t, taskWorking, b.status(id))
		time.Sleep(time.Second)
		require.Equal(t, taskInputRequired, a.status(id))
	})
}

// A task is cancelled on another replica when it was just claimed. The event comes before the run is known here.
func TestCancelOfWhatWasJustClaimed(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		a, b := l.start("a"), l.start("b")
		id := a.begin("restartable", `{"seconds":600}`)
		over, cancel := context.WithCancel(t.Context())
		cancel()
		require.ErrorIs(t, a.tasks.Close(over), context.Canceled)
		b.cable.afterNext(func() error {
			_, err := a.send("alice", methodCancelTask, id, "")
			synctest.Wait()
			return err
		})
		require.Equal(t, taskWorking, b.status(id))
		time.Sleep(time.Second)
		require.ErrorIs(t, b.cause(), ErrTaskEnded)
	})
}

// On a pipe, a client may begin with an older version of the protocol, and know tasks later.
func TestTaskOfAClientThatBeganOtherwise(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		a := l.start("a")
		older, err := a.server.Connect(t.Context(), newNowhere(), &mcp.ServerSessionOptions{
			State: &mcp.ServerSessionState{InitializeParams: &mcp.InitializeParams{
				ProtocolVersion: legacyVersion,
				Capabilities:    &mcp.ClientCapabilities{Elicitation: &mcp.ElicitationCapabilities{}},
			}},
		})
		require.NoError(t, err)
		defer func() { require.NoError(t, older.Close()) }()
		a.client, older = older, a.client
		id := a.begin("ask", `{}`)
		synctest.Wait()
		require.Equal(t, taskInputRequired, a.status(id))
	})
}

func TestResponsesThatDoNotFit(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		a := l.start("a")
		id := a.begin("ask", `{}`)
		synctest.Wait()
		for _, responses := range []string{
			`{"1.name":7}`, `{"1.name":null}`, `{"1.name":{}}`, `{"1.name":{"roots":[]}}`, `{"1.name":{"action":5}}`,
			`{"1.name":{"role":"user","content":{"type":"text","text":"hi"},"model":"m"}}`,
		} {
			_, err := a.send("alice", methodUpdateTask, id, responses)
			require.ErrorIs(t, err, errBadResponse, responses)
		}
		require.Equal(t, taskInputRequired, a.status(id))
		_, err := a.send("alice", methodUpdateTask, id, `{"name":7,"2.name":{"action":"accept"}}`)
		require.NoError(t, err, "nothing of that is asked")
		require.Equal(t, taskInputRequired, a.status(id))
	})
}

func TestOutcomesOfHandlers(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		a := l.start("a")
		for tool, test := range map[string]struct {
			arguments string
			err       *jsonrpc.Error // nil: it completes with a tool error
		}{
			"panic":    {`{}`, errInternal},
			"exit":     {`{}`, errInternal},
			"error":    {`{}`, &jsonrpc.Error{Code: -32000, Message: "because: no"}},
			"shed":     {`{}`, errBusy},
			"nonsense": {`{}`, errInternal},
			"work":     {`{"size":20000}`, errResultTooLarge},
		} {
			res := a.await(a.begin(tool, test.arguments), taskWorking)
			require.Equal(t, taskFailed, res.Status, tool)
			require.Equal(t, test.err.Code, res.Error.Code, tool)
			require.Equal(t, test.err.Message, res.Error.Message, tool)
			require.Equal(t, test.err.Message, res.StatusMessage, tool)
		}
		res := a.await(a.begin("work", `{"seconds":"many"}`), taskWorking)
		require.Equal(t, taskCompleted, res.Status, "what a tool says is no failure of the task")
		require.Contains(t, string(res.Result), `"isError":true`)
	})
}

func TestStrangersAndLimits(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		a := l.start("a", WithMaxRunning(2))
		id := a.begin("work", `{"seconds":60}`)
		for _, method := range []string{methodGetTask, methodUpdateTask, methodCancelTask} {
			for _, user := range []string{"bob", ""} {
				_, err := a.send(user, method, id, "")
				require.ErrorIs(t, err, errUnknownTask, method)
			}
			for _, unknown := range []string{"", "x", id + "x"} {
				_, err := a.send("alice", method, unknown, "")
				require.ErrorIs(t, err, errUnknownTask, method)
			}
		}
		require.Equal(t, taskWorking, a.status(id))

		_ = a.begin("work", `{"seconds":60}`)
		_, err := a.call("work", `{}`)
		require.ErrorIs(t, err, errBusy)
		time.Sleep(time.Minute)
		synctest.Wait()
		_ = a.begin("work", `{}`)

		huge, err := json.Marshal(map[string]string{"x": string(make([]byte, 20_000))})
		require.NoError(t, err)
		_, err = a.call("work", string(huge))
		require.ErrorIs(t, err, errTaskTooLarge)
		a.cable.cut.Store(true)
		_, err = a.call("work", `{}`)
		require.ErrorIs(t, err, errUnavailable)
		require.Equal(t, status(""), a.status(id))
		a.cable.cut.Store(false)

		_, err = a.tasks.receive(t.Context(), "tools/call", &mcp.CallToolRequest{
			Session: a.client, Params: &mcp.CallToolParamsRaw{Meta: taskMeta(), Name: "work"},
		})
		require.ErrorIs(t, err, errInternal, "no principal: a mistake of the program")
	})
}

func TestWhatTasksLog(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		var logged strings.Builder
		logger := slog.New(slog.NewJSONHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
		a, b := l.start("a", WithTaskLogger(logger)), l.start("b")
		id := a.begin("restartable", `{"seconds":100}`)
		_, err := a.send("bob", methodGetTask, id, "")
		require.ErrorIs(t, err, errUnknownTask)
		_ = a.await(a.begin("panic", `{}`), taskWorking)
		_ = a.await(a.begin("work", `{"size":20000}`), taskWorking)
		asking := a.begin("ask", `{}`)
		synctest.Wait()
		_, err = a.send("alice", methodUpdateTask, asking, `{"1.name":{"secret":true}}`)
		require.ErrorIs(t, err, errBadResponse)
		a.cable.cut.Store(true)
		_, err = a.send("alice", methodGetTask, id, "")
		require.ErrorIs(t, err, errUnavailable)
		time.Sleep(15 * time.Second) // a renewal fails
		a.cable.cut.Store(false)
		requireSaid(t, "a", b.await(id, taskWorking))
		require.NoError(t, a.tasks.Close(t.Context()))
		for _, text := range []string{
			"tasks/get", "a handler has panicked", "too large", "renew a lease", "unavailable", "tasks/update",
		} {
			require.Contains(t, logged.String(), text)
		}
		for _, secret := range []string{id, asking, "alice", "bob", "secret"} {
			require.NotContains(t, logged.String(), secret)
		}
	})
}
