package session

import (
	"context"
	"iter"
	"time"
)

// Storage keeps sessions. Implementations are safe for concurrent use.
//
// The contract, which the package sessiontest checks:
//
//   - An id that [ValidateID] refuses, or a nil session, is [ErrInvalidID], before anything else happens.
//   - Callers may keep a returned session. It is immutable, but for its revision: a caller that stores it in another
//     storage has it stamped there. So a storage keeps a snapshot of its own, never a pointer that a caller has, and
//     returns from each Load a session of its own, which carries the storage's own revision when it is returned. (A
//     cache may return one session to many callers, for as long as it still carries the revision that was loaded.)
//   - A session that is not loaded for its idle time is gone; each Load or Store starts that time anew. It is the
//     session's own [Session.IdleTimeout], or the storage's TTL if it has none. A session is also gone at its
//     [Session.ExpiresAt], the only end of one with [NoIdleTimeout]. Gone means [ErrNotFound], even while its data
//     still exists.
//   - Revisions of an id grow, over a delete too: they tell a session from its successor, and which of two is newer.
//   - When the context ends first, the error matches the context's. The operation was not executed, or its outcome is
//     unknown. A Load that need not wait may answer all the same.
//   - A call that fails returns no session, and leaves the revision of the caller's session as it was. After
//     ErrNotFound or ErrConflict the next Load through the same storage returns the present state, however much it
//     caches.
//   - A storage that cannot be reached returns [ErrUnavailable], never [ErrNotFound].
//
// Capabilities beyond these four methods are small interfaces of their own: [Creator], [Replacer], [Taker], [Peeker],
// [Revoker], [Lister], [Expirer], [Limiter], [Revalidator], [Watcher] and [io.Closer]. They are optional. Ask for one
// with a type assertion; a storage that wraps another may also return [errors.ErrUnsupported] from a call. [Create] and
// [Take] do both, and say what is missing.
type Storage interface {
	// Store writes a session and, on success, sets its revision.
	//
	// A session with revision 0 is written unconditionally: it creates the session, or replaces the one with its id. A
	// session that came from the storage (its revision is not 0) is written only if the stored revision is still the one
	// that it came from. Otherwise nothing is written, and the error is ErrNotFound when the session was deleted or has
	// expired, ErrConflict when it was changed. So a deleted session cannot come back through a copy that a caller still
	// holds. To store a session in another storage, or as a new one, use [Session.Detached].
	//
	// Further errors: ErrLifetime, a session with revision 0 is past its ExpiresAt, or a session would never end (one with
	// a revision that is past its ExpiresAt is ErrNotFound); ErrTooLarge, it is larger than the storage's limit;
	// ErrTooMany, its principal has as many sessions as the storage allows; ErrCorrupt, the stored value is not a session,
	// and was left alone.
	Store(ctx context.Context, s *Session) error

	// Load returns a session, and starts its idle time anew. ErrNotFound: there is none. ErrCorrupt: the stored
	// value is not a session.
	Load(ctx context.Context, id string) (*Session, error)

	// Delete removes a session, or a corrupt value. It is not an error when there is none.
	Delete(ctx context.Context, id string) error

	// DeleteExpired removes the sessions that were neither loaded nor stored since the given instant, and those that
	// have expired. It leaves a session with an idle time-out of its own, or with none, until that has expired. A storage
	// that expires sessions by itself may do nothing. After it has returned nil, loads through this storage do not find
	// what it has removed, however much it caches. A cache in front of a storage does not tell it of every load: choose an
	// instant further back than the cache's refresh interval.
	DeleteExpired(ctx context.Context, before time.Time) error
}

// Creator is implemented by storages that can store a session only if there is none with its id.
type Creator interface {
	// Create is Store for a session that must be new: ErrExists when there is one with that id, ErrLifetime when s is past
	// its ExpiresAt, whatever the revision of s. On success it sets the revision of s.
	Create(ctx context.Context, s *Session) error
}

// Replacer is implemented by storages that can store a session only if there is one with its id, whatever that is: the
// last writer wins, but what was deleted stays deleted. It is for callers that keep no revisions. Where no change of
// another writer may be lost, there is [Update].
type Replacer interface {
	// Replace is Store for a session whose id must be stored: ErrNotFound when there is none. The revision of s does not
	// matter; on success it is the new one. ErrLifetime: s is past its ExpiresAt.
	Replace(ctx context.Context, s *Session) error
}

// Taker is implemented by storages that can load and delete in one step.
type Taker interface {
	// Take loads a session and deletes it atomically: of any number of concurrent calls at most one gets it, all others
	// get ErrNotFound. Single-use tokens need that. After ErrUnavailable the session may or may not have been taken.
	Take(ctx context.Context, id string) (*Session, error)
}

// Peeker is implemented by storages that can load a session without keeping it alive: for lists, administration pages
// and sweeps, whose interest is no use of the session.
type Peeker interface {
	// Peek is Load, but does not start the idle time anew. Neither does it shorten it. An id that is invalid, a session
	// that is gone, a corrupt value and a storage that cannot be reached are the same errors as for Load.
	Peek(ctx context.Context, id string) (*Session, error)
}

// Revoker is implemented by storages that can end all sessions of an owner: to log a user out everywhere.
//
// An owner is what [Session.WithPrincipal] has set; text that is not UTF-8 is adjusted as it does that. No session
// belongs to "".
type Revoker interface {
	// Revoke deletes the sessions of a principal, and returns how many it has deleted. A session whose Store has returned
	// before Revoke was called is gone when Revoke has returned, and no copy of it can be stored. Its removal is reported
	// to watchers. A Store that has not returned when Revoke is called has one of two outcomes: its session is deleted, or
	// lives on as if it was stored after Revoke has returned.
	//
	// After an error, the number is that of the sessions which were certainly deleted, and others may live on. Call it
	// again.
	Revoke(ctx context.Context, principal string) (int, error)
}

// Lister is implemented by storages that can find the sessions of an owner: for a page where users see where they are
// logged in. An owner is that of a [Revoker].
type Lister interface {
	// Sessions iterates over the sessions of a principal, in no order, and keeps none of them alive. Each session was
	// stored in this state at some instant during the iteration. One that is stored, deleted, or given to another
	// principal meanwhile may be missing; all others are there, once. An error comes with a nil session, and is the last
	// element. The iteration may be repeated, and ended early. The storage may be used from within it.
	Sessions(ctx context.Context, principal string) iter.Seq2[*Session, error]
}

// Limiter is implemented by storages with a [WithMaxLifetime]. A cache in front of one has to know the end that the
// storage gives to sessions which have none.
type Limiter interface {
	// MaxLifetime is how long after its creation a session ends that is stored without an ExpiresAt. It is the same at
	// every call; 0: such a session has no end.
	MaxLifetime() time.Duration
}

// Expirer is implemented by storages that forget a session which was not used for a fixed time. In front of one, a
// cache renews its copies often enough to keep them alive.
type Expirer interface {
	// TTL is the idle lifetime of the sessions that have none of their own. It is the same at every call; 0 or less: not
	// known.
	TTL() time.Duration
}

// Use is the last use of a session that a cache has answered by itself.
type Use struct {
	ID        string
	Revision  uint64    // of the session that was used
	ExpiresAt time.Time // of that session; the zero time for none
	At        time.Time // carries a monotonic clock reading
}

// Revalidator is implemented by storages that can take in the uses of many sessions in one step, and tell which of the
// sessions have changed. A cache renews its copies with that, without fetching them again.
type Revalidator interface {
	// Revalidate reports for each use whether the session is stored with that revision, at some instant during the call,
	// and keeps those that are alive for their idle time from their use: not from now on, and never shorter than they
	// would live anyway. false means another revision, no session, a corrupt value, or a use that is an idle time ago;
	// such a session is not kept alive. ErrInvalidID: an id is invalid. After an error nothing is known of any of them.
	Revalidate(ctx context.Context, uses []Use) (unchanged []bool, err error)
}

// Event is what a [Watcher] reports: a [Changed], [Removed], [Gap] or [Alive].
type Event interface{ event() }

// Changed says that a session was written, through any replica, and has reached a revision.
type Changed struct {
	ID       string
	Revision uint64
}

// Removed says that a session was deleted or taken, through any replica.
type Removed struct {
	ID       string
	Revision uint64 // the last one that the session had; 0: not known, or there was no session
}

// Gap says that events may be missing until the next [Alive] is reported, those from before the Gap included. What was
// loaded until then may be out of date without a notice: a program that acts on removals looks again after that Alive.
type Gap struct{}

// Alive says that no event is missing, until the next [Gap]: of the changes that are acknowledged after the first Alive
// after a Gap, all that were acknowledged before AsOf have been reported. AsOf is an instant of this process, and has a
// monotonic clock reading.
type Alive struct{ AsOf time.Time }

func (Changed) event() {}
func (Removed) event() {}
func (Gap) event()     {}
func (Alive) event()   {}

// Watcher is implemented by storages that report changes as they happen. It includes [Expirer], because a watched copy
// lives under a lease, and its cache must know when the storage forgets the session.
//
// A type that embeds such a storage gets its Watch, too. If it changes the ids, or leaves some writes out, it must
// report the changes in its own terms, or hide Watch: a lease would cover copies that no event can drop. RoutingStorage
// gives up a Watcher that proves that nothing is missing, but has not reported a write made through it.
//
// A [RoutingStorage] in front of a Watcher serves local copies for as long as the reports flow; in front of another
// storage, for [WithMaxStaleness] after they were fetched.
type Watcher interface {
	// Watch calls fn for the events of the whole storage, in order and one at a time, until the context ends or
	// something fails, and returns that error. It begins with a Gap. Writes through this storage are reported, too. About
	// once per heartbeat it proves from end to end that no event is missing, and reports an Alive, never an unproven one.
	// fn must not block. Any number of Watch calls may run at a time.
	//
	// A storage that cannot watch as it is set up returns errors.ErrUnsupported at once.
	Watch(ctx context.Context, heartbeat time.Duration, fn func(Event)) error

	Expirer
}

// Fencer is a Watcher whose watchers can be waited for. A [RoutingStorage] with [WithFencing] needs one.
type Fencer interface {
	Watcher

	// Hold returns a watcher that holds leases for maxStaleness, which must be positive. It does nothing until it
	// watches.
	Hold(maxStaleness time.Duration) LeaseHolder
}

// LeaseHolder is a watcher of a [Fencer] that keeps to these rules: it serves what it has loaded until maxStaleness
// after the AsOf of an Alive, and not what it had loaded before the last Gap, nor between a Gap and the Alive that
// follows. It is safe for concurrent use, but for Watch, of which one call runs at a time.
type LeaseHolder interface {
	// Watch is that of [Watcher].
	Watch(ctx context.Context, heartbeat time.Duration, fn func(Event)) error

	// Fence returns nil when no holder, on any replica, serves anything any more that misses a change which was
	// acknowledged before Fence was called: fn has returned for the event of each such change, or the lease has ended. It
	// takes maxStaleness and a small margin at most, whatever fails meanwhile. The only error is the end of ctx.
	Fence(ctx context.Context) error

	// Leave ends the holder, so that no Fence waits for it. Call it when Watch has returned, and the holder serves nothing
	// any more. After an error, fences wait for maxStaleness until the others have noticed that it is gone.
	Leave(ctx context.Context) error
}
