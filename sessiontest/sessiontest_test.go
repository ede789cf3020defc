package sessiontest

import (
	"context"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/seed34611480/session"
)

func TestReferenceConforms(t *testing.T) {
	t.Run("in a bubble", func(t *testing.T) {
		RunInBubble(t, func(*testing.T) Subject { return newReference(none).subject() })
	})
	for name, over := range map[string]session.OwnerPolicy{
		"with limits": session.RefuseNew, "with limits that make room": session.EndIdlest,
	} {
		t.Run(name, func(t *testing.T) {
			RunInBubble(t, func(*testing.T) Subject { return newReference(none).limited(over).subject() })
		})
	}
	t.Run("with a clock of its own", func(t *testing.T) {
		Run(t, func(*testing.T) Subject {
			r := newReference(none)
			s := r.subject()
			s.Advance = r.advance
			return s
		})
	})
}

// bug is one way to break the contract.
type bug string

const (
	none bug = ""

	keepsDeleted        bug = "Delete deletes nothing"
	deletesByPattern    bug = "Delete uses the id as a pattern"
	deleteAbsentFails   bug = "Delete of an absent session is an error"
	losesBinary         bug = "data is stored as text"
	losesPrecision      bug = "times are stored in seconds"
	sharesPointers      bug = "Store keeps the caller's pointer"
	handsOutItsOwn      bug = "Load hands out the storage's own pointer"
	sharesUntilStamped  bug = "Load hands out one pointer until it is stamped"
	restampsLoaded      bug = "Store changes the revision of loaded sessions"
	noStamp             bug = "Store sets no revision"
	stampsFailures      bug = "a failed Store sets the revision"
	noCAS               bug = "Store never compares"
	comparesExistence   bug = "Store asks only whether the session exists"
	comparesContent     bug = "Store of equal content is no conflict"
	zeroMeansNew        bug = "Store with revision 0 does not overwrite"
	resurrects          bug = "Store brings back what was deleted"
	reusesRevisions     bug = "revisions start over after Delete"
	racyWrite           bug = "Store compares and writes in two steps"
	noSlide             bug = "Load does not slide"
	slidesForever       bug = "Load slides for ever"
	storeDoesNotSlide   bug = "Store does not slide"
	servesExpired       bug = "expired sessions are served until they are swept"
	ignoresExpiresAt    bug = "ExpiresAt is ignored when loading"
	storesExpired       bug = "a session past its ExpiresAt is stored"
	keepsOldEnd         bug = "the first ExpiresAt stays"
	sweepsTooMuch       bug = "DeleteExpired removes what is in use"
	sweepsOnlyFuture    bug = "DeleteExpired ignores idle time"
	anyID               bug = "ids are not validated"
	idInError           bug = "errors contain the id"
	opaqueErrors        bug = "errors do not match the sentinels"
	acceptsOversize     bug = "there is no size limit"
	refusalDeletes      bug = "refusing a session that is too large deletes the old one"
	ignoresContext      bug = "an ended context is ignored"
	canceledIsNotFound  bug = "an ended context is ErrNotFound"
	outageIsNotFound    bug = "an outage is ErrNotFound"
	servesAnyValue      bug = "a value is served under any id"
	corruptIsNotFound   bug = "a corrupt value is ErrNotFound"
	createOverwrites    bug = "Create overwrites"
	createMindsRevision bug = "Create compares revisions"
	replaceCreates      bug = "Replace creates"
	takesTwice          bug = "Take does not delete"
	racyTake            bug = "Take loads and deletes in two steps"
	revalidatesAny      bug = "Revalidate asks only whether the session exists"
	revalidationIsNoUse bug = "Revalidate does not slide"

	replaceMindsRevision bug = "Replace compares revisions"
	revalidationIsUse    bug = "Revalidate starts the TTL when it is told of a use"
	revalidationShortens bug = "Revalidate shortens the TTL"
	revalidatesOldUses   bug = "Revalidate is true for a use a TTL ago"

	ignoresOwnIdle      bug = "the idle time-out of a session is ignored"
	ownIdleOnlyShortens bug = "no idle time-out is longer than the TTL"
	keepsOwnIdle        bug = "the first idle time-out stays"
	sweepsOwnIdle       bug = "DeleteExpired ignores the idle time-out of a session"
	revalidatesByTTL    bug = "Revalidate ignores the idle time-out of a session"
	storesForEver       bug = "a session that never ends is stored"
	overIsNotFound      bug = "a new session past its ExpiresAt is not found"
	limitsFromNow       bug = "the maximum lifetime counts from each store"

	revokesNothing     bug = "Revoke only counts"
	revokesAll         bug = "Revoke asks for no principal"
	racyRevoke         bug = "Revoke leaves what is changed meanwhile"
	ownersFoldCase     bug = "owners are compared without case"
	keepsOwner         bug = "the first owner stays"
	listsTen           bug = "Sessions returns ten at most"
	countsExpired      bug = "Revoke counts expired sessions"
	listsLocked        bug = "Sessions makes the storage unusable"
	listIsUse          bug = "Sessions slides"
	limitsNothing      bug = "there is no limit of sessions"
	limitCountsChanges bug = "the limit of sessions refuses changes"
	endsTheBusiest     bug = "the busiest session of an owner makes room"

	peekIsUse              bug = "Peek slides"
	watchesWithoutGap      bug = "Watch begins without a Gap"
	removesSilently        bug = "Watch reports no removals"
	removesAnotherRevision bug = "Watch reports removals with another revision"

	closesOnce  bug = "Close fails the second time"
	worksClosed bug = "a closed storage keeps working"
	staleView   bug = "a second instance never notices changes"
)

// TestSuiteCatches runs the whole suite over a storage with one bug at a time. The named case must fail; others may.
// Each case must fail for at least one bug.
func TestSuiteCatches(t *testing.T) {
	useful := map[string]bool{}
	for _, v := range []struct {
		bug      bug
		caughtBy string
	}{
		{keepsDeleted, "Delete"},
		{deletesByPattern, "NastyID"},
		{deleteAbsentFails, "Delete"},
		{losesBinary, "RoundTrip"},
		{losesPrecision, "RoundTrip"},
		{sharesPointers, "SnapshotOfStored"},
		{handsOutItsOwn, "SnapshotOfLoaded"},
		{sharesUntilStamped, "SnapshotOfEach"},
		{restampsLoaded, "Immutable"},
		{noStamp, "RevisionSet"},
		{stampsFailures, "Conflict"},
		{noCAS, "Conflict"},
		{comparesExistence, "Conflict"},
		{comparesContent, "Conflict"},
		{zeroMeansNew, "Unconditional"},
		{resurrects, "LateWriterAfterDelete"},
		{reusesRevisions, "LateWriterAfterRecreate"},
		{racyWrite, "ConcurrentStore"},
		{noSlide, "LoadKeepsAlive"},
		{slidesForever, "IdleExpires"},
		{storeDoesNotSlide, "StoreKeepsAlive"},
		{servesExpired, "IdleExpires"},
		{ignoresExpiresAt, "ExpiresAt"},
		{storesExpired, "StorePastExpiresAt"},
		{keepsOldEnd, "ExpiresAtMoved"},
		{sweepsTooMuch, "DeleteExpired"},
		{sweepsOnlyFuture, "DeleteExpired"},
		{anyID, "InvalidID"},
		{idInError, "InvalidID"},
		{opaqueErrors, "Absent"},
		{acceptsOversize, "TooLarge"},
		{refusalDeletes, "TooLarge"},
		{ignoresContext, "ContextEnded"},
		{canceledIsNotFound, "ContextEnded"},
		{outageIsNotFound, "Unavailable"},
		{servesAnyValue, "Corrupt"},
		{corruptIsNotFound, "Corrupt"},
		{createOverwrites, "Create"},
		{createMindsRevision, "Create"},
		{replaceCreates, "Replace"},
		{replaceMindsRevision, "Replace"},
		{overIsNotFound, "ReplacePastExpiresAt"},
		{takesTwice, "Take"},
		{racyTake, "ConcurrentTake"},
		{revalidatesAny, "Revalidate"},
		{revalidationIsNoUse, "RevalidateKeepsAlive"},
		{revalidationIsUse, "RevalidateCountsFromTheUse"},
		{revalidationShortens, "RevalidateCountsFromTheUse"},
		{revalidatesOldUses, "RevalidateCountsFromTheUse"},
		{ignoresOwnIdle, "OwnIdleShorter"},
		{ignoresOwnIdle, "OwnIdleNone"},
		{ownIdleOnlyShortens, "OwnIdleLonger"},
		{keepsOwnIdle, "OwnIdleChanged"},
		{sweepsOwnIdle, "OwnIdleSwept"},
		{revalidatesByTTL, "RevalidateOwnIdle"},
		{storesForEver, "NeverEnds"},
		{overIsNotFound, "StorePastExpiresAt"},
		{overIsNotFound, "CreatePastExpiresAt"},
		{limitsFromNow, "MaxLifetime"},
		{revokesNothing, "Revoke"},
		{revokesAll, "Revoke"},
		{racyRevoke, "ConcurrentRevoke"},
		{ownersFoldCase, "RevokeNasty"},
		{keepsOwner, "OwnerChanges"},
		{listsTen, "Sessions"},
		{countsExpired, "Revoke"},
		{listsLocked, "Sessions"},
		{listIsUse, "SessionsIsNoUse"},
		{limitsNothing, "OwnerLimit"},
		{limitCountsChanges, "OwnerLimit"},
		{endsTheBusiest, "OwnerLimit"},
		{staleView, "PeerRevoke"},
		{peekIsUse, "PeekIsNoUse"},
		{watchesWithoutGap, "Watch"},
		{removesSilently, "Watch"},
		{removesAnotherRevision, "Watch"},
		{closesOnce, "Close"},
		{worksClosed, "Close"},
		{staleView, "PeerSees"},
	} {
		t.Run(string(v.bug), func(t *testing.T) {
			failed := map[string][]string{}
			for _, c := range cases {
				synctest.Test(t, func(t *testing.T) {
					if r := record(t, c, buggy(v.bug).subject()); len(r.failures) > 0 {
						failed[c.name] = r.failures
						useful[c.name] = true
					}
				})
			}
			t.Logf("caught by %q", slices.Sorted(maps.Keys(failed)))
			if failed[v.caughtBy] == nil {
				t.Errorf("not caught by %s", v.caughtBy)
				return
			}
			t.Logf("%s: %s", v.caughtBy, failed[v.caughtBy][0])
		})
	}
	for _, c := range cases {
		if !useful[c.name] && !t.Failed() {
			t.Errorf("no bug is caught by %s", c.name)
		}
	}
}

// buggy is a reference with a bug, and with what that bug is about.
func buggy(b bug) *reference {
	switch r := newReference(b); b {
	case limitsFromNow, limitsNothing, limitCountsChanges:
		return r.limited(session.RefuseNew)
	case endsTheBusiest:
		return r.limited(session.EndIdlest)
	default:
		return r
	}
}

// TestSkips: cases that the storage or the subject does not support are skipped, and do not fail.
func TestSkips(t *testing.T) {
	four := func() session.Storage { return struct{ session.Storage }{newReference(acceptsOversize)} }
	unsupported := func() session.Storage { return wrapper{four()} }
	for name, storage := range map[string]func() session.Storage{"absent": four, "unsupported": unsupported} {
		t.Run(name, func(t *testing.T) {
			var skipped []string
			for _, c := range cases {
				synctest.Test(t, func(t *testing.T) {
					r := record(t, c, Subject{Storage: storage(), TTL: refTTL, MaxSize: -1})
					if len(r.failures) > 0 {
						t.Errorf("%s: %s", c.name, r.failures[0])
					}
					if r.skipped != "" {
						skipped = append(skipped, c.name)
					}
				})
			}
			want := []string{
				"RevalidateOwnIdle", "MaxLifetime", "TooLarge", "Corrupt", "Unavailable", "Close", "Create",
				"CreateAfterExpiry", "CreatePastExpiresAt", "Replace", "ReplaceAfterExpiry", "ReplacePastExpiresAt",
				"Take", "TakeExpired", "Peek", "PeekIsNoUse", "PeekExpired", "Revalidate", "RevalidateKeepsAlive",
				"RevalidateCountsFromTheUse", "RevalidateExpired", "Revoke", "RevokeNasty", "ConcurrentRevoke",
				"PeerRevoke", "Sessions", "SessionsIsNoUse", "OwnerChanges", "OwnerLimit", "Watch",
				"ConcurrentCreate", "ConcurrentTake", "PeerSees", "PeerConflict", "PeerLateWriter",
				"PeerKeepsAlive", "PeerConcurrentUpdate",
			}
			if !slices.Equal(skipped, want) {
				t.Errorf("skipped %q, want %q", skipped, want)
			}
		})
	}
}

// TestSubjectIncomplete: a Subject without a required field is reported.
func TestSubjectIncomplete(t *testing.T) {
	for _, s := range []Subject{{}, {TTL: refTTL}, {Storage: newReference(none)}} {
		if r := record(t, cases[0], s); len(r.failures) != 1 {
			t.Errorf("Subject with storage %t and TTL %v: got failures %q, want one", s.Storage != nil, s.TTL, r.failures)
		}
	}
}

// recorder is a tb that records failures.
type recorder struct {
	ctx     context.Context
	skipped string

	mu       sync.Mutex
	failures []string // guarded by mu
}

// record runs a case to its end, also when that comes by Fatalf or Skipf.
func record(t *testing.T, c testCase, s Subject) *recorder {
	r := &recorder{ctx: t.Context()}
	done := make(chan struct{})
	go func() { // its own goroutine, because Fatalf and Skipf end it
		defer close(done)
		c.check(newEnv(r, s, true))
	}()
	<-done
	return r
}

func (r *recorder) Helper()                  {}
func (r *recorder) Context() context.Context { return r.ctx }

func (r *recorder) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures = append(r.failures, fmt.Sprintf(format, args...))
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}

func (r *recorder) Skipf(format string, args ...any) {
	r.skipped = fmt.Sprintf(format, args...)
	runtime.Goexit()
}
