package redisstore

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session/internal/redistest"
	"github.com/seed34611480/session/internal/redistest/embedded"
)

// testHeartbeat is long enough for a machine under load.
const testHeartbeat = 100 * time.Millisecond

// recorder is a Sink that keeps what it is told: as text, but for the proofs.
type recorder struct {
	events chan string
	proofs chan time.Time
}

const gap = "gap"

func newRecorder() recorder {
	return recorder{events: make(chan string, 1000), proofs: make(chan time.Time, 1000)}
}

func (r recorder) Changed(id string, revision uint64) { r.events <- changed(id, revision) }
func (r recorder) Removed(id string, _ uint64)        { r.events <- removed(id) }
func (r recorder) Gap()                               { r.events <- gap }
func (r recorder) Alive(asOf time.Time)               { r.proofs <- asOf }

func changed(id string, revision uint64) string { return fmt.Sprintf("changed %d %s", revision, id) }
func removed(id string) string                  { return "removed " + id }

// watching watches in the background until the test ends, or that fails. next returns the next event, nextAlive the
// next proof.
func watching(t *testing.T, s *Store, heartbeat time.Duration) (
	next func() string, nextAlive func() time.Time, ended <-chan error,
) {
	t.Helper()
	r, failed, done := newRecorder(), make(chan error, 1), make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer close(r.events)
		defer close(r.proofs)
		err := s.Watch(ctx, heartbeat, r)
		failed <- err
		done <- err
	}()
	t.Cleanup(func() {
		cancel()
		require.Error(t, <-done)
	})
	next = func() string {
		event, ok := <-r.events
		require.True(t, ok, "watching has ended")
		return event
	}
	nextAlive = func() time.Time {
		asOf, ok := <-r.proofs
		require.True(t, ok, "watching has ended")
		return asOf
	}
	return next, nextAlive, failed
}

func TestWatch(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	for name, client := range map[string]*redis.Client{
		"RESP3":            server.Client(t),
		"RESP2":            server.Client(t, func(o *redis.Options) { o.Protocol = 2 }),
		"another database": server.Client(t, func(o *redis.Options) { o.DB = 3 }),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := storeOf(Config{Client: client, Prefix: name + ":", TTL: time.Minute})
			next, nextAlive, _ := watching(t, s, testHeartbeat)
			require.Equal(t, gap, next())
			before := time.Now()
			nextAlive() // may have been sent before the write

			require.Equal(t, changed(testID, put(t, s, testID)), next())
			require.NoError(t, s.Delete(t.Context(), testID))
			require.Equal(t, removed(testID), next())
			asOf := nextAlive()
			for !asOf.After(before) {
				asOf = nextAlive()
			}
			require.NoError(t, client.Publish(t.Context(), eventsOf(t, s), "from a later version").Err())
			require.Equal(t, gap, next())
		})
	}
}

func TestWatchInVirtualTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, client, log := embedded.StartInBubble(t)
		t.Cleanup(m.Close)
		t.Cleanup(func() { require.NoError(t, client.Close()) })
		next, nextAlive, _ := watching(t, newStore(client), time.Second)
		require.Equal(t, gap, next())
		start := time.Now()
		require.Equal(t, start, nextAlive())
		log.Take()
		for i := range 10 {
			require.Equal(t, start.Add(time.Duration(i+1)*time.Second), nextAlive())
		}
		require.Len(t, log.Take(), 10, "one command for each heartbeat")
	})
}

func TestAliveIsTheOldestOfTheAnswers(t *testing.T) {
	t.Parallel()
	r := newRecorder()
	w := &watch{store: new(Store), sink: r, proven: make([]time.Time, 3)}
	at := func(seconds int64) time.Time { return time.Unix(seconds, 0) }
	w.prove(0, at(10))
	w.prove(1, at(20))
	require.Empty(t, r.proofs, "one has proven nothing yet")
	w.prove(2, at(15))
	w.prove(0, at(12))
	w.prove(2, at(30))
	w.prove(0, at(40))
	close(r.proofs)
	var got []time.Time
	for asOf := range r.proofs {
		got = append(got, asOf)
	}
	require.Equal(t, []time.Time{at(10), at(12), at(20)}, got)
}

func FuzzReportEvent(f *testing.F) {
	for _, payload := range []string{
		"", "C", "R", "Rid", "C0000000000000001id", "C0000000000000000id", "Cfffffffffffffffffid", "Xid", "R a",
		"R0000000000000001id", "R0000000000000000id", "Rfffffffffffffffffid", "R000000000000000Aid", "R0000000000000000 a",
	} {
		f.Add(payload)
	}
	valid := func(id string) bool { return id != "" && !strings.Contains(id, " ") }
	f.Fuzz(func(t *testing.T, payload string) {
		r := newRecorder()
		reportEvent(payload, plainNames{valid}, r)
		require.Len(t, r.events, 1)
		require.Empty(t, r.proofs)
		event := <-r.events
		if event == gap {
			return
		}
		if id, ok := strings.CutPrefix(event, "removed "); ok {
			require.True(t, valid(id))
			require.Regexp(t, "^R000[0-9a-f]{13}", payload)
			require.Equal(t, payload[17:], id)
			return
		}
		var revision uint64
		_, err := fmt.Sscanf(event, "changed %d ", &revision)
		require.NoError(t, err)
		id := strings.TrimPrefix(event, changed("", revision))
		require.True(t, valid(id))
		require.Equal(t, payload, fmt.Sprintf("C%016x%s", revision, id))
	})
}

func TestEventWithAnInvalidIDIsAGap(t *testing.T) {
	t.Parallel()
	valid := func(id string) bool { return id == testID }
	for payload, want := range map[string]string{
		"R0000000000000007" + testID: removed(testID),
		"R0000000000000000" + testID: removed(testID),
		"C0000000000000007" + testID: changed(testID, 7),
		"C0000000000000000" + testID: gap,
		"R" + testID:                 gap,
		"R0000000000000007other":     gap,
		"C0000000000000007other":     gap,
		"C0000000000000007":          gap,
	} {
		r := newRecorder()
		reportEvent(payload, plainNames{valid}, r)
		require.Equal(t, want, <-r.events, payload)
	}
	_, s, _ := onMiniredis(t)
	_, ok := s.names.ParseEvent("")
	require.False(t, ok, "the default")
}
