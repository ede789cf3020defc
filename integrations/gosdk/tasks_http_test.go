package gosdk

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/internal/redistest"
	"github.com/seed34611480/session/requeststate"
)

// taskClient is a raw client that declares the extension, unless it is plain.
type taskClient struct {
	raw
	plain bool
	named map[string]string // further headers
}

// taskReply is an answer to it.
type taskReply struct {
	reply
	Result taskResult     `json:"result"`
	Error  *jsonrpc.Error `json:"error"`
}

func (c taskClient) send(method string, params map[string]any) taskReply {
	c.t.Helper()
	header := http.Header{"Mcp-Method": {method}, "Mcp-Protocol-Version": {modern}}
	if name, ok := params["name"].(string); ok {
		header.Set("Mcp-Name", name)
	}
	for key, value := range c.named {
		header.Set(key, value)
	}
	params = maps.Clone(params)
	capabilities := map[string]any{"elicitation": map[string]any{}}
	if !c.plain {
		capabilities["extensions"] = map[string]any{tasksExtension: map[string]any{}}
	}
	params["_meta"] = map[string]any{
		mcp.MetaKeyProtocolVersion: modern, mcp.MetaKeyClientCapabilities: capabilities,
	}
	r, _ := c.post(header, map[string]any{"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
	var message taskReply
	_, data, streamed := strings.Cut(r.body, "data: ")
	if !streamed {
		data = r.body
	}
	_ = json.NewDecoder(strings.NewReader(data)).Decode(&message)
	message.reply = r
	return message
}

func (c taskClient) call(name string, arguments map[string]any) taskReply {
	c.t.Helper()
	return c.send("tools/call", map[string]any{"name": name, "arguments": arguments})
}

func (c taskClient) get(id string) taskReply {
	c.t.Helper()
	return c.send(methodGetTask, map[string]any{"taskId": id})
}

func (c taskClient) cancel(id string) taskReply {
	c.t.Helper()
	return c.send(methodCancelTask, map[string]any{"taskId": id})
}

func (c taskClient) answer(id, key, text string) taskReply {
	c.t.Helper()
	return c.send(methodUpdateTask, map[string]any{"taskId": id, "inputResponses": map[string]any{
		key: map[string]any{"action": "accept", "content": map[string]any{"text": text}},
	}})
}

// await asks for a task until it is not in that state any more.
func (c taskClient) await(id string, while status) taskReply {
	c.t.Helper()
	var r taskReply
	require.Eventually(c.t, func() bool {
		r = c.get(id)
		return r.Error == nil && r.Result.Status != while
	}, 20*time.Second, 5*time.Millisecond)
	return r
}

type sleepIn struct {
	Ms   int    `json:"ms"`
	Text string `json:"text"`
}

// newTaskServer returns a server with the tools "sleep", which runs as a task where the client knows tasks, "long",
// which always does, and "wizard", which asks first.
func newTaskServer(t *testing.T, st session.Storage, opts ...TaskOption) *mcp.Server {
	t.Helper()
	server := mcp.NewServer(&mcp.Implementation{Name: "tasks", Version: "1"}, nil)
	tasks := InstallTasks(server, st, append([]TaskOption{
		WithTool("sleep"), WithTool("long", Required), WithTool("wizard", AskFirst),
	}, opts...)...)
	t.Cleanup(func() {
		over, cancel := context.WithCancel(context.Background())
		cancel()
		_ = tasks.Close(over)
	})
	for _, name := range []string{"sleep", "long"} {
		mcp.AddTool(server, &mcp.Tool{Name: name},
			func(ctx context.Context, _ *mcp.CallToolRequest, in sleepIn) (*mcp.CallToolResult, any, error) {
				select {
				case <-time.After(time.Duration(in.Ms) * time.Millisecond):
					return text(in.Text), nil, nil
				case <-ctx.Done():
					return nil, nil, ctx.Err()
				}
			})
	}
	mcp.AddTool(server, &mcp.Tool{Name: "wizard"},
		func(_ context.Context, req *mcp.CallToolRequest, in deployIn) (*mcp.CallToolResult, any, error) {
			next, question, err := wizard(req.Params.RequestState, req.Params.InputResponses)
			if err != nil || question == "" {
				return text(in.Service + " with " + next), nil, err
			}
			return &mcp.CallToolResult{InputRequests: questionTo(question), RequestState: next}, nil, nil
		})
	return server
}

func startTaskFleet(t *testing.T, addr string, opts ...TaskOption) (*fleet, taskClient) {
	t.Helper()
	f := startFleet(t, addr, func(r *replica) *mcp.Server { return newTaskServer(t, r.sessions, opts...) })
	return f, taskClientOf(t, f)
}

func taskClientOf(t *testing.T, f *fleet) taskClient {
	return taskClient{raw: raw{t: t, url: "http://127.0.0.1", web: f.as(alice), token: alice}}
}

func TestTasksOnThreeReplicas(t *testing.T) {
	t.Parallel()
	f, c := startTaskFleet(t, redistest.Start(t).Addr())
	before := time.Now().Truncate(time.Millisecond)
	for i := range 20 { // durable before the client can know the id: each replica knows it at once
		name := strconv.Itoa(i)
		created := c.call("sleep", map[string]any{"ms": 100, "text": name})
		require.Equal(t, "task", created.Result.ResultType, created.body)
		require.EqualValues(t, 3_600_000, created.Result.TTLMs)
		at, err := time.Parse(time.RFC3339, created.Result.CreatedAt)
		require.NoError(t, err)
		require.False(t, at.Before(before))
		id := created.Result.TaskID
		for range f.replicas {
			r := c.get(id)
			require.Nil(t, r.Error, r.body)
			require.Equal(t, "complete", r.Result.ResultType)
			require.Equal(t, created.Result.CreatedAt, r.Result.CreatedAt)
		}
		if i < 2 {
			done := c.await(id, taskWorking)
			require.Equal(t, taskCompleted, done.Result.Status)
			require.Contains(t, string(done.Result.Result), `"text":"`+name+`"`)
		}
	}
	f.requireSpread(t)

	id := c.call("long", map[string]any{"ms": 600_000, "text": ""}).Result.TaskID
	require.JSONEq(t, `{"resultType":"complete"}`, withoutMeta(t, c.cancel(id)))
	for range f.replicas {
		require.Equal(t, taskCancelled, c.get(id).Result.Status)
	}
}

// withoutMeta returns the result of an answer without what the SDK adds.
func withoutMeta(t *testing.T, r taskReply) string {
	t.Helper()
	var message struct {
		Result map[string]any `json:"result"`
	}
	_, data, _ := strings.Cut(r.body, "data: ")
	require.NoError(t, json.NewDecoder(strings.NewReader(data)).Decode(&message), r.body)
	delete(message.Result, "_meta")
	encoded, err := json.Marshal(message.Result)
	require.NoError(t, err)
	return string(encoded)
}

func TestWhoMayAskForATask(t *testing.T) {
	t.Parallel()
	f, c := startTaskFleet(t, redistest.Start(t).Addr())
	id := c.call("long", map[string]any{"ms": 600_000, "text": ""}).Result.TaskID
	require.NotEmpty(t, id)
	with := func(change func(c *taskClient)) taskClient {
		changed := c
		change(&changed)
		return changed
	}
	for name, test := range map[string]struct {
		client taskClient
		err    *jsonrpc.Error
		status int
	}{
		"a stranger": {
			with(func(c *taskClient) { c.token, c.web = mallory, f.as(mallory) }), errUnknownTask, http.StatusBadRequest,
		},
		"of another issuer": {
			with(func(c *taskClient) { c.token, c.web = "other/alice", f.as("other/alice") }), errUnknownTask,
			http.StatusBadRequest,
		},
		"without the extension": {
			with(func(c *taskClient) { c.plain = true }), errMissingTasks, http.StatusBadRequest,
		},
		"routed elsewhere": {
			with(func(c *taskClient) { c.named = map[string]string{"Mcp-Name": "other"} }), errHeaderMismatch,
			http.StatusOK, // the SDK has no status for it
		},
	} {
		for _, r := range []taskReply{test.client.get(id), test.client.answer(id, "k", "v"), test.client.cancel(id)} {
			require.NotNil(t, r.Error, name)
			require.Equal(t, test.err.Code, r.Error.Code, name)
			require.Equal(t, test.err.Message, r.Error.Message, name)
			require.Equal(t, test.status, r.Status, name)
		}
	}
	for _, header := range []string{id, "=?base64?" + base64.StdEncoding.EncodeToString([]byte(id)) + "?="} {
		named := with(func(c *taskClient) { c.named = map[string]string{"Mcp-Name": header} })
		require.Equal(t, taskWorking, named.get(id).Result.Status)
	}
	unknown := c.get("unknown")
	stranger := with(func(c *taskClient) { c.token, c.web = mallory, f.as(mallory) }).get(id)
	require.Equal(t, unknown.body, stranger.body, "the same answer, byte for byte")
}

func TestClientsThatKnowNoTasks(t *testing.T) {
	t.Parallel()
	f, c := startTaskFleet(t, redistest.Start(t).Addr())
	for name, connect := range clients {
		sdk := connect(t, "http://127.0.0.1", f.as(alice), &user{})
		said, isError, err := sdk.tool(t.Context(), "sleep", map[string]any{"ms": 1, "text": name})
		require.NoError(t, err, name)
		require.False(t, isError, name)
		require.Equal(t, name, said)
		_, _, err = sdk.tool(t.Context(), "long", map[string]any{"ms": 1, "text": name})
		require.ErrorContains(t, err, errMissingTasks.Message, name)
	}
	c.plain = true
	r := c.call("long", map[string]any{})
	require.Equal(t, errMissingTasks.Code, r.Error.Code)
	require.JSONEq(t, string(errMissingTasks.Data), string(r.Error.Data))
	require.Contains(t, c.send("server/discover", map[string]any{}).body, `"extensions":{"`+tasksExtension+`":{}}`)
	require.Contains(t, c.send("tasks/list", map[string]any{}).body, `-32601`)

	// The extension does not exist for older versions of the protocol, whatever a client says in its requests.
	old, meta := c.initialize(), taskMeta()
	delete(meta, mcp.MetaKeyProtocolVersion)
	r = taskReply{reply: old.call("tools/call", map[string]any{
		"name": "sleep", "arguments": map[string]any{"ms": 1, "text": "old"}, "_meta": meta,
	})}
	require.Contains(t, r.body, `"text":"old"`)
}

// The first question is asked before there is a task, the others by the task; what travels through the client is
// guarded, and the state of the task does not travel.
func TestTaskThatAsksFirst(t *testing.T) {
	t.Parallel()
	f := startFleet(t, redistest.Start(t).Addr(), func(r *replica) *mcp.Server {
		server := newTaskServer(t, r.sessions)
		server.AddReceivingMiddleware(RequestState(requeststate.NewStored(r.remote)))
		return server
	})
	c := taskClient{raw: raw{t: t, url: "http://127.0.0.1", web: f.as(alice), token: alice}}
	arguments := map[string]any{"service": "api"}
	first := c.call("wizard", arguments)
	require.Equal(t, "input_required", first.Result.ResultType, first.body)
	require.Empty(t, first.Result.TaskID)
	state := first.reply.Result.RequestState
	require.NotContains(t, first.body, `"1:`)

	params := repeated(map[string]any{"name": "wizard", "arguments": arguments}, "1:", "a")
	require.Equal(t, errRejected.Message, c.send("tools/call", params).Error.Message, "a state that was made up")
	created := c.send("tools/call", repeated(params, state, "a"))
	require.Equal(t, "task", created.Result.ResultType, created.body)
	id := created.Result.TaskID
	for round := 1; round < questions; round++ {
		r := c.await(id, taskWorking)
		require.Equal(t, taskInputRequired, r.Result.Status, r.body)
		key := fmt.Sprintf("%d.answer", round)
		require.Contains(t, r.Result.InputRequests, key)
		require.NotContains(t, r.body, "requestState")
		require.JSONEq(t, `{"resultType":"complete"}`, withoutMeta(t, c.answer(id, key, string(rune('a'+round)))))
	}
	r := c.await(id, taskWorking)
	require.Contains(t, string(r.Result.Result), "api with a,b,c,")
}

// What Redis holds is of no use to its readers, while a task runs and when it is done.
func TestTasksAtRest(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	_, c := startTaskFleet(t, server.Addr())
	running := c.call("long", map[string]any{"ms": 600_000, "text": "argument"}).Result.TaskID
	done := c.call("sleep", map[string]any{"ms": 1, "text": "result"}).Result.TaskID
	require.Equal(t, taskCompleted, c.await(done, taskWorking).Result.Status)
	client := server.Client(t)
	keys, err := client.Keys(t.Context(), "*").Result()
	require.NoError(t, err)
	var all strings.Builder
	for _, key := range keys {
		value, err := client.Get(t.Context(), key).Result()
		require.NoError(t, err)
		_, record, _ := strings.Cut(value, "{")
		var stored struct {
			Data []byte `json:"data"`
		}
		require.NoError(t, json.Unmarshal([]byte("{"+record), &stored))
		fmt.Fprintf(&all, "%s\n%s\n%s\n", key, value, stored.Data)
	}
	require.Contains(t, all.String(), "argument")
	require.Contains(t, all.String(), "result")
	for _, secret := range []string{running, done, "alice", "issuer", "Bearer"} {
		require.NotContains(t, all.String(), secret)
	}
}
