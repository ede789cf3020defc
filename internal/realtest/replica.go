package realtest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/internal/redistest"
)

const (
	// Staleness is the MaxStaleness of a Replica.
	Staleness = 600 * time.Millisecond

	// ttl is so long that no refresh delivers what an event should.
	ttl = 10 * time.Minute
)

// Replica returns a RoutingStorage over Redis, which ends with the test.
func Replica(t testing.TB, client redis.UniversalClient, opts ...session.RoutingOption) *session.RoutingStorage {
	t.Helper()
	st := session.NewRoutingStorage(session.NewRedisStorage(client, ttl), 1000,
		append(opts, session.WithMaxStaleness(Staleness))...)
	t.Cleanup(func() { require.NoError(t, st.Close()) })
	return st
}

// RequireEventsFlow waits until all replicas are leased, and a change through the first replica reaches the second as
// an event. It tries this with a session in the slot of each id.
func RequireEventsFlow(t testing.TB, ids []string, replicas ...*session.RoutingStorage) {
	t.Helper()
	for _, id := range ids {
		probe := SameSlot(id, "probe")
		awaitSuccess(t, "events to flow", func() error {
			for _, st := range replicas {
				if stats := st.Stats(); stats.Mode != session.ModeLeased {
					return fmt.Errorf("mode %s, last proof %v ago", stats.Mode, stats.ProofAge)
				}
			}
			return changeArrives(t.Context(), probe, replicas[0], replicas[1])
		})
	}
}

// RequireShards waits until no change of a session in the slots of the ids is broadcast to all nodes of a Cluster.
func RequireShards(t testing.TB, ids []string, replicas ...*session.RoutingStorage) {
	t.Helper()
	if !redistest.Since(t, "7.0.0") { // which broadcasts each
		return
	}
	broadcasts := func() (n uint64) {
		for _, st := range replicas {
			n += st.Stats().Broadcast
		}
		return n
	}
	Await(t, "no broadcasts", func() bool {
		before := broadcasts()
		for _, id := range ids {
			if changeArrives(t.Context(), SameSlot(id, "probe"), replicas[0], replicas[1]) != nil {
				return false
			}
		}
		return broadcasts() == before
	})
}

// changeArrives changes a session through a, and waits until b, which has a copy, answers with the change. It waits for
// less than MaxStaleness, so only an event can make b drop its copy in time.
func changeArrives(ctx context.Context, id string, a, b *session.RoutingStorage) error {
	s := session.New(id)
	if err := a.Store(ctx, s); err != nil {
		return err
	}
	if _, err := b.Load(ctx, id); err != nil {
		return err
	}
	s = s.With("changed", "yes")
	if err := a.Store(ctx, s); err != nil {
		return err
	}
	for stored := time.Now(); time.Since(stored) < Staleness/3; time.Sleep(100 * time.Microsecond) {
		if seen, err := b.Load(ctx, id); err != nil || seen.Revision() == s.Revision() {
			return err
		}
	}
	return errors.New("the change did not arrive")
}
