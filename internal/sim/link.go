package sim

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/internal/fence"
)

// link carries a replica's commands to the remote, and the answers back. It is the session.Storage that the replica is
// made with. Fields are guarded by world.mu.
type link struct {
	world   *world
	replica int
	lots    map[string]*lot // for calls, by session; "" is for calls about several sessions
	beats   *lot            // for heartbeats, which have a connection of their own

	connections int           // in use, of Config.Pool
	waiting     []*connection // for one of them, in the order in which they came
	loads       int           // calls of Load that have not ended
	refusals    *rand.Rand

	fences  *lot            // for the calls and messages of fences
	early   *rand.Rand      // for subscriptions that are made too early
	shards  *rand.Rand      // for shard channels
	watches int             // numbers the names of holders
	holders []*fence.Holder // those of this replica's lives

	refusesUntil     time.Duration // calls fail at once
	losesRequests    time.Duration // requests are lost until then, without an error
	losesReplies     time.Duration // replies are lost until then, though the request takes effect
	slowUntil        time.Duration // half of the messages take up to twice the staleness bound
	noReadsUntil     time.Duration // loads are refused, writes and heartbeats are not
	eventsSlowUntil  time.Duration // each event takes up to the staleness bound, one after the other
	eventsStallUntil time.Duration
	pausedUntil      time.Duration // the replica is stopped: it neither sends nor receives
	subscription     *subscription // nil while there is none
}

var (
	errRefused = errors.New("connection refused")
	errReset   = errors.New("connection reset by peer")
	errTimeout = errors.New("i/o timeout")

	errDead     = errors.New("CLUSTERDOWN Hash slot not served")
	errNoMemory = errors.New("OOM command not allowed when used memory > 'maxmemory'")

	errNoPermission = errors.New("NOPERM this user has no permissions to run the 'getex' command")
)

// TTL implements [session.Watcher].
func (l *link) TTL() time.Duration { return l.world.TTL }

// Load implements [session.Storage].
func (l *link) Load(ctx context.Context, id string) (*session.Session, error) {
	l.countLoads(1)
	defer l.countLoads(-1)
	return l.read(ctx, id, l.world.server.load)
}

// Peek implements [session.Peeker].
func (l *link) Peek(ctx context.Context, id string) (*session.Session, error) {
	return l.read(ctx, id, l.world.server.peek)
}

func (l *link) read(
	ctx context.Context, id string, do func(string) (*session.Session, error),
) (*session.Session, error) {
	began := l.world.now()
	var loaded *session.Session
	var answer error
	err := l.call(ctx, id, func() {
		if answer = l.refusesRead(id); answer == nil {
			loaded, answer = do(id)
		}
	})
	switch {
	case err != nil:
		return nil, err
	case errors.Is(answer, session.ErrNotFound):
		l.noteTold(id)
		return nil, answer
	case answer != nil:
		l.noteRefusal(began, answer, id)
		return nil, answer
	}
	return loaded, nil
}

// Revalidate implements [session.Revalidator].
func (l *link) Revalidate(ctx context.Context, uses []session.Use) ([]bool, error) {
	w, began := l.world, l.world.now()
	unchanged := make([]bool, len(uses))
	w.mu.Lock()
	for _, u := range uses {
		w.history.uses = append(w.history.uses, use{place{l.replica, u.ID}, u.Revision, u.At.Sub(w.start)})
	}
	w.mu.Unlock()
	var answer error
	err := l.call(ctx, uses[0].ID, func() {
		l.world.history.Revalidated += len(uses)
		for i, u := range uses { // each by itself: some may take effect although others fail
			if refused := l.refusesRead(u.ID); refused != nil {
				answer = refused
				continue
			}
			unchanged[i] = w.server.revalidate(u.ID, u.Revision, u.At.Sub(w.start))
		}
	})
	switch {
	case err != nil:
		for _, u := range uses {
			l.noteTrouble(u.ID, err)
		}
		return nil, err
	case answer != nil:
		for _, u := range uses {
			l.noteRefusal(began, answer, u.ID)
		}
		return nil, answer
	}
	return unchanged, nil
}

// Store implements [session.Storage].
func (l *link) Store(ctx context.Context, s *session.Session) error {
	return l.write(ctx, s, func(snapshot *session.Session) (uint64, error) {
		return l.world.server.store(snapshot, s.Revision())
	})
}

// Create implements [session.Creator].
func (l *link) Create(ctx context.Context, s *session.Session) error {
	return l.write(ctx, s, l.world.server.create)
}

func (l *link) write(
	ctx context.Context, s *session.Session, do func(*session.Session) (uint64, error),
) error {
	snapshot := s.Detached()
	revision, err := l.commit(ctx, s.ID(), func() (uint64, error) { return do(snapshot) })
	if err != nil {
		return err
	}
	session.Stamp(s, revision)
	return nil
}

// Delete implements [session.Storage].
func (l *link) Delete(ctx context.Context, id string) error {
	_, err := l.commit(ctx, id, func() (uint64, error) {
		l.world.server.remove(id)
		return 0, nil
	})
	return err
}

// Take implements [session.Taker].
func (l *link) Take(ctx context.Context, id string) (*session.Session, error) {
	var taken *session.Session
	_, err := l.commit(ctx, id, func() (_ uint64, err error) {
		taken, err = l.world.server.take(id)
		return 0, err
	})
	if err != nil {
		return nil, err
	}
	return taken, nil
}

// DeleteExpired implements [session.Storage].
func (l *link) DeleteExpired(ctx context.Context, before time.Time) error {
	op := ctx.Value(opKey{}).(*Op)
	return l.call(ctx, "", func() {
		l.world.server.removeIdle(before.Sub(l.world.start))
		op.Committed = l.world.now()
	})
}

// Revoke implements [session.Revoker].
func (l *link) Revoke(ctx context.Context, owner string) (removed int, err error) {
	op := ctx.Value(opKey{}).(*Op)
	number := 0
	err = l.call(ctx, "", func() {
		number = l.world.server.removeOwned(owner)
		op.Committed = l.world.now()
	})
	if err != nil {
		return 0, err
	}
	return number, nil
}

type opKey struct{}

// commit calls the remote for a write, and records in the client's operation what it did there.
func (l *link) commit(ctx context.Context, id string, do func() (uint64, error)) (revision uint64, err error) {
	op := ctx.Value(opKey{}).(*Op)
	var assigned uint64 // not the result: the request may arrive when this call has returned
	var refused, answer error
	err = l.call(ctx, id, func() {
		if refused = l.refusesWrite(id); refused != nil {
			return
		}
		op.Prior = l.world.server.revision(id)
		assigned, answer = do()
		op.Assigned, op.Answer, op.Committed = assigned, outcomeOf(answer), l.world.now()
	})
	switch {
	case err != nil:
		return 0, err
	case refused != nil:
		l.noteTroubleOf(id)
		return 0, refused
	}
	return assigned, answer
}

// noteRefusal records that the remote has refused to answer. When it did so quickly, other sessions must not suffer.
func (l *link) noteRefusal(began time.Duration, err error, id string) {
	switch w := l.world; {
	case w.now()-began >= slowFailure || !errors.Is(err, errDead):
		l.noteTrouble(id, err)
	case w.mayBeDead(id):
		l.noteTroubleOf(id)
	}
}

// noteTroubleOf records trouble with one session, from which the others must not suffer.
func (l *link) noteTroubleOf(id string) {
	l.world.mu.Lock()
	defer l.world.mu.Unlock()
	at := place{l.replica, id}
	l.world.history.troubled[at] = append(l.world.history.troubled[at], l.world.now())
}

// refusesRead returns the error with which the remote refuses a load or a revalidation now, or nil. Called with
// world.mu held, like refusesWrite.
func (l *link) refusesRead(id string) error {
	switch {
	case l.world.now() < l.noReadsUntil:
		return errNoPermission
	case l.world.server.dead(id):
		return errDead
	}
	return nil
}

func (l *link) refusesWrite(id string) error {
	switch {
	case l.world.server.dead(id):
		return errDead
	case l.world.Refusals > 0 && chance(l.refusals, l.world.Refusals):
		return errNoMemory
	}
	return nil
}

// countLoads notes how many loads ask the remote at a time.
func (l *link) countLoads(change int) {
	l.world.mu.Lock()
	defer l.world.mu.Unlock()
	l.loads += change
	h := l.world.history
	h.crowd[l.replica] = max(h.crowd[l.replica], l.loads)
}

func (l *link) noteTold(id string) {
	l.world.mu.Lock()
	defer l.world.mu.Unlock()
	at := place{l.replica, id}
	l.world.history.told[at] = append(l.world.history.told[at], l.world.now())
}

// noteTrouble records that a call failed, unless its caller gave it up.
func (l *link) noteTrouble(id string, err error) {
	if err == nil || errors.Is(err, context.Canceled) {
		return
	}
	l.world.mu.Lock()
	defer l.world.mu.Unlock()
	for _, at := range []place{{l.replica, id}, {l.replica, anySession}} {
		l.world.history.troubled[at] = append(l.world.history.troubled[at], l.world.now())
	}
}
