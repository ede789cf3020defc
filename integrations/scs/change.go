package scsstore

import (
	"bytes"
	"reflect"
	"time"

	"github.com/seed34611480/session"
)

// unchanged reports whether a session has these data, and ends when it should, if it is used now and then no more.
//
// With an idle time-out, scs commits with each request, with an end that is later each time. The session's own idle
// time makes the same of each load, unless the configuration has changed.
func (s *Store) unchanged(stored *session.Session, b []byte, expiry time.Time) bool {
	now := time.Now()
	end := stored.ExpiresAt()
	if idle := stored.IdleTimeout(); idle > 0 && now.Add(idle).Before(end) {
		end = now.Add(idle)
	}
	// scs has looked at the clock a moment ago.
	slack := min(time.Second, expiry.Sub(now)/16)
	return end.Sub(expiry).Abs() <= slack && s.sameData(stored.Data(), b)
}

// sameData compares what is encoded if it has to: gob writes the values of a map in random order.
func (s *Store) sameData(a, b []byte) bool {
	if bytes.Equal(a, b) {
		return true
	}
	deadlineA, valuesA, err := s.codec.Decode(a)
	if err != nil {
		return false
	}
	deadlineB, valuesB, err := s.codec.Decode(b)
	return err == nil && deadlineA.Equal(deadlineB) && reflect.DeepEqual(valuesA, valuesB)
}

// changeTo returns what gives a session these data and this end. scs has computed the end from the deadline, which is
// in the data, and its idle time-out, if it has one.
func (s *Store) changeTo(b []byte, expiry time.Time) (func(*session.Session) *session.Session, error) {
	deadline, values, err := s.codec.Decode(b)
	if err != nil {
		return nil, &codecError{err}
	}
	idle := session.NoIdleTimeout
	if expiry.Before(deadline) {
		idle = max(time.Millisecond, time.Until(expiry)) // a negative one would be none
	}
	owner := sharedOwner
	if s.owner != nil {
		owner = s.owner(values)
	}
	return func(stored *session.Session) *session.Session {
		return stored.WithData(b).WithExpiresAt(deadline).WithIdleTimeout(idle).WithPrincipal(owner)
	}, nil
}

// codecError has a text without the cause's own, which may show values. The cause stays reachable.
type codecError struct{ cause error }

func (e *codecError) Error() string {
	return "scsstore: commit: the codec cannot decode the data; is it the manager's? See WithCodec"
}

// GoString keeps %#v from printing the text of the cause.
func (e *codecError) GoString() string { return e.Error() }

func (e *codecError) Unwrap() error { return e.cause }
