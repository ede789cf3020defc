// Package sessiontest checks that an implementation of [session.Storage] keeps the interface's contract. It is for
// authors of storages: a storage that passes can be used directly, behind a cache, or as a part of another storage.
//
// This is all that a storage on its own database needs:
//
//	func TestStorage(t *testing.T) {
//		sessiontest.Run(t, func(t *testing.T) sessiontest.Subject {
//			db := openEmptyDatabase(t) // closed by t.Cleanup
//			const ttl = time.Second
//			return sessiontest.Subject{Storage: mystorage.New(db, ttl), TTL: ttl}
//		})
//	}
//
// Each case is a subtest with its own Subject. [Run] sleeps in real time, so the TTL should be short, but not so short
// that sessions expire early on a busy machine: a second is a good start. For a storage that lives in one process,
// [RunInBubble] is faster, and its time is exact.
//
// The optional fields of [Subject] let the suite check more: expiry without waiting, two instances over the same data,
// corrupt values, an outage. The optional capabilities [session.Creator], [session.Replacer], [session.Taker],
// [session.Peeker], [session.Revoker], [session.Lister], [session.Limiter], [session.Revalidator], [session.Watcher]
// and [io.Closer] are checked if the storage has them. A case that cannot be checked is skipped, and says why.
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

// Subject is a storage under test, with the means to control and inspect it. Storage and TTL are required.
type Subject struct {
	// Storage is the storage under test. It is empty, and no other case uses its data.
	Storage session.Storage

	// TTL is the idle lifetime of the sessions in Storage.
	TTL time.Duration

	// Advance moves every clock by which Storage expires idle sessions or cached copies forward by d: the own clock of a
	// Redis emulator, for example. Nil: the suite sleeps instead, which takes no time in [RunInBubble].
	// [session.Session.ExpiresAt] is an instant of [time.Now], so for that the suite sleeps in any case, and then also
	// calls Advance.
	Advance func(d time.Duration)

	// MaxSize is the size in bytes above which Storage answers ErrTooLarge. 0: the package's default, 1 MiB. Otherwise at
	// least 16 KiB, as an id alone may have 4; negative: there is no limit. Sessions of up to half that size must be
	// accepted; the suite goes no further, because a storage may count encoded bytes.
	MaxSize int

	// OwnerLimit is how many sessions Storage allows a principal to have at a time, and OverLimit what it does with one
	// more. At least 50, as some cases store that many; 0: there is no limit.
	OwnerLimit int
	OverLimit  session.OwnerPolicy

	// Peer is a second instance over the same data, like one in another process. Nil: the cases that need it are skipped.
	Peer session.Storage

	// Staleness is the longest time for which Storage or Peer may answer from memory after a change through the other, and
	// the longest delay before it tells the data that a session was loaded. 0: it does neither.
	Staleness time.Duration

	// Raw returns the bytes that are stored for a session, nil if there are none. Plant replaces them with any bytes. If
	// either is nil, corrupt values are not checked. A storage whose format has no bytes of its own, such as the columns
	// of a table, needs no such check.
	Raw   func(id string) []byte
	Plant func(id string, value []byte)

	// Cut makes the data unreachable for the rest of the case. Nil: the case for an outage is skipped.
	Cut func()
}

// Run calls factory for each case, and checks the storage that it returns. The factory closes what it opens with
// t.Cleanup.
func Run(t *testing.T, factory func(t *testing.T) Subject) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			c.check(newEnv(t, factory(t), false))
		})
	}
}

// RunInBubble is [Run] with each case, including its call of factory, in a bubble of [testing/synctest]: time is
// virtual, exact, and passes at once. It is for storages that wait for nothing outside the process. Every goroutine
// that a storage starts must have ended after the functions registered with t.Cleanup.
func RunInBubble(t *testing.T, factory func(t *testing.T) Subject) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			skipped := false
			synctest.Test(t, func(t *testing.T) {
				defer func() { skipped = t.Skipped() }()
				c.check(newEnv(t, factory(t), true))
			})
			if skipped { // the bubble does not pass a skip on to its parent
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
	ownIdleCases,
	inputCases,
	faultCases,
	creatorCases,
	replacerCases,
	takerCases,
	peekerCases,
	revalidatorCases,
	revokerCases,
	ownerCases,
	watcherCases,
	concurrencyCases,
	peerCases,
)
