package gosdk

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/handle"
	"github.com/seed34611480/session/internal/backoff"
)

// run is one call of a handler for a task: a round of it, by one runner.
type run struct {
	id     string // of the lease
	mine   handle.Owned[task]
	ctx    context.Context       // of the request, without its end
	client *mcp.InitializeParams // what is known of the client
	extra  *mcp.RequestExtra
	wake   chan struct{} // holds one element when the task may have changed
}

// newRun returns a run on behalf of the client whose request has led to it.
func newRun(ctx context.Context, client *mcp.ServerSession, extra *mcp.RequestExtra, mine handle.Owned[task]) *run {
	if extra != nil {
		copied := *extra
		copied.CloseSSEStream = nil // the stream of the request has ended
		extra = &copied
	}
	return &run{
		id: rand.Text(), mine: mine, ctx: context.WithoutCancel(ctx), client: client.InitializeParams(),
		extra: extra, wake: make(chan struct{}, 1),
	}
}

// enter takes a place for a run. The caller starts one, or leaves.
func (t *Tasks) enter() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || t.busy >= t.maxRunning {
		return false
	}
	t.busy++
	t.runs.Add(1)
	return true
}

func (t *Tasks) leave() {
	t.mu.Lock()
	t.busy--
	t.mu.Unlock()
	t.runs.Done()
}

// start runs a task that is stored with the run's lease. It takes over the caller's place.
func (t *Tasks) start(r *run, id string, record task) {
	key, err := r.mine.Key(id)
	if err != nil { // it was stored under this key
		t.leave()
		return
	}
	t.mu.Lock()
	t.byKey[key] = r
	t.mu.Unlock()
	go func() {
		defer t.leave()
		t.supervise(r, id, record)
		t.mu.Lock()
		if t.byKey[key] == r {
			delete(t.byKey, key)
		}
		t.mu.Unlock()
	}()
}

// supervise calls the handler, renews the lease until it has returned, and stores the outcome.
func (t *Tasks) supervise(r *run, id string, record task) {
	ctx, end := context.WithCancelCause(r.ctx)
	defer end(nil)
	defer context.AfterFunc(t.running, func() { end(context.Cause(t.running)) })()
	over := time.AfterFunc(time.Until(record.ends()), func() { end(ErrTaskEnded) })
	defer over.Stop()

	returned := make(chan outcome, 1)
	go func() {
		out := failure(errInternal) // of a handler that does not return at all: runtime.Goexit
		defer func() { returned <- out }()
		out = t.call(ctx, r, record)
	}()
	beat := time.NewTimer(t.lease / 3)
	defer beat.Stop()
	for {
		var err error
		select {
		case out := <-returned:
			t.settle(r, id, record, out.unless(context.Cause(t.running), t.tools[record.Call.Name]))
			return
		case <-beat.C:
			err = t.write(r, id, func(record *task) error { record.Lease.Beat++; return nil })
			if err == nil {
				beat.Reset(t.lease / 3)
			} else {
				beat.Reset(t.lease / 12) // sooner, so that short outages cost no lease
			}
		case <-r.wake:
			err = t.look(r, id)
		}
		if errors.Is(err, ErrTaskEnded) {
			end(ErrTaskEnded)
			<-returned // and dropped
			return
		}
		if err != nil {
			t.logSeldom("renew a lease", err)
		}
	}
}

// write changes a task that the run holds, and takes a third of the lease at most. The error matches ErrTaskEnded when
// the run holds it no more.
func (t *Tasks) write(r *run, id string, change func(record *task) error) error {
	ctx, cancel := context.WithTimeout(r.ctx, t.lease/3)
	defer cancel()
	_, err := r.mine.Update(ctx, id, func(record *task) error {
		if !record.heldBy(r.id) {
			return ErrTaskEnded
		}
		return change(record)
	})
	return goneIsEnded(err)
}

// look finds out whether the run still holds its task.
func (t *Tasks) look(r *run, id string) error {
	ctx, cancel := context.WithTimeout(r.ctx, t.lease/3)
	defer cancel()
	record, err := r.mine.Load(ctx, id)
	if err == nil && !record.heldBy(r.id) {
		return ErrTaskEnded
	}
	return goneIsEnded(err)
}

func goneIsEnded(err error) error {
	if errors.Is(err, session.ErrNotFound) || errors.Is(err, session.ErrCorrupt) {
		return ErrTaskEnded
	}
	return err
}

// outcome is a step of the task that the handler has led to.
type outcome struct {
	step    func(record *task, now time.Time) error
	success bool // of the handler
}

// unless returns another outcome when a handler had to stop, and has not succeeded all the same.
func (o outcome) unless(stopped error, modes toolModes) outcome {
	switch {
	case stopped == nil || o.success:
		return o
	case modes.takeOver:
		return outcome{step: func(record *task, _ time.Time) error { record.release(); return nil }}
	default:
		return failure(errRunnerClosed)
	}
}

func failure(err *jsonrpc.Error) outcome {
	return outcome{step: func(record *task, now time.Time) error { record.fail(err, now); return nil }}
}

// call calls the handler, and says what comes of it.
func (t *Tasks) call(ctx context.Context, r *run, record task) (out outcome) {
	defer func() {
		if value := recover(); value != nil {
			t.log(slog.LevelError, "a handler has panicked", fmt.Errorf("panic: %T", value))
			out = failure(errInternal)
		}
	}()
	client, err := t.connect(r)
	if err != nil {
		return failureOf(err)
	}
	defer client.Close()
	call := *record.Call
	res, err := t.next(ctx, "tools/call", &mcp.CallToolRequest{Session: client, Params: &call, Extra: r.extra})
	if err != nil {
		return failureOf(err)
	}
	return returnedBy(res)
}

func returnedBy(res mcp.Result) outcome {
	if result, ok := res.(*mcp.CallToolResult); ok && result != nil && result.InputRequests != nil {
		if len(result.InputRequests) == 0 { // load shedding: a client would call again later
			return failure(errBusy)
		}
		return outcome{success: true, step: func(record *task, now time.Time) error {
			return record.ask(result.InputRequests, result.RequestState, now)
		}}
	}
	encoded, err := json.Marshal(res)
	if err != nil {
		return failureOf(err)
	}
	result, isTool := res.(*mcp.CallToolResult)
	return outcome{success: !isTool || !result.IsError, step: func(record *task, now time.Time) error {
		record.complete(encoded, now)
		return nil
	}}
}

// failureOf is the outcome of an error, which a client without tasks would get.
func failureOf(err error) outcome {
	if wire, ok := errors.AsType[*jsonrpc.Error](err); ok {
		return failure(&jsonrpc.Error{Code: wire.Code, Message: err.Error(), Data: wire.Data})
	}
	return failure(internalError(err.Error()))
}

// settle stores an outcome. During an outage it tries again, until the task is over, or is another one's, or the server
// shuts down.
func (t *Tasks) settle(r *run, id string, record task, out outcome) {
	pause := backoff.Backoff{First: min(50*time.Millisecond, t.lease/3), Most: t.lease / 3}
	for {
		err := t.write(r, id, func(record *task) error { return out.step(record, time.Now()) })
		switch {
		case err == nil || errors.Is(err, ErrTaskEnded):
			return
		case errors.Is(err, session.ErrTooLarge):
			t.log(slog.LevelWarn, "the result of a task is too large", err)
			out = failure(errResultTooLarge)
		case !isOutage(err):
			t.log(slog.LevelError, "an outcome cannot be stored", err)
			out = failure(errInternal)
		default: // an outage, whatever a storage of the caller's own calls it
			t.logSeldom("store an outcome", err)
		}
		if time.Now().After(record.ends()) || pause.Wait(t.running) != nil {
			return
		}
	}
}
