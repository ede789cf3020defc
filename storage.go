package session

import (
	"context"
	"time"
)

// Storage keeps sessions. Implementations are safe for concurrent use.
//
// The contract, which the package sessiontest checks:
//
//   - An id that [ValidateID] refuses, or a nil session, is [ErrInvalidID], before anything else happens.
//   - What a storage returns is the caller's to keep and, being immutable, may be shared with other callers. What a
//     storage keeps is its own snapshot, never the caller's pointer.
//   - A session that is not loaded for the storage's idle lifetime (its TTL) is gone; each Load or Store starts that
//     time anew. A session is also gone at its [Session.ExpiresAt]. Gone means [ErrNotFound], even before anything has
//     removed it.
//   - Revisions of an id grow, over a delete too: they tell a session from its successor, and which of two is newer.
//   - When the context ends first, the error matches the context's, and nothing was done, or it is unknown. A Load that
//     needs to wait for nothing may answer all the same.
//   - After an error there is no session, and the revision of the caller's session is what it was. After ErrNotFound or
//     ErrConflict the next Load through the same storage returns the present state, however much it caches.
//   - A storage that cannot be reached says [ErrUnavailable], never [ErrNotFound].
//
// Capabilities beyond these four methods are small interfaces of their own: [Creator], [Taker], [Revalidator],
// [Watcher] and [io.Closer]. They are optional. Ask for one with a type assertion; a storage that wraps another may
// also answer a call with [errors.ErrUnsupported].
type Storage interface {
	// Store writes a session and, on success, sets its revision. A session with revision 0 is written unconditionally:
	// created, or put in the place of what is there. A session that came from the storage (its revision is not 0) is
	// written only if the stored revision is still the one that it came from. Otherwise nothing is written, and the
	// error is ErrNotFound when the session was deleted or has expired, ErrConflict when it was changed. So a session
	// that was deleted cannot come back through somebody who still holds a copy. To store it in another storage, or as a
	// new one, take it Detached. A session that is past its ExpiresAt is not written either: ErrNotFound. ErrTooLarge:
	// larger than the storage's limit. ErrCorrupt: there is something else under that id, and it was left alone.
	Store(ctx context.Context, s *Session) error

	// Load returns a session, and keeps it alive for another TTL. ErrNotFound: there is none. ErrCorrupt: there is
	// something else under that id.
	Load(ctx context.Context, id string) (*Session, error)

	// Delete removes a session. It is not an error when there is none. It removes a corrupt value too.
	Delete(ctx context.Context, id string) error

	// DeleteExpired removes the sessions that were neither loaded nor stored since the given instant, and those that
	// have expired anyway. A storage that expires sessions by itself may do nothing. A cache in front of a storage does
	// not tell it of each load: let it be longer ago than the cache's refresh interval.
	DeleteExpired(ctx context.Context, before time.Time) error
}

// Creator is implemented by storages that can store a session only if there is none with its id.
type Creator interface {
	// Create is Store for a session that must be new: ErrExists when there is one with that id, whatever the revision
	// of s. On success it sets the revision of s.
	Create(ctx context.Context, s *Session) error
}

// Taker is implemented by storages that can load and delete in one step.
type Taker interface {
	// Take loads a session and deletes it atomically: of any number of concurrent calls at most one gets it, all others
	// get ErrNotFound. It is what a single-use token needs. After ErrUnavailable it may or may not have been taken.
	Take(ctx context.Context, id string) (*Session, error)
}

// Revalidator is implemented by storages that can tell in one step whether many sessions have changed. A cache renews
// what it has with that, without fetching it again.
type Revalidator interface {
	// Revalidate tells for each of the sessions whether it is stored with the revision that it has here, at some instant
	// during the call. They are as they were loaded or stored, not changed copies. It keeps alive those that are, as Load
	// does. Of the others it says nothing more: false may be another revision, or nothing, or something corrupt.
	// ErrInvalidID: one of them is nil, or has an invalid id. After any error nothing is known of any of them.
	Revalidate(ctx context.Context, sessions []*Session) (unchanged []bool, err error)
}
