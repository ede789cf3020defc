package gosdk

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
)

// lab has replicas on one storage, in virtual time.
type lab struct {
	t      *testing.T
	shared *session.MemoryStorage
	via    func(c *cable) session.Storage // what a replica uses; nil: the cable
}

// inLab runs a test in virtual time.
func inLab(t *testing.T, test func(t *testing.T, l *lab)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		test(t, &lab{t: t, shared: session.NewMemoryStorage(time.Hour, session.WithMaxSize(10_000))})
	})
}

// cable is a replica's way to the storage. While it is cut, the replica is what others see of one that is dead, paused,
// or cut off.
type cable struct {
	*session.MemoryStorage

	cut   atomic.Bool
	cutAs error // nil: errCut
	after atomic.Pointer[func() error]
}

// afterNext has f called, and its error returned, when the next Store has taken effect.
func (c *cable) afterNext(f func() error) { c.after.Store(&f) }

var errCut = fmt.Errorf("the cable is cut: %w", session.ErrUnavailable)

func (c *cable) Load(ctx context.Context, id string) (*session.Session, error) {
	if c.cut.Load() {
		return nil, cmp.Or(c.cutAs, errCut)
	}
	return c.MemoryStorage.Load(ctx, id)
}

func (c *cable) Store(ctx context.Context, s *session.Session) error {
	if c.cut.Load() {
		return cmp.Or(c.cutAs, errCut)
	}
	err := c.MemoryStorage.Store(ctx, s)
	if after := c.after.Swap(nil); err == nil && after != nil {
		return (*after)()
	}
	return err
}

func (c *cable) Watch(ctx context.Context, heartbeat time.Duration, fn func(session.Event)) error {
	return c.MemoryStorage.Watch(ctx, heartbeat, func(e session.Event) {
		if !c.cut.Load() {
			fn(e)
		}
	})
}

// labReplica is a server with tasks.
type labReplica struct {
	t      *testing.T
	name   string
	cable  *cable
	tasks  *Tasks
	server *mcp.Server
	client *mcp.ServerSession

	calls atomic.Int64 // of the handler of "work"

	mu    sync.Mutex
	ended error // the cause of the end of the last handler that was told to end
}

type workIn struct {
	Seconds  int  `json:"seconds,omitempty"`
	Stubborn bool `json:"stubborn,omitempty"` // ignores its context
	Size     int  `json:"size,omitempty"`     // of the result
}

// start starts a replica. Its tools "work" and "restartable" take a while, and return the replica's name.
func (l *lab) start(name string, opts ...TaskOption) *labReplica {
	l.t.Helper()
	r := &labReplica{t: l.t, name: name, cable: &cable{MemoryStorage: l.shared}}
	var storage session.Storage = r.cable
	if l.via != nil {
		storage = l.via(r.cable)
	}
	r.server = mcp.NewServer(&mcp.Implementation{Name: name, Version: "1"}, &mcp.ServerOptions{KeepAlive: time.Second})
	r.tasks = InstallTasks(r.server, storage, append([]TaskOption{
		WithTool("work"), WithTool("restartable", TakeOver), WithTool("panic"), WithTool("ask", TakeOver),
		WithTool("error"), WithTool("shed"), WithTool("nonsense"), WithTool("exit"),
	}, opts...)...)
	for _, tool := range []string{"work", "restartable"} {
		mcp.AddTool(r.server, &mcp.Tool{Name: tool}, r.work)
	}
	type none struct{}
	mcp.AddTool(r.server, &mcp.Tool{Name: "panic"},
		func(context.Context, *mcp.CallToolRequest, none) (*mcp.CallToolResult, any, error) { panic("secret") })
	mcp.AddTool(r.server, &mcp.Tool{Name: "exit"},
		func(context.Context, *mcp.CallToolRequest, none) (*mcp.CallToolResult, any, error) {
			runtime.Goexit()
			return nil, nil, nil
		})
	r.server.AddTool(&mcp.Tool{Name: "error", InputSchema: map[string]any{"type": "object"}},
		func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			return nil, fmt.Errorf("because: %w", &jsonrpc.Error{Code: -32000, Message: "no"})
		})
	mcp.AddTool(r.server, &mcp.Tool{Name: "shed"},
		func(context.Context, *mcp.CallToolRequest, none) (*mcp.CallToolResult, any, error) {
			return &mcp.CallToolResult{InputRequests: mcp.InputRequestMap{}, RequestState: "later"}, nil, nil
		})
	mcp.AddTool(r.server, &mcp.Tool{Name: "nonsense"},
		func(context.Context, *mcp.CallToolRequest, none) (*mcp.CallToolResult, any, error) {
			return &mcp.CallToolResult{InputRequests: mcp.InputRequestMap{"x": nil}}, nil, nil
		})
	mcp.AddTool(r.server, &mcp.Tool{Name: "ask"}, r.ask)
	var err error
	r.client, err = r.tasks.connect(&run{ctx: context.Background()})
	require.NoError(l.t, err)
	l.t.Cleanup(func() {
		over, cancel := context.WithCancel(context.Background())
		cancel()
		_ = r.tasks.Close(over)
		require.NoError(l.t, r.client.Close())
	})
	return r
}

func (r *labReplica) work(
	ctx context.Context, req *mcp.CallToolRequest, in workIn,
) (*mcp.CallToolResult, any, error) {
	r.calls.Add(1)
	done := time.NewTimer(time.Duration(in.Seconds) * time.Second)
	defer done.Stop()
	ended := ctx.Done()
	if in.Stubborn {
		ended = nil
	}
	select {
	case <-done.C:
		progress := &mcp.ProgressNotificationParams{Message: "goes nowhere"}
		if err := req.Session.NotifyProgress(ctx, progress); err != nil {
			return nil, nil, err
		}
		return said(r.name + fmt.Sprintf("%*s", in.Size, "")), nil, nil
	case <-ended:
		r.mu.Lock()
		r.ended = context.Cause(ctx)
		r.mu.Unlock()
		return nil, nil, ctx.Err()
	}
}

// ask asks twice, with the same key, and then says who was told what.
func (r *labReplica) ask(
	ctx context.Context, req *mcp.CallToolRequest, in workIn,
) (*mcp.CallToolResult, any, error) {
	told := req.Params.RequestState
	if answer, ok := req.Params.InputResponses["name"].(*mcp.ElicitResult); ok {
		told += fmt.Sprintf("%s told %v by %s; ", r.name, answer.Content["text"], req.Extra.TokenInfo.UserID)
	}
	if len(told) == 0 || len(told) < 30 {
		question := mcp.InputRequestMap{"name": &mcp.ElicitParams{Message: "who?"}}
		return &mcp.CallToolResult{InputRequests: question, RequestState: told}, nil, nil
	}
	if _, _, err := r.work(ctx, req, in); err != nil {
		return nil, nil, err
	}
	return said(told), nil, nil
}

func said(s string) *mcp.CallToolResult {
	return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: s}}}
}

func (r *labReplica) cause() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ended
}

// taskMeta is what a client sends that has declared the extension.
func taskMeta() mcp.Meta {
	return mcp.Meta{
		mcp.MetaKeyProtocolVersion: modern,
		mcp.MetaKeyClientCapabilities: map[string]any{
			"extensions": map[string]any{tasksExtension: map[string]any{}},
		},
	}
}

func tokenOf(user string) *mcp.RequestExtra {
	return &mcp.RequestExtra{TokenInfo: &auth.TokenInfo{UserID: user}}
}

// call calls a tool for alice.
func (r *labReplica) call(tool, arguments string) (*taskResult, error) {
	res, err := r.tasks.receive(r.t.Context(), "tools/call", &mcp.CallToolRequest{
		Session: r.client, Extra: tokenOf("alice"),
		Params: &mcp.CallToolParamsRaw{Meta: taskMeta(), Name: tool, Arguments: []byte(arguments)},
	})
	if err != nil {
		return nil, err
	}
	return res.(*taskResult), nil
}

// begin calls a tool for alice, which must become a task.
func (r *labReplica) begin(tool, arguments string) string {
	r.t.Helper()
	res, err := r.call(tool, arguments)
	require.NoError(r.t, err)
	require.Equal(r.t, "task", res.ResultType)
	require.Equal(r.t, taskWorking, res.Status)
	return res.TaskID
}

func (r *labReplica) send(user, method, id string, responses string) (mcp.Result, error) {
	params := &taskParams{ParamsBase: mcp.ParamsBase{Meta: taskMeta()}, TaskID: id}
	if responses != "" {
		params.InputResponses = rawMap(r.t, responses)
	}
	return r.tasks.receive(r.t.Context(), method, &taskRequest{Session: r.client, Extra: tokenOf(user), Params: params})
}

// get asks for a task of alice's.
func (r *labReplica) get(id string) *taskResult {
	r.t.Helper()
	res, err := r.send("alice", methodGetTask, id, "")
	require.NoError(r.t, err)
	return res.(*taskResult)
}

// status is that of get. An outage has none.
func (r *labReplica) status(id string) status {
	r.t.Helper()
	res, err := r.send("alice", methodGetTask, id, "")
	if errors.Is(err, errUnavailable) {
		return ""
	}
	require.NoError(r.t, err)
	return res.(*taskResult).Status
}

// await asks for a task until it is not in that state any more.
func (r *labReplica) await(id string, while status) *taskResult {
	r.t.Helper()
	for range 10_000 {
		if res := r.get(id); res.Status != while {
			return res
		}
		time.Sleep(time.Second)
	}
	r.t.Fatalf("the task is still %s", while)
	return nil
}

// requireSaid checks that a task has completed with a text.
func requireSaid(t *testing.T, text string, res *taskResult) {
	t.Helper()
	require.Equal(t, taskCompleted, res.Status, res.StatusMessage)
	require.JSONEq(t, fmt.Sprintf(`{"resultType":"complete","content":[{"type":"text","text":%q}]}`, text),
		string(res.Result))
}

func rawMap(t *testing.T, text string) map[string]json.RawMessage {
	t.Helper()
	var m map[string]json.RawMessage
	require.NoError(t, json.Unmarshal([]byte(text), &m))
	return m
}
