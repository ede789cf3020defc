package gosdk

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/seed34611480/session/handle"
)

// install makes the three methods known, so that their params are decoded, and answers them in middleware: there, other
// than in the function of a custom method, it is known who has sent the request.
func (t *Tasks) install() {
	for _, method := range []string{methodGetTask, methodUpdateTask, methodCancelTask} {
		err := mcp.AddReceivingCustomMethod(t.server, method,
			func(context.Context, *mcp.ServerSession, *taskParams) (*ackResult, error) { return nil, errInternal })
		if err != nil {
			panic("gosdk: InstallTasks: the SDK has methods for tasks of its own: " + err.Error())
		}
	}
	t.server.AddReceivingMiddleware(func(next mcp.MethodHandler) mcp.MethodHandler {
		t.next = next
		return t.receive
	})
}

func (t *Tasks) receive(ctx context.Context, method string, req mcp.Request) (mcp.Result, error) {
	switch r := req.(type) {
	case *mcp.CallToolRequest:
		return t.receiveCall(ctx, method, r)
	case *taskRequest:
		return t.serve(ctx, method, r)
	}
	res, err := t.next(ctx, method, req)
	if discovered, ok := res.(*mcp.DiscoverResult); ok && err == nil {
		return advertise(discovered), nil
	}
	return res, err
}

// advertise returns a copy of the result with the extension.
func advertise(discovered *mcp.DiscoverResult) *mcp.DiscoverResult {
	res, capabilities := *discovered, mcp.ServerCapabilities{}
	if res.Capabilities != nil {
		capabilities = *res.Capabilities
	}
	capabilities.Extensions = maps.Clone(capabilities.Extensions)
	capabilities.AddExtension(tasksExtension, nil)
	res.Capabilities = &capabilities
	return &res
}

// receiveCall decides whether a call becomes a task.
func (t *Tasks) receiveCall(ctx context.Context, method string, req *mcp.CallToolRequest) (mcp.Result, error) {
	modes, ok := t.tools[req.Params.Name]
	switch {
	case !ok:
		return t.next(ctx, method, req)
	case !declared(req.Params) && modes.required:
		return nil, errMissingTasks
	case !declared(req.Params):
		return t.next(ctx, method, req)
	case modes.askFirst && req.Params.RequestState == "" && len(req.Params.InputResponses) == 0:
		return t.next(ctx, method, req)
	}
	return t.begin(ctx, req)
}

// begin makes a task of a call. It is stored first: a client that knows its id finds it on every replica.
func (t *Tasks) begin(ctx context.Context, req *mcp.CallToolRequest) (mcp.Result, error) {
	mine, err := t.tasksOf(req.Extra)
	if err != nil {
		return nil, err
	}
	if !t.enter() {
		return nil, errBusy
	}
	r := newRun(ctx, req.Session, req.Extra, mine)
	record := newTask(req.Params, r.id, t.ttl, time.Now())
	id, err := mine.Mint(ctx, record)
	if err != nil {
		t.leave()
		if errors.Is(err, handle.ErrNoOwner) {
			t.log(slog.LevelError, "the principal of a call is not known", err)
			return nil, errInternal
		}
		return nil, t.taskError("create", err)
	}
	t.start(r, id, record)
	return t.created(id, record), nil
}

// tasksOf returns the tasks of the principal that has sent a request.
func (t *Tasks) tasksOf(extra *mcp.RequestExtra) (handle.Owned[task], error) {
	owner, err := t.principal(extra)
	if err != nil {
		return handle.Owned[task]{}, errUnavailable // the function has logged it
	}
	return t.tasks.For(owner), nil
}

// serve answers the methods of the extension.
func (t *Tasks) serve(ctx context.Context, method string, req *taskRequest) (mcp.Result, error) {
	if req.Params == nil || !declared(req.Params) {
		return nil, errMissingTasks
	}
	if !routed(req.Extra, req.Params.TaskID) {
		return nil, errHeaderMismatch
	}
	mine, err := t.tasksOf(req.Extra)
	if err != nil {
		return nil, err
	}
	var res mcp.Result = &ackResult{ResultType: "complete"}
	switch method {
	case methodGetTask:
		res, err = t.get(ctx, mine, req)
	case methodUpdateTask:
		err = t.update(ctx, mine, req)
	case methodCancelTask:
		err = t.cancel(ctx, mine, req)
	default:
		return t.next(ctx, method, req)
	}
	if err != nil {
		return nil, t.taskError(method, err)
	}
	return res, nil
}

func (t *Tasks) get(ctx context.Context, mine handle.Owned[task], req *taskRequest) (mcp.Result, error) {
	record, err := mine.Load(ctx, req.Params.TaskID)
	if err != nil {
		return nil, err
	}
	record = t.attend(newRun(ctx, req.Session, req.Extra, mine), req.Params.TaskID, record)
	return t.detailed(req.Params.TaskID, record), nil
}

// update stores responses first, and only then claims the task, if that were the last ones. When the replica stops in
// between, the task is not lost: the next one that is asked for it claims it.
func (t *Tasks) update(ctx context.Context, mine handle.Owned[task], req *taskRequest) error {
	record, err := mine.Update(ctx, req.Params.TaskID, func(record *task) error {
		return record.answer(req.Params.InputResponses, time.Now())
	})
	if err != nil {
		return err
	}
	t.attend(newRun(ctx, req.Session, req.Extra, mine), req.Params.TaskID, record)
	return nil
}

// cancel ends the task at once, whether or not its runner still lives. The runner learns of it from an event, or with
// the next renewal of its lease, which fails.
func (t *Tasks) cancel(ctx context.Context, mine handle.Owned[task], req *taskRequest) error {
	_, err := mine.Update(ctx, req.Params.TaskID, func(record *task) error {
		if !record.over() {
			record.cancel(time.Now())
		}
		return nil
	})
	if err != nil {
		return err
	}
	if key, err := mine.Key(req.Params.TaskID); err == nil {
		t.wake(key)
	}
	return nil
}
