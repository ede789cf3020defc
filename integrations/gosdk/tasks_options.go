package gosdk

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// TaskOption configures [InstallTasks].
type TaskOption func(o *taskOptions)

type taskOptions struct {
	tools      map[string]toolModes
	ttl        time.Duration
	poll       time.Duration
	lease      time.Duration
	maxRunning int
	anonymous  bool
	principal  func(extra *mcp.RequestExtra) (string, error)
	logger     *slog.Logger
}

// ToolMode says how a tool runs as a task.
type ToolMode int

const (
	// Required: a client that has not declared the extension gets an error that says so, because the tool takes longer
	// than a client would wait. By default such a client waits for the result.
	Required ToolMode = iota + 1

	// AskFirst: a call without input of the client is answered directly, as if the tool were no task, so that the handler
	// can ask with InputRequests before there is a task. A call with InputResponses or a RequestState becomes a task, and
	// what its handler asks then, the client finds with tasks/get. By default every call becomes a task at once.
	AskFirst

	// TakeOver: when the replica that runs the task dies or shuts down, another replica calls the handler again, from the
	// start of its round. For handlers that are idempotent: as the first runner may have been cut off or paused only, both
	// may run at a time for a while, though only one outcome counts. A task that has lost three runners fails. By default
	// it fails with the first.
	TakeOver
)

type toolModes struct{ required, askFirst, takeOver bool }

// WithTool names a tool whose calls become tasks. It panics on an empty name, or one that was given before.
func WithTool(name string, modes ...ToolMode) TaskOption {
	if name == "" {
		panic("gosdk: WithTool: the name is empty")
	}
	var m toolModes
	for _, mode := range modes {
		switch mode {
		case Required:
			m.required = true
		case AskFirst:
			m.askFirst = true
		case TakeOver:
			m.takeOver = true
		default:
			panic(fmt.Sprintf("gosdk: WithTool(%q): unknown mode %d", name, mode))
		}
	}
	return func(o *taskOptions) {
		if _, twice := o.tools[name]; twice {
			panic(fmt.Sprintf("gosdk: WithTool(%q): the tool is named twice", name))
		}
		o.tools[name] = m
	}
}

// WithTaskTTL sets how long after its creation a task ends, with its result, whether it was completed or not. A handler
// that still runs then finds its context ended. The default is 1 hour. It is rounded up to milliseconds. It panics
// unless d is positive.
func WithTaskTTL(d time.Duration) TaskOption {
	mustBePositive("WithTaskTTL", d)
	return func(o *taskOptions) { o.ttl = time.Duration(milliseconds(d)) * time.Millisecond }
}

// WithPollInterval sets how often clients are told to ask for a task. The default is 1 s. It is rounded up to
// milliseconds. It panics unless d is positive.
func WithPollInterval(d time.Duration) TaskOption {
	mustBePositive("WithPollInterval", d)
	return func(o *taskOptions) { o.poll = d }
}

// WithLease sets after which time without a renewal the runner of a task counts as dead. It renews its lease three
// times in that time, which writes the task each time. Choose a longer time than replicas are paused or cut off from
// the storage now and then. The default is 30 s. It panics if d is shorter than 1 ms. All replicas need the same.
func WithLease(d time.Duration) TaskOption {
	if d < time.Millisecond {
		panic(fmt.Sprintf("gosdk: WithLease(%v): must be 1 ms or more", d))
	}
	return func(o *taskOptions) { o.lease = d }
}

// WithMaxRunning sets how many tasks run at a time on this replica. Beyond that, calls are refused with an error that
// tells the client to try again later, and tasks of dead runners are left to others. The default is 1,000. It panics
// unless n is positive.
func WithMaxRunning(n int) TaskOption {
	if n <= 0 {
		panic(fmt.Sprintf("gosdk: WithMaxRunning(%d): must be positive", n))
	}
	return func(o *taskOptions) { o.maxRunning = n }
}

// WithTaskPrincipal sets how it is known who has sent a request, and so who owns a task. It is what [WithPrincipal] is
// for a requestState, with the same default, [Principal]. It panics when the function is nil.
func WithTaskPrincipal(principal func(extra *mcp.RequestExtra) (string, error)) TaskOption {
	if principal == nil {
		panic("gosdk: WithTaskPrincipal: the function is nil")
	}
	return func(o *taskOptions) { o.principal = principal }
}

// AnonymousTasks allows tasks of requests whose principal is not known, for servers without authentication: such a task
// belongs to all who know its id. By default these requests get an error.
func AnonymousTasks() TaskOption {
	return func(o *taskOptions) { o.anonymous = true }
}

// WithTaskLogger sets where failures are logged, those that are repeated in an outage once a minute. No id of a task,
// owner, argument or result is. The default, also for nil, is slog.Default().
func WithTaskLogger(logger *slog.Logger) TaskOption {
	if logger == nil {
		logger = slog.Default()
	}
	return func(o *taskOptions) { o.logger = logger }
}

func defaultTaskOptions() taskOptions {
	return taskOptions{
		tools:      make(map[string]toolModes),
		ttl:        time.Hour,
		poll:       time.Second,
		lease:      30 * time.Second,
		maxRunning: 1000,
		principal:  func(extra *mcp.RequestExtra) (string, error) { return principalOf(extra), nil },
		logger:     slog.Default(),
	}
}

func mustBePositive(option string, d time.Duration) {
	if d <= 0 {
		panic(fmt.Sprintf("gosdk: %s(%v): must be positive", option, d))
	}
}
