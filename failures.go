package session

import (
	"context"
	"errors"
	"sync/atomic"
)

// Failures counts calls that have failed, by what their errors match. ErrInvalidID is not among them: it says only that
// a client has sent no id, or a malformed one, and costs nothing.
type Failures struct {
	NotFound    uint64 `json:"not_found"`   // ErrNotFound: the remote's answer; when there are many, look for lost data
	Unavailable uint64 `json:"unavailable"` // ErrUnavailable: the remote did not answer, or refused, or was not asked
	Corrupt     uint64 `json:"corrupt"`     // ErrCorrupt
	Conflict    uint64 `json:"conflict"`    // ErrConflict, ErrExists: another writer was first
	Limit       uint64 `json:"limit"`       // ErrTooLarge, ErrTooMany: a limit refuses the session
	Canceled    uint64 `json:"canceled"`    // the caller's context ended first
	Other       uint64 `json:"other"`       // all others, as ErrLifetime, ErrEncode and ErrClosed
}

// failures is what [Failures] is a snapshot of.
type failures struct {
	notFound, unavailable, corrupt, conflict, limit, canceled, other atomic.Uint64
}

// count counts an error, if it is one of the storage, and returns it.
func (f *failures) count(err error) error {
	if err != nil && !errors.Is(err, ErrInvalidID) {
		f.of(err).Add(1)
	}
	return err
}

func (f *failures) of(err error) *atomic.Uint64 {
	switch sentinelOf(err) {
	case ErrNotFound: //nolint:errorlint // it is one of ours
		return &f.notFound
	case ErrUnavailable:
		return &f.unavailable
	case ErrCorrupt:
		return &f.corrupt
	case ErrConflict, ErrExists:
		return &f.conflict
	case ErrTooLarge, ErrTooMany:
		return &f.limit
	case nil:
		if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
			return &f.canceled
		}
	}
	return &f.other
}

func (f *failures) snapshot() Failures {
	return Failures{
		NotFound: f.notFound.Load(), Unavailable: f.unavailable.Load(), Corrupt: f.corrupt.Load(),
		Conflict: f.conflict.Load(), Limit: f.limit.Load(), Canceled: f.canceled.Load(), Other: f.other.Load(),
	}
}

// refreshFailed counts a background call that has failed. That a session is not there any more is no failure.
func (rt *RoutingStorage) refreshFailed(err error) {
	if !isMissing(err) {
		rt.failedRefreshes.of(inOurTerms("refresh", err)).Add(1)
	}
}
