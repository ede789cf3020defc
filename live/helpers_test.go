package live

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
)

const ttl = time.Hour

// thing is the live object of these tests.
type thing struct{ session *session.Session }

// workshop makes things, and notes what becomes of them.
type workshop struct {
	making func(ctx context.Context, s *session.Session) error // nil: things are made at once

	opens atomic.Int64 // calls that have begun

	mu    sync.Mutex // protects following fields
	ended []string   // id and reason of each thing that was closed
}

func (w *workshop) open(ctx context.Context, s *session.Session) (*thing, error) {
	w.opens.Add(1)
	if w.making != nil {
		if err := w.making(ctx, s); err != nil {
			return nil, err
		}
	}
	return &thing{s}, nil
}

func (w *workshop) close(th *thing, reason Reason) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = append(w.ended, fmt.Sprintf("%s %s", th.session.ID(), reason))
}

// ends returns the things that were closed since the last call, as "id reason".
func (w *workshop) ends() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	ended := w.ended
	w.ended = nil
	return ended
}

// setUp returns a set of a workshop's things, which is closed with the test. Events flow to it.
func setUp(t *testing.T, st session.Storage, w *workshop, opts ...Option) *Objects[*thing] {
	t.Helper()
	o := New(st, w.open, w.close, opts...)
	t.Cleanup(func() { require.NoError(t, o.Close()) })
	synctest.Wait()
	return o
}

// requireLeft checks what is left in a set.
func requireLeft(t *testing.T, o *Objects[*thing], slots, taken int) {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	require.Len(t, o.slots, slots)
	require.Equal(t, taken, o.room.taken)
	require.Zero(t, o.room.ending)
	require.Zero(t, o.room.queue.Len())
	require.Zero(t, o.checks.workers)
}

// bubble runs a test in virtual time, with a storage that has the sessions a, b and c.
func bubble(t *testing.T, f func(t *testing.T, st *session.MemoryStorage)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		st := session.NewMemoryStorage(ttl)
		for _, id := range []string{"a", "b", "c"} {
			require.NoError(t, st.Store(t.Context(), session.New(id)))
		}
		f(t, st)
	})
}

// get is a Get that has to succeed.
func get(t *testing.T, o *Objects[*thing], id string) *Ref[*thing] {
	t.Helper()
	ref, err := o.Get(t.Context(), id)
	require.NoError(t, err)
	return ref
}

// use gets a thing, and releases it.
func use(t *testing.T, o *Objects[*thing], id string) *thing {
	t.Helper()
	ref := get(t, o, id)
	defer ref.Release()
	return ref.Object
}

func update(t *testing.T, st session.Storage, id string, change func(*session.Session) *session.Session) {
	t.Helper()
	_, err := session.Update(t.Context(), st, id, func(s *session.Session) (*session.Session, error) {
		return change(s), nil
	})
	require.NoError(t, err)
}

func isClosed(done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
		return false
	}
}

// sleeper returns a making that takes so long, and heeds its context.
func sleeper(d time.Duration) func(context.Context, *session.Session) error {
	return func(ctx context.Context, _ *session.Session) error {
		select {
		case <-time.After(d):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// plain is a storage without capabilities.
type plain struct{ session.Storage }

// watched is a storage that is a Watcher, and cannot be peeked at.
type watched struct {
	session.Storage
	session.Watcher
}

func withoutPeek(st *session.MemoryStorage) watched { return watched{st, st} }

// peekable is a storage whose sessions die as a test wants it, without an event, and that can be peeked at.
type peekable struct {
	watched
	peeker session.Peeker

	mu      sync.Mutex      // protects following fields
	lost    map[string]bool // sessions that are gone
	loads   map[string]int  // of each session
	err     error           // of each Peek
	peeked  []string
	peeking func() // called by each Peek, without the lock
}

func newPeekable(st *session.MemoryStorage) *peekable {
	return &peekable{watched: withoutPeek(st), peeker: st, lost: map[string]bool{}, loads: map[string]int{}}
}

// newReported returns a peekable storage whose events a test makes up.
func newReported(st *session.MemoryStorage) (*peekable, *reporter) {
	storage, events := newPeekable(st), newReporter(st)
	storage.Watcher = events
	return storage, events
}

func (p *peekable) Load(ctx context.Context, id string) (*session.Session, error) {
	p.mu.Lock()
	gone := p.lost[id]
	p.loads[id]++
	p.mu.Unlock()
	if gone {
		return nil, session.ErrNotFound
	}
	return p.watched.Load(ctx, id)
}

func (p *peekable) Peek(ctx context.Context, id string) (*session.Session, error) {
	p.mu.Lock()
	gone, err, peeking := p.lost[id], p.err, p.peeking
	p.peeked = append(p.peeked, id)
	p.mu.Unlock()
	if peeking != nil {
		peeking()
	}
	switch {
	case err != nil:
		return nil, err
	case gone:
		return nil, session.ErrNotFound
	}
	return p.peeker.Peek(ctx, id)
}

func (p *peekable) set(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
}

// peeks returns the ids that were looked at since the last call.
func (p *peekable) peeks() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	peeked := p.peeked
	p.peeked = nil
	return peeked
}

// reporter is a storage that reports what a test wants.
type reporter struct {
	session.Storage
	events chan session.Event // closed: the watch ends
}

func newReporter(st session.Storage) *reporter {
	return &reporter{Storage: st, events: make(chan session.Event)}
}

func (*reporter) TTL() time.Duration { return ttl }

func (r *reporter) Watch(ctx context.Context, _ time.Duration, fn func(session.Event)) error {
	fn(session.Gap{})
	for {
		select {
		case e, ok := <-r.events:
			if !ok {
				return session.ErrUnavailable
			}
			fn(e)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// report returns when the event was taken in.
func (r *reporter) report(e session.Event) {
	r.events <- e
	synctest.Wait()
}

// slow is a storage whose loads wait after the answer is there.
type slow struct {
	session.Storage
	session.Watcher
	delay atomic.Pointer[func()]
}

func (s *slow) Load(ctx context.Context, id string) (*session.Session, error) {
	loaded, err := s.Storage.Load(ctx, id)
	if delay := s.delay.Swap(nil); delay != nil {
		(*delay)()
	}
	return loaded, err
}
