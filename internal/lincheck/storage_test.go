package lincheck

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/internal/redistest"
)

const (
	callers  = 8
	calls    = 1000 // by each caller
	sessions = 4
	patience = time.Minute
)

// backend is a storage with the capabilities that the model covers.
type backend interface {
	session.Storage
	session.Creator
	session.Taker
}

func TestMemoryStorageIsLinearizable(t *testing.T) {
	check(t, session.NewMemoryStorage(time.Hour))
}

// TestRedisStorageIsLinearizable runs several storages on one server, like replicas in production.
func TestRedisStorageIsLinearizable(t *testing.T) {
	server := redistest.Start(t)
	for _, protocol := range []int{2, 3} {
		t.Run(fmt.Sprint("RESP", protocol), func(t *testing.T) {
			var replicas []backend
			for range 3 {
				client := server.Client(t, func(o *redis.Options) { o.Protocol = protocol })
				prefix := fmt.Sprintf("resp%d:", protocol)
				replicas = append(replicas, session.NewRedisStorage(client, time.Hour, session.WithKeyPrefix(prefix)))
			}
			check(t, replicas...)
		})
	}
}

// check runs random calls on a few sessions, and looks for an order in which they could have taken effect.
func check(t *testing.T, replicas ...backend) {
	start := time.Now()
	histories := make([][]porcupine.Operation, callers)
	var running sync.WaitGroup
	for i := range callers {
		running.Go(func() {
			c := &caller{
				index: i, rng: rand.New(rand.NewPCG(1, uint64(i))),
				storage: replicas[i%len(replicas)], known: make(map[string]*session.Session),
			}
			for n := range calls {
				in := c.next(n)
				op := porcupine.Operation{ClientId: i, Input: in, Call: time.Since(start).Nanoseconds()}
				runtime.Gosched() // others get in between, even when a call is shorter than a turn of the scheduler
				op.Output = c.call(t.Context(), in)
				op.Return = time.Since(start).Nanoseconds()
				histories[i] = append(histories[i], op)
			}
		})
	}
	running.Wait()

	history := slices.Concat(histories...)
	result, info := porcupine.CheckOperationsVerbose(model, history, patience)
	if result != porcupine.Ok {
		picture := filepath.Join(t.ArtifactDir(), "history.html")
		require.NoError(t, porcupine.VisualizePath(model, info, picture))
		t.Fatalf("%s; see %s (kept with -artifacts)", result, picture)
	}
	outcomes := make(map[string]int)
	for _, op := range history {
		outcomes[op.Input.(input).kind+" "+op.Output.(output).err]++
	}
	t.Logf("%d calls; found an order in %v: %v", len(history), time.Since(start).Round(time.Millisecond), outcomes)
	for _, outcome := range []string{"store ", "store conflict", "store not found", "create exists", "take not found"} {
		require.NotZero(t, outcomes[outcome], "%q must occur, or the check proves little", outcome)
	}
}

// caller does one call after the other. It stores changes of the state that it saw last, which may be outdated.
type caller struct {
	index   int
	rng     *rand.Rand
	storage backend
	known   map[string]*session.Session
}

func (c *caller) next(n int) input {
	kinds := []string{"load", "load", "store", "store", "store", "create", "delete", "take"}
	in := input{kind: kinds[c.rng.IntN(len(kinds))], id: fmt.Sprint("session-", c.rng.IntN(sessions))}
	if in.kind == "store" || in.kind == "create" {
		in.value = fmt.Sprintf("%d.%d", c.index, n)
	}
	if s := c.known[in.id]; in.kind == "store" && s != nil && c.rng.IntN(4) > 0 {
		in.base = s.Revision()
	}
	return in
}

func (c *caller) call(ctx context.Context, in input) output {
	s := session.New(in.id).With("v", in.value)
	session.Stamp(s, in.base)
	var err error
	switch in.kind {
	case "load":
		s, err = c.storage.Load(ctx, in.id)
	case "take":
		s, err = c.storage.Take(ctx, in.id)
	case "store":
		err = c.storage.Store(ctx, s)
	case "create":
		err = c.storage.Create(ctx, s)
	case "delete":
		if err = c.storage.Delete(ctx, in.id); err == nil {
			return output{}
		}
	}
	if err != nil {
		return output{err: nameOf(err)}
	}
	c.known[in.id] = s
	out := output{revision: s.Revision()}
	out.value, _ = s.Get("v")
	return out
}

func nameOf(err error) string {
	for known, name := range map[error]string{
		session.ErrNotFound: "not found", session.ErrExists: "exists", session.ErrConflict: "conflict",
	} {
		if errors.Is(err, known) {
			return name
		}
	}
	return err.Error() // the model does not know it, and so rejects it
}
