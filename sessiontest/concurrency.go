package sessiontest

import (
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/seed34611480/session"
)

var concurrencyCases = []testCase{
	{"ConcurrentStore", concurrentStore},
	{"ConcurrentUpdate", concurrentUpdate},
	{"ConcurrentCreate", concurrentCreate},
	{"ConcurrentTake", concurrentTake},
	{"ConcurrentMix", concurrentMix},
}

const (
	writers = 8
	rounds  = 20
)

// oneOf runs an operation in all writers at once. It checks that exactly one succeeds and that the others fail with the
// wanted error. It returns the index of the winner.
func (e *env) oneOf(what string, others error, call func(i int) error) int {
	e.Helper()
	var errs [writers]error
	together(writers, func(i int) { errs[i] = call(i) })
	winner, winners := 0, 0
	for i, err := range errs {
		if err == nil {
			winner = i
			winners++
			continue
		}
		e.fails("losing "+what, err, others)
	}
	if winners != 1 {
		e.Fatalf("%s: %d of %d won, want exactly 1", what, winners, writers)
	}
	return winner
}

// concurrentStore: when many store a change to the same revision, exactly one succeeds.
func concurrentStore(e *env) {
	s := e.stored()
	for range rounds {
		var changed [writers]*session.Session
		for i := range changed {
			changed[i] = e.load(s.ID()).With("writer", strconv.Itoa(i))
		}
		winner := e.oneOf("concurrent Store", session.ErrConflict, func(i int) error {
			return e.Storage.Store(e.ctx, changed[i])
		})
		e.untouched("concurrent stores", changed[winner])
	}
}

// concurrentUpdate: no update is lost when every writer loads, changes, stores, and retries on a conflict.
func concurrentUpdate(e *env) {
	s := e.stored()
	e.count(s.ID(), e.Storage)
}

// count increments a counter in a session from many goroutines, which share out the given storages between them.
func (e *env) count(id string, storages ...session.Storage) {
	e.Helper()
	together(writers, func(i int) {
		for range rounds {
			if err := e.increment(storages[i%len(storages)], id); err != nil {
				e.Errorf("load, change, store: %v", err)
				return
			}
		}
	})
	e.settle()
	for _, st := range storages {
		got, _ := e.loadFrom(st, id).Get("count")
		if want := strconv.Itoa(writers * rounds); got != want {
			e.Errorf("counter after %s increments is %s", want, got)
		}
	}
}

// increment is a compare-and-set loop. It gives up after far more attempts than there are writes to conflict with: a
// broken storage may report conflicts for ever.
func (e *env) increment(st session.Storage, id string) error {
	var err error
	for range 4 * writers * rounds {
		s, loadErr := st.Load(e.ctx, id)
		if loadErr != nil {
			return loadErr
		}
		value, _ := s.Get("count")
		n, _ := strconv.Atoi(value)
		err = st.Store(e.ctx, s.With("count", strconv.Itoa(n+1)))
		if !errors.Is(err, session.ErrConflict) {
			return err
		}
	}
	return err
}

// concurrentCreate: when many create the same session, exactly one succeeds.
func concurrentCreate(e *env) {
	c := need(e, e.creator)
	for range rounds {
		id := e.secret(session.NewID())
		var sessions [writers]*session.Session
		for i := range sessions {
			sessions[i] = session.New(id).With("writer", strconv.Itoa(i))
		}
		winner := e.oneOf("concurrent Create", session.ErrExists, func(i int) error {
			return c.Create(e.ctx, sessions[i])
		})
		e.untouched("concurrent creates", sessions[winner])
	}
}

// concurrentTake: when many take the same session, exactly one gets it.
func concurrentTake(e *env) {
	t := need(e, e.taker)
	for range rounds {
		s := e.stored()
		var taken [writers]*session.Session
		winner := e.oneOf("concurrent Take", session.ErrNotFound, func(i int) (err error) {
			taken[i], err = t.Take(e.ctx, s.ID())
			return err
		})
		if taken[winner] == nil {
			e.Fatalf("Take returned neither a session nor an error")
		}
		e.same("taken session", taken[winner], s)
	}
}

// concurrentMix: under any mix of concurrent calls, Load returns a whole session, and the one that was asked for. The
// race detector is the other half of this case.
func concurrentMix(e *env) {
	const (
		sessions = 16
		steps    = 200
	)
	ids := make([]string, sessions)
	for i := range ids {
		ids[i] = e.secret(session.NewID())
	}
	made := func(id string, n int) *session.Session {
		value := strconv.Itoa(n)
		return session.New(id).WithPrincipal(id).With("n", value).WithData([]byte(id + value))
	}
	var failed atomic.Bool
	check := func(what string, err error, expected ...error) {
		for _, want := range expected {
			if errors.Is(err, want) {
				e.discreet(what, err)
				return
			}
		}
		if err != nil && failed.CompareAndSwap(false, true) {
			e.Errorf("%s in a mix of concurrent calls: %v", what, err)
		}
	}
	step := func(ctx context.Context, rng *rand.Rand) {
		id := ids[rng.IntN(sessions)]
		switch n := rng.IntN(10); n {
		case 0:
			check("Delete", e.Storage.Delete(ctx, id))
		case 1, 2:
			check("Store", e.Storage.Store(ctx, made(id, n)))
		case 3:
			check("DeleteExpired", e.Storage.DeleteExpired(ctx, time.Now().Add(-e.TTL)))
		default:
			s, err := e.Storage.Load(ctx, id)
			if err != nil {
				check("Load", err, session.ErrNotFound)
				return
			}
			value, _ := s.Get("n")
			if s.ID() != id || s.Principal() != id || string(s.Data()) != id+value {
				if failed.CompareAndSwap(false, true) {
					e.Errorf("Load returned a session that was never stored: ID %q, Principal %q, n %q, Data %q; asked for %q",
						s.ID(), s.Principal(), value, s.Data(), id)
				}
				return
			}
			check("Store of a change", e.Storage.Store(ctx, s.With("n", "9").WithData([]byte(id+"9"))),
				session.ErrConflict, session.ErrNotFound)
		}
	}
	together(writers, func(i int) {
		rng := rand.New(rand.NewPCG(uint64(i), 0))
		for range steps {
			step(e.ctx, rng)
		}
	})
}
