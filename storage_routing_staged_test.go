package session

import (
	"context"
	"errors"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// stagedRemote is a MemoryStorage whose calls a test can stop: at the request, before their effect, or at the reply,
// after it. It counts the loads, and reports no changes.
type stagedRemote struct {
	*MemoryStorage

	mu    sync.Mutex
	stops map[stopAt][]*stop
	held  []*stop
	loads int
}

type stopAt struct {
	op  string // "load", "store", "delete"
	way string // "request" or "reply"
}

type stop struct {
	release chan struct{}
	once    sync.Once
	err     error // what the caller gets in the place of the answer
}

func newStagedRemote(ttl time.Duration) *stagedRemote {
	return &stagedRemote{MemoryStorage: NewMemoryStorage(ttl), stops: make(map[stopAt][]*stop)}
}

// hold stops the next call of op that is not stopped there already, until the returned function is called.
func (r *stagedRemote) hold(op, way string) (release func()) {
	s := &stop{release: make(chan struct{})}
	r.add(op, way, s)
	return s.open
}

func (s *stop) open() { s.once.Do(func() { close(s.release) }) }

// releaseAll lets a test that has failed end.
func (r *stagedRemote) releaseAll() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.held {
		s.open()
	}
}

func (r *stagedRemote) Watch(context.Context, time.Duration, func(Event)) error {
	return errors.ErrUnsupported
}

// fail lets the next call of op fail: at "request" it has no effect, at "reply" it had it and only the answer is lost.
func (r *stagedRemote) fail(op, way string, err error) {
	s := &stop{release: make(chan struct{}), err: err}
	s.open()
	r.add(op, way, s)
}

func (r *stagedRemote) add(op, way string, s *stop) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stops[stopAt{op, way}] = append(r.stops[stopAt{op, way}], s)
	r.held = append(r.held, s)
}

func (r *stagedRemote) pass(op, way string) error {
	r.mu.Lock()
	at := stopAt{op, way}
	var s *stop
	if len(r.stops[at]) > 0 {
		s, r.stops[at] = r.stops[at][0], r.stops[at][1:]
	}
	r.mu.Unlock()
	if s == nil {
		return nil
	}
	<-s.release // whatever the context says: a remote may ignore it
	return s.err
}

func (r *stagedRemote) Load(ctx context.Context, id string) (*Session, error) {
	r.mu.Lock()
	r.loads++
	r.mu.Unlock()
	if err := r.pass("load", "request"); err != nil {
		return nil, err
	}
	s, err := r.MemoryStorage.Load(context.WithoutCancel(ctx), id)
	if lost := r.pass("load", "reply"); lost != nil {
		return nil, lost
	}
	return s, err
}

func (r *stagedRemote) Store(ctx context.Context, s *Session) error {
	if err := r.pass("store", "request"); err != nil {
		return err
	}
	own := s.clone()
	err := r.MemoryStorage.Store(context.WithoutCancel(ctx), own)
	if lost := r.pass("store", "reply"); lost != nil {
		return lost
	}
	if err == nil {
		Stamp(s, own.Revision())
	}
	return err
}

func (r *stagedRemote) Delete(ctx context.Context, id string) error {
	if err := r.pass("delete", "request"); err != nil {
		return err
	}
	err := r.MemoryStorage.Delete(context.WithoutCancel(ctx), id)
	if lost := r.pass("delete", "reply"); lost != nil {
		return lost
	}
	return err
}

func (r *stagedRemote) loadCount() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.loads
}

// elsewhere changes a session behind the back of the storage under test, as another replica does.
func (r *stagedRemote) elsewhere(t *testing.T, id, value string) {
	t.Helper()
	require.NoError(t, r.MemoryStorage.Store(t.Context(), New(id).With("v", value)))
}

const (
	testID    = "3DQ7JZ2N5W"
	staleness = 2 * time.Second // MaxStaleness, unless a test sets it
)

var errLink error = syscall.ECONNRESET // its text may be shown

// outcome is what a call in the background returned.
type outcome struct {
	value string // of the metadata key "v"
	err   error
}

// loadLater loads testID in the background. In a bubble, synctest.Wait lets it get as far as it can.
func loadLater(ctx context.Context, st Storage) <-chan outcome {
	done := make(chan outcome, 1)
	go func() { done <- loadNow(ctx, st) }()
	return done
}

func loadNow(ctx context.Context, st Storage) outcome {
	s, err := st.Load(ctx, testID)
	if err != nil {
		return outcome{err: err}
	}
	v, _ := s.Get("v")
	return outcome{value: v}
}

func later(f func() error) <-chan error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	return done
}

// scriptedRemote is a stagedRemote whose events a test makes up.
type scriptedRemote struct {
	*stagedRemote
	events chan Event // what Watch reports
}

// brokenOff ends a Watch.
type brokenOff struct{ Event }

func (r *scriptedRemote) Watch(ctx context.Context, _ time.Duration, fn func(Event)) error {
	for {
		select {
		case e := <-r.events:
			if _, ok := e.(brokenOff); ok {
				return errLink
			}
			fn(e)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// report delivers events, and returns when they have been taken in.
func (r *scriptedRemote) report(events ...Event) {
	for _, e := range events {
		r.events <- e
	}
	synctest.Wait()
}

// inScriptedBubble is inBubble with a remote that reports what the test says.
func inScriptedBubble(
	t *testing.T, test func(t *testing.T, remote *scriptedRemote, st *RoutingStorage), opts ...RoutingOption,
) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		remote := &scriptedRemote{newStagedRemote(10 * time.Minute), make(chan Event)}
		st := NewRoutingStorage(remote, 100, opts...)
		defer func() { require.NoError(t, st.Close()) }()
		defer remote.releaseAll()
		test(t, remote, st)
	})
}

// inBubble runs a test of a RoutingStorage over a staged remote with a TTL of ten minutes, in virtual time.
func inBubble(t *testing.T, test func(t *testing.T, remote *stagedRemote, st *RoutingStorage), opts ...RoutingOption) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		remote := newStagedRemote(10 * time.Minute)
		st := NewRoutingStorage(remote, 100, opts...)
		defer func() { require.NoError(t, st.Close()) }()
		defer remote.releaseAll()
		test(t, remote, st)
	})
}

// Age makes local copies older by d: for remotes whose clock a test moves.
func (rt *RoutingStorage) Age(d time.Duration) { rt.cache.Age(d) }
