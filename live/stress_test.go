package live

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/internal/realtest"
)

// audited is an object that knows whether it is used as it may be.
type audited struct {
	id     string
	users  atomic.Int64
	closed atomic.Bool
}

// audit counts what is open, and what must not be.
type audit struct {
	t       *testing.T
	random  func(n int) int
	opening sync.Map // by id
	open    atomic.Int64
	most    atomic.Int64
	opens   atomic.Int64
	closes  atomic.Int64
	reasons sync.Map
}

var errFailed = errors.New("failed")

func (a *audit) make(ctx context.Context, s *session.Session) (*audited, error) {
	_, twice := a.opening.LoadOrStore(s.ID(), true)
	assert.False(a.t, twice, "two calls of open for one id")
	defer a.opening.Delete(s.ID())
	now := a.open.Add(1)
	for most := a.most.Load(); now > most && !a.most.CompareAndSwap(most, now); {
		most = a.most.Load()
	}
	switch a.random(8) {
	case 0:
		a.open.Add(-1)
		return nil, errFailed
	case 1:
		time.Sleep(time.Duration(a.random(2000)) * time.Microsecond)
	case 2:
		<-ctx.Done() // it was given up, or its time is over
	}
	a.opens.Add(1)
	return &audited{id: s.ID()}, nil
}

func (a *audit) close(obj *audited, reason Reason) {
	assert.False(a.t, obj.closed.Swap(true), "closed twice")
	assert.Zero(a.t, obj.users.Load(), "closed while it is in use")
	a.reasons.Store(reason, true)
	a.closes.Add(1)
	a.open.Add(-1)
}

// TestStress lets everything happen at the same time: no object is closed twice, or while it is in use, or never, and
// there are never too many.
func TestStress(t *testing.T) {
	const (
		workers, rounds = 16, 1500
		ids, objects    = 24, 8
	)
	st := newPeekable(session.NewMemoryStorage(30 * time.Millisecond))
	st.Watcher = flaky{st.Watcher}
	a := &audit{t: t, random: rand.IntN}
	o := New(st, a.make, a.close, WithMaxObjects(objects), WithOpenTimeout(3*time.Millisecond),
		WithSame(func(before, after *session.Session) bool { return before.Principal() == after.Principal() }))
	ctx := t.Context()
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for range rounds {
				id := fmt.Sprint("s", rand.IntN(ids))
				switch rand.IntN(16) {
				case 0:
					_ = st.Delete(ctx, id)
				case 1:
					_, _ = session.Update(ctx, st, id, func(s *session.Session) (*session.Session, error) {
						return s.WithPrincipal(strconv.Itoa(rand.IntN(2))), nil
					})
				case 2, 3, 4:
					_ = st.Store(ctx, session.New(id).WithExpiresAt(time.Now().Add(time.Second)))
				case 5:
					time.Sleep(time.Duration(rand.IntN(3000)) * time.Microsecond)
				default:
					a.use(ctx, o, id)
				}
			}
		})
	}
	all.Wait()
	require.NoError(t, o.Close())
	require.Equal(t, a.opens.Load(), a.closes.Load(), "none is left")
	require.Zero(t, a.open.Load())
	require.LessOrEqual(t, a.most.Load(), int64(objects))
	require.Empty(t, o.slots)
	require.Zero(t, o.room.taken)
	for _, reason := range []Reason{Removed, Superseded, Evicted, Discarded, Abandoned} {
		_, seen := a.reasons.Load(reason)
		require.True(t, seen, reason)
	}
	t.Logf("%d opened and closed, at most %d at a time", a.opens.Load(), a.most.Load())
}

// use holds an object for a while.
func (a *audit) use(ctx context.Context, o *Objects[*audited], id string) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(rand.IntN(4000))*time.Microsecond)
	defer cancel()
	ref, err := o.Get(ctx, id)
	if err != nil {
		return
	}
	obj := ref.Object
	assert.Equal(a.t, id, obj.id)
	obj.users.Add(1)
	assert.False(a.t, obj.closed.Load(), "handed out after it was closed")
	if rand.IntN(4) == 0 {
		time.Sleep(time.Duration(rand.IntN(1000)) * time.Microsecond)
	}
	assert.False(a.t, obj.closed.Load(), "closed while it is in use")
	obj.users.Add(-1)
	if rand.IntN(8) == 0 {
		ref.Discard()
	}
	ref.Release()
}

// flaky is a Watcher whose watches end now and then.
type flaky struct{ session.Watcher }

func (f flaky) Watch(ctx context.Context, heartbeat time.Duration, fn func(session.Event)) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	return f.Watcher.Watch(ctx, heartbeat/100, fn)
}

// TestNoGoroutineIsLeft opens and closes 10,000 objects, each with a timer, in every way.
func TestNoGoroutineIsLeft(t *testing.T) {
	st := session.NewMemoryStorage(ttl)
	backend := startBackend(t, "unix")
	before := runtime.NumGoroutine()
	o := New(st, backend.dial, hangUp, WithMaxObjects(64))
	var all sync.WaitGroup
	for worker := range 8 {
		all.Go(func() {
			for i := range 10_000 / 8 {
				id := fmt.Sprintf("%d-%d", worker, i)
				assert.NoError(t, st.Store(t.Context(), session.New(id)))
				ref, err := o.Get(t.Context(), id)
				if !assert.NoError(t, err) {
					return
				}
				switch i % 4 {
				case 0:
					assert.NoError(t, st.Delete(t.Context(), id))
				case 1:
					ref.Discard()
				}
				ref.Release()
			}
		})
	}
	all.Wait()
	require.NoError(t, o.Close())
	realtest.Await(t, "all connections", func() bool { return backend.accepted.Load() == 10_000 })
	realtest.Await(t, "the end of all connections", func() bool { return backend.open.Load() == 0 })
	realtest.Await(t, "the end of all goroutines", func() bool { return runtime.NumGoroutine() <= before })
}
