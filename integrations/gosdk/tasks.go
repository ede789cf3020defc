package gosdk

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/handle"
)

// Tasks lets tools of a server run as tasks (SEP-2663, the extension io.modelcontextprotocol/tasks): a call of such a
// tool returns at once with the id of a task, the handler runs on, and the client asks for the outcome. The tasks are
// in a [session.Storage], so any replica with the same storage answers tasks/get, tasks/update and tasks/cancel. It is
// safe for concurrent use.
//
//	tasks := gosdk.InstallTasks(server, sessions,
//		gosdk.WithTool("render", gosdk.TakeOver),
//		gosdk.WithTool("deploy", gosdk.Required, gosdk.AskFirst))
//	defer tasks.Close(ctx)
//
// Handlers stay as they are. What one returns becomes the result of the task; an error, or a panic, makes the task
// fail. When it returns InputRequests, the task waits for input, and the handler is called again with the responses, as
// it would be by a client that repeats the call: maybe on another replica. What it sends to the client meanwhile, such
// as its progress, goes nowhere: the extension has no way for that. Only clients that declare the extension get tasks,
// and ask for them; there are no notifications. For all other clients nothing changes.
//
// # The life of a task
//
// A task is stored before the client can know its id. It has one owner, the principal of the call: to others its id is
// unknown. It ends [WithTaskTTL] after it was created. Every change compares and sets: a task that has completed,
// failed or was cancelled never changes again, and of two replicas that run the same task only one can write its
// outcome.
//
// # A runner that dies
//
// The replica that runs a task renews a lease in the task, three times per [WithLease]. Other replicas compare no
// clocks: when one has been asked for a task, and the lease was not renewed for the whole time by its own clock, the
// runner counts as dead, and the task fails, or runs again from the start of its round, here: [TakeOver]. So this needs
// a client that asks, and the token that came with its question is the one that the handler gets. A runner that was
// only paused finds that it has lost its lease; the context of its handler ends, and what it returns is dropped.
//
// # The storage
//
// Each tasks/get costs it one Load. A [session.RoutingStorage] is asked for the present state, by its LoadFresh: a
// client that has answered on one replica must not be asked the same again by another. If the storage is a
// [session.Watcher], a cancel on one replica reaches the runner on another within milliseconds, else with the next
// renewal of the lease. What is stored contains no id of a task that could be used, no owner and no token, but the
// arguments and the result of the call: seal it ([session.NewSealedCodec]) if these are secrets. Servers with other
// tools need a storage of their own, such as with another key prefix: a user could have a task of one of them run by
// another one.
type Tasks struct {
	taskOptions
	server *mcp.Server
	next   mcp.MethodHandler
	tasks  *handle.Store[task]

	running context.Context // of all handlers, and of the watch
	stop    context.CancelCauseFunc
	runs    sync.WaitGroup // handlers, and looks at the tasks of others
	watches sync.WaitGroup

	mu       sync.Mutex // protects following fields
	closed   bool
	busy     int                    // places that are taken, of maxRunning
	byKey    map[string]*run        // by the storage's id of the task
	suspects map[string]*time.Timer // tasks of other runners, by the same; the next look at each
	logged   map[string]time.Time   // see logSeldom
}

// Causes with which the context of a handler ends.
var (
	// ErrTaskEnded: the task was cancelled, or its time is over, or another replica runs it now. What the handler returns
	// is dropped.
	ErrTaskEnded = errors.New("gosdk: the task has ended, or is run by another replica")

	// ErrTasksClosed: [Tasks.Close] waits for the handler to return.
	ErrTasksClosed = errors.New("gosdk: the server shuts down")
)

// InstallTasks adds tasks to a server, for the tools that the options name. Call it once per server, before the server
// is used, and before other middleware is added: a [RequestState] that is added later guards the calls that become
// tasks, too. The storage belongs to the caller, who closes it after the Tasks.
//
// It panics when server or storage is nil, or when no tool is named.
func InstallTasks(server *mcp.Server, storage session.Storage, opts ...TaskOption) *Tasks {
	if server == nil || storage == nil {
		panic("gosdk: InstallTasks: the server or the storage is nil")
	}
	t := &Tasks{
		taskOptions: defaultTaskOptions(),
		server:      server,
		byKey:       make(map[string]*run),
		suspects:    make(map[string]*time.Timer),
		logged:      make(map[string]time.Time),
	}
	for _, opt := range opts {
		opt(&t.taskOptions)
	}
	if len(t.tools) == 0 {
		panic("gosdk: InstallTasks: no tool is named, see WithTool")
	}
	kept := []handle.Option{handle.WithIdleTimeout(session.NoIdleTimeout), handle.WithMaxLifetime(t.ttl)}
	if t.anonymous {
		kept = append(kept, handle.Anonymous())
	}
	t.tasks = handle.New[task](present(storage), "mcp-task", kept...)
	t.running, t.stop = context.WithCancelCause(context.Background())
	t.install()
	if watcher, ok := storage.(session.Watcher); ok {
		t.watches.Go(func() { t.watch(watcher) })
	}
	return t
}

// Close waits until the tasks that run here have come to an end or ask for input. New ones are refused from now on,
// with an error that tells the client to try again; tasks/get, tasks/update and tasks/cancel are still answered. When
// the context ends first, the contexts of the handlers end, with the cause [ErrTasksClosed], and Close waits for them
// to return: a handler that ignores its context holds it up. A task whose handler has then returned an error instead of
// a result fails, or, with [TakeOver], continues at once on the next replica that is asked for it.
//
// The error is that of the context, if it has ended before all handlers had returned. Close may be called several
// times.
func (t *Tasks) Close(ctx context.Context) error {
	t.mu.Lock()
	if !t.closed {
		t.closed = true
		for key, look := range t.suspects {
			if look.Stop() {
				t.runs.Done()
			}
			delete(t.suspects, key)
		}
	}
	t.mu.Unlock()

	var cut error
	waiting := context.AfterFunc(ctx, func() { t.stop(ErrTasksClosed) })
	t.runs.Wait()
	if !waiting() {
		cut = ctx.Err()
	}
	t.stop(ErrTasksClosed)
	t.watches.Wait()
	return cut
}

// present returns a storage whose Load returns the present state, if there is a way to ask for that.
func present(storage session.Storage) session.Storage {
	if fresh, ok := storage.(interface {
		LoadFresh(ctx context.Context, id string) (*session.Session, error)
	}); ok {
		return presentStorage{storage, fresh.LoadFresh}
	}
	return storage
}

type presentStorage struct {
	session.Storage
	load func(ctx context.Context, id string) (*session.Session, error)
}

func (p presentStorage) Load(ctx context.Context, id string) (*session.Session, error) {
	return p.load(ctx, id)
}

// log logs what an operator has to know. Ids, owners and arguments are not among it.
func (t *Tasks) log(level slog.Level, text string, err error) {
	t.logger.Log(context.Background(), level, "tasks: "+text, "error", err)
}

// logPause is the least time between two lines of one text by logSeldom.
const logPause = time.Minute

// logSeldom logs what fails again and again in an outage, for each task that runs.
func (t *Tasks) logSeldom(text string, err error) {
	t.mu.Lock()
	seldom := time.Since(t.logged[text]) >= logPause
	if seldom {
		t.logged[text] = time.Now()
	}
	t.mu.Unlock()
	if seldom {
		t.log(slog.LevelWarn, text, err)
	}
}
