// Package sessiontest checks that an implementation of [session.Storage] keeps the interface's contract. It is for
// authors of storages: a storage that passes can be used directly, behind a cache, or as a part of another storage.
//
// This is all that a storage on a database of its own needs:
//
//	func TestStorage(t *testing.T) {
//		sessiontest.Run(t, func(t *testing.T) sessiontest.Subject {
//			db := openEmptyDatabase(t) // closed by t.Cleanup
//			const ttl = time.Second
//			return sessiontest.Subject{Storage: mystorage.New(db, ttl), TTL: ttl}
//		})
//	}
//
// Each case is a subtest with a Subject of its own. Time passes for real there, so the TTL should be short, but not so
// short that a busy machine lets a session expire: a second is a good start. A storage that lives in the process alone
// is tested faster, and with time that is exact, by [RunInBubble].
//
// The fields of [Subject] beyond Storage and TTL let the suite check more: expiry without waiting, two instances over
// the same data, corrupt values, an outage. The optional capabilities [session.Creator], [session.Taker] and
// [io.Closer] are checked when the storage has them. What cannot be checked is skipped, with the reason.
//
// Run the tests with the race detector as well: some of the cases are there for it.
package sessiontest

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed34611480/session"
)

// Subject is a storage under test, and what the suite may do to it and to its surroundings. Storage and TTL are
// required.
type Subject struct {
	// Storage is the storage under test. It is empty, and no other case uses its data.
	Storage session.Storage

	// TTL is the idle lifetime of the sessions in Storage.
	TTL time.Duration

	// Advance lets d pass on every clock by which Storage expires idle sessions or holds cached ones. For a Redis
	// emulator with a clock of its own, for example, it moves that clock. Nil: the suite sleeps, which takes no time in
	// [RunInBubble]. For [session.Session.ExpiresAt], which is an instant of [time.Now], the suite sleeps in any case,
	// and then calls Advance as well.
	Advance func(d time.Duration)

	// MaxSize is the size in bytes from which on Storage answers ErrTooLarge. 0: the package's default, 1 MiB. At least 4
	// KiB; negative: there is no limit. The suite goes up to a half of it with sessions that must be accepted, because a
	// storage may count encoded bytes.
	MaxSize int

	// Peer is a second instance over the same data, as another process would have it. Nil: those cases are skipped.
	Peer session.Storage

	// Staleness bounds how long Storage, or Peer, may answer from what it remembers after the data was changed through
	// the other one, and how late it may let the data know that a session was loaded. 0: it does neither.
	Staleness time.Duration

	// Raw returns the bytes that are stored for a session, nil if there are none, and Plant puts any bytes in their
	// place. Either nil: how Storage treats corrupt values is not checked. Values in a format that has no bytes of its
	// own, the columns of a table for example, need no such check.
	Raw   func(id string) []byte
	Plant func(id string, value []byte)

	// Cut makes the data unreachable for the rest of the case. Nil: how Storage reports an outage is not checked.
	Cut func()
}

// Run checks the storages that factory makes, one for each case. The factory registers with t.Cleanup what is to be
// closed.
func Run(t *testing.T, factory func(t *testing.T) Subject) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			c.check(newEnv(t, factory(t), false))
		})
	}
}

// RunInBubble is [Run] with each case, its call of factory included, in a bubble of [testing/synctest]: time is
// virtual, exact, and passes at once. It is for storages that wait for nothing outside the process. Goroutines that a
// storage started must have ended after the functions registered with t.Cleanup.
func RunInBubble(t *testing.T, factory func(t *testing.T) Subject) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			skipped := false
			synctest.Test(t, func(t *testing.T) {
				defer func() { skipped = t.Skipped() }()
				c.check(newEnv(t, factory(t), true))
			})
			if skipped { // a bubble keeps that to itself
				t.SkipNow()
			}
		})
	}
}

type testCase struct {
	name  string
	check func(*env)
}

var cases = slices.Concat(
	basicCases,
	snapshotCases,
	revisionCases,
	idleCases,
	lifetimeCases,
	inputCases,
	faultCases,
	creatorCases,
	takerCases,
	revalidatorCases,
	closerCases,
	concurrencyCases,
	peerCases,
)
