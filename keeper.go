package session

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/seed34611480/session/internal/backoff"
	"github.com/seed34611480/session/internal/errs"
)

// keeper keeps the sessions of one storage alive, for all callers of [KeepAlive]. The zero value is ready for use,
// after of. It has two goroutines for as long as there are callers: one renews and looks, a round at a time, and one
// watches. The ExpiresAt of a session has a timer of its own, so that a storage that does not answer delays no end.
type keeper struct {
	once sync.Once
	ask  keepable

	mu       sync.Mutex // protects following fields, and those of kept
	closed   bool
	sessions map[string]*kept
	looks    map[*kept]struct{} // those to look at: they may have changed, or be gone
	nextScan time.Time          // when the next renewal is due
	wake     chan struct{}      // holds one element when there may be something to do
	stop     context.CancelFunc // ends the goroutines
	ended    []func()           // to be called without the lock, see unlock

	running sync.WaitGroup
}

// kept is a session that is kept alive.
type kept struct {
	id      string
	callers map[*caller]struct{}

	loaded    bool   // revision, expiresAt and period are those of the session
	revision  uint64 // 0 also for a storage that counts none
	expiresAt time.Time
	period    time.Duration // how often it is renewed
	due       time.Time     // when it is renewed next
	timer     *time.Timer   // for expiresAt; nil: there is none
	answers   uint64        // that were taken in: an answer to an older question may be outdated
}

type caller struct{ end context.CancelCauseFunc }

const (
	keepBatch       = 64              // sessions that are renewed with one command
	keepConcurrency = 16              // calls at a time, where there is one for each session
	keepTimeout     = 5 * time.Second // of a call
	keepHeartbeat   = 2 * time.Second // of the watch
	keepRetry       = 50 * time.Millisecond
	keepMaxRetry    = 5 * time.Second
	minKeepPeriod   = 10 * time.Millisecond
	noTTLPeriod     = time.Minute // for a storage that does not tell its TTL, and for sessions without an idle time
)

// keep adds a caller, whose context end ends, and loads the session. It returns what removes the caller again.
func (k *keeper) keep(ctx context.Context, id string, end context.CancelCauseFunc) (leave func()) {
	c := &caller{end}
	k.mu.Lock()
	if k.closed {
		k.mu.Unlock()
		end(opErr("keep alive", ErrClosed))
		return func() {}
	}
	e := k.sessions[id]
	if e == nil {
		e = k.addLocked(id)
	}
	// Before the load: (1) the session is loaded, (2) it is deleted, which is reported, (3) the caller is added, and never
	// learns of it.
	e.callers[c] = struct{}{}
	k.mu.Unlock()

	s, err := k.ask.load(ctx, id)
	k.mu.Lock()
	defer k.unlock()
	if _, waits := e.callers[c]; waits {
		k.joinLocked(e, c, s, err)
	}
	return func() {
		k.mu.Lock()
		defer k.unlock()
		k.leaveLocked(e, c)
	}
}

// joinLocked takes in the first answer for a caller.
func (k *keeper) joinLocked(e *kept, c *caller, s *Session, err error) {
	switch {
	case err == nil:
		k.foundLocked(e, s)
	case isEnd(inOurTerms("keep alive", err)):
		// The session may have been stored since, and others have found it. They are told by a look of their own.
		cause := inOurTerms("keep alive", err)
		k.ended = append(k.ended, func() { c.end(cause) })
		if k.leaveLocked(e, c); len(e.callers) > 0 {
			k.lookLocked(e)
		}
	default:
		k.lookLocked(e) // later
	}
}

func (k *keeper) addLocked(id string) *kept {
	if len(k.sessions) == 0 {
		k.startLocked()
	}
	e := &kept{id: id, callers: make(map[*caller]struct{})}
	k.sessions[id] = e
	return e
}

func (k *keeper) startLocked() {
	ctx, stop := context.WithCancel(context.Background())
	wake := make(chan struct{}, 1)
	k.stop, k.wake = stop, wake
	k.sessions, k.looks, k.nextScan = make(map[string]*kept), make(map[*kept]struct{}), time.Time{}
	k.running.Go(func() { k.run(ctx, wake) })
	if k.ask.watch != nil {
		k.running.Go(func() { k.watch(ctx) })
	}
}

func (k *keeper) leaveLocked(e *kept, c *caller) {
	delete(e.callers, c)
	if len(e.callers) == 0 {
		k.removeLocked(e)
	}
}

func (k *keeper) removeLocked(e *kept) {
	if k.sessions[e.id] != e {
		return
	}
	delete(k.sessions, e.id)
	delete(k.looks, e)
	if e.timer != nil {
		e.timer.Stop()
	}
	if len(k.sessions) == 0 {
		k.stop()
		if k.ask.news != nil {
			k.ask.news.KeepEnds()
		}
	}
}

// endLocked ends all callers of a session.
func (k *keeper) endLocked(e *kept, cause error) {
	for c := range e.callers {
		delete(e.callers, c)
		k.ended = append(k.ended, func() { c.end(cause) })
	}
	k.removeLocked(e)
}

// unlock unlocks mu, and then ends the contexts of those who have to be told.
func (k *keeper) unlock() {
	ended := k.ended
	k.ended = nil
	k.mu.Unlock()
	for _, end := range ended {
		end()
	}
}

// close ends all callers, and waits for the goroutines.
func (k *keeper) close() {
	k.mu.Lock()
	k.closed = true
	k.endAllLocked(opErr("keep alive", ErrClosed))
	k.unlock()
	k.running.Wait()
}

func (k *keeper) endAllLocked(cause error) {
	for _, e := range k.sessions {
		k.endLocked(e, cause)
	}
}

// foundLocked takes in the present state of a session.
func (k *keeper) foundLocked(e *kept, s *Session) {
	e.answers++
	if s.Revision() < e.revision {
		return // an older answer
	}
	// Otherwise it is due when it was due before: but not if its idle time has become shorter, and may be over by then.
	anew := !e.loaded || k.period(s) < e.period
	e.loaded, e.revision, e.expiresAt, e.period = true, s.Revision(), s.ExpiresAt(), k.period(s)
	if anew {
		k.dueLocked(e, e.nextDue())
		k.wakeLocked() // it may rest for longer than that after a failure, see maxRest
	}
	if e.timer != nil {
		e.timer.Stop()
		e.timer = nil
	}
	if !e.expiresAt.IsZero() {
		e.timer = time.AfterFunc(time.Until(e.expiresAt), func() { k.expire(e) })
	}
}

// expire ends a session whose ExpiresAt has come, by the wall clock.
func (k *keeper) expire(e *kept) {
	k.mu.Lock()
	defer k.unlock()
	switch left := time.Until(e.expiresAt); {
	case k.sessions[e.id] != e || e.expiresAt.IsZero() || e.timer == nil:
	case left <= 0:
		k.endLocked(e, opErr("keep alive", ErrNotFound))
	default: // it was set anew, or the clock was
		e.timer.Reset(left)
	}
}

// period returns how often a session is renewed.
func (k *keeper) period(s *Session) time.Duration {
	idle := s.IdleTimeout()
	if idle == 0 {
		idle = k.ask.ttl
	}
	if idle <= 0 {
		return noTTLPeriod
	}
	return max(idle/4, minKeepPeriod)
}

// nextDue spreads renewals: sessions that began together are not renewed together for ever.
func (e *kept) nextDue() time.Time {
	return time.Now().Add(e.period/2 + rand.N(e.period/2)) //nolint:gosec // not a secret
}

func (k *keeper) dueLocked(e *kept, due time.Time) {
	e.due = due
	if k.nextScan.IsZero() || due.Before(k.nextScan) {
		k.nextScan = due
		k.wakeLocked()
	}
}

func (k *keeper) lookLocked(e *kept) {
	if k.sessions[e.id] == e {
		k.looks[e] = struct{}{}
		k.wakeLocked()
	}
}

func (k *keeper) wakeLocked() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// watch hears of changes and removals, until the context ends.
func (k *keeper) watch(ctx context.Context) {
	pause := backoff.Backoff{First: keepRetry, Most: keepMaxRetry}
	for {
		err := k.ask.watch(ctx, keepHeartbeat, func(e Event) {
			if _, ok := e.(Alive); ok {
				pause.Reset()
				return
			}
			k.mu.Lock()
			defer k.unlock()
			if ctx.Err() == nil {
				k.eventLocked(e)
			}
		})
		switch {
		case ctx.Err() != nil, errs.Unsupported(err): // then renewals tell
			return
		case errors.Is(err, ErrClosed):
			k.mu.Lock()
			if ctx.Err() == nil {
				k.endAllLocked(opErr("keep alive", ErrClosed))
			}
			k.unlock()
			return
		}
		if pause.Wait(ctx) != nil {
			return
		}
	}
}

func (k *keeper) eventLocked(event Event) {
	switch event := event.(type) {
	case Changed:
		if e := k.sessions[event.ID]; e != nil && event.Revision > e.revision {
			k.lookLocked(e)
		}
	case Removed:
		e := k.sessions[event.ID]
		switch {
		case e == nil:
		case e.revision == 0 || event.Revision == 0:
			// The event may be older than the session: (1) a delete of the id, under which there is nothing, (2) the session is
			// created, (3) it is loaded here, (4) the event arrives.
			k.lookLocked(e)
		case event.Revision >= e.revision:
			k.endLocked(e, opErr("keep alive", ErrNotFound))
		}
	case Gap: // each of them may have ended: ask for all
		now := time.Now()
		for _, e := range k.sessions {
			if !e.loaded { // its load may have been answered before events flowed
				k.lookLocked(e)
			} else {
				k.dueLocked(e, now)
			}
		}
	}
}
