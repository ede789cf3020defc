package session_test

import (
	"context"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/internal/netfault"
	"github.com/seed34611480/session/internal/redistest"
)

// The promises of the package documentation on real Redis, while the link to it, or it itself, fails.

const (
	faultStaleness = 250 * time.Millisecond
	patience       = 30 * time.Second // for a machine under load
)

// scenario is two replicas on one Redis. All writes go through a, whose link is good; b is in trouble.
type scenario struct {
	*staleness
	t       *testing.T
	server  *redistest.Server
	a, b    *session.RoutingStorage
	network *network // of b
}

func newScenario(t *testing.T) *scenario {
	t.Helper()
	s := &scenario{t: t, server: redistest.Start(t)}
	s.network = newNetwork(t, s.server.Addr())
	s.a = replica(t, s.server.Client(t, func(o *redis.Options) {
		// Writes wait for a server that is paused. Given up, they would still be executed, later than others.
		o.ReadTimeout, o.WriteTimeout, o.MaxRetries = patience, patience, -1
	}))
	s.b = s.reader()
	s.staleness = newStaleness(faultStaleness, s.a, s.b)
	return s
}

// reader returns a replica on the other side of the network.
func (s *scenario) reader() *session.RoutingStorage {
	return replica(s.t, s.server.Client(s.t, func(o *redis.Options) {
		o.Dialer, o.DialerRetries, o.ContextTimeoutEnabled = s.network.dial, 1, true
		// How long a connection that goes nowhere is waited for while it is set up is up to the client.
		o.DialTimeout, o.ReadTimeout = faultStaleness, faultStaleness
	}))
}

func replica(t testing.TB, client *redis.Client) *session.RoutingStorage {
	st := session.NewRoutingStorage(session.NewRedisStorage(client, time.Hour), 1000,
		session.WithMaxStaleness(faultStaleness), session.WithLoadTimeout(2*faultStaleness))
	t.Cleanup(func() { require.NoError(t, st.Close()) })
	return st
}

func awaitMode(t testing.TB, st *session.RoutingStorage, mode session.Mode) {
	t.Helper()
	require.Eventually(t, func() bool { return st.Stats().Mode == mode }, patience, time.Millisecond)
}

func (s *scenario) killSubscriptions() {
	_, err := s.server.Client(s.t).Do(s.t.Context(), "CLIENT", "KILL", "TYPE", "pubsub").Result()
	require.NoError(s.t, err)
}

var (
	dropped = netfault.Fault{Drop: true}
	held    = netfault.Fault{Hold: true}
)

// fault is what happens to b. What the network does heals by itself in the end.
type fault struct {
	begin, end  func(s *scenario)
	mode        session.Mode // while it lasts; empty: it changes
	unavailable bool         // commands are cut too: what is not cached cannot be loaded
}

var faults = map[string]fault{
	"subscription killed by the server": {
		begin: (*scenario).killSubscriptions,
	},
	"subscription killed over and over": {
		begin: func(s *scenario) {
			for range 6 {
				gaps := s.b.Stats().Gaps
				s.killSubscriptions()
				require.Eventually(s.t, func() bool { return s.b.Stats().Gaps > gaps }, patience, time.Millisecond)
			}
		},
	},
	"events lost on their way to the client": {
		begin: func(s *scenario) { s.network.set(events, netfault.ToClient, dropped) },
		mode:  session.ModeBoundedAge,
	},
	"events late": {
		begin: func(s *scenario) {
			s.network.set(events, netfault.ToClient, netfault.Fault{Latency: faultStaleness / 4})
		},
		mode: session.ModeLeased,
	},
	"events held up": { // and delivered in the end, when they are too old to prove anything
		begin: func(s *scenario) { s.network.set(events, netfault.ToClient, held) },
		mode:  session.ModeBoundedAge,
	},
	"events' link lost on its way to the server": { // a subscription that exists has nothing to send
		begin: func(s *scenario) { s.network.set(events, netfault.ToServer, dropped) },
		mode:  session.ModeLeased,
	},
	"events' link lost on its way to the server, subscription killed": {
		begin: func(s *scenario) {
			s.network.set(events, netfault.ToServer, dropped)
			s.killSubscriptions()
		},
		mode: session.ModeBoundedAge,
	},
	"events' link lost both ways": {
		begin: func(s *scenario) { s.network.setBoth(events, dropped) },
		mode:  session.ModeBoundedAge,
	},
	"heartbeats published, but not received": {
		begin: func(s *scenario) {
			s.network.setDeaf(true)
			s.network.reset(events)
		},
		mode: session.ModeBoundedAge,
	},
	"all links lost": {
		begin: func(s *scenario) {
			s.network.setBoth(commands, dropped)
			s.network.setBoth(events, dropped)
		},
		mode: session.ModeBoundedAge, unavailable: true,
	},
	"all connections broken, and new ones refused": {
		begin: func(s *scenario) {
			s.network.refuse(1 << 30)
			s.network.reset(commands)
			s.network.reset(events)
		},
		mode: session.ModeBoundedAge, unavailable: true,
	},
	"server paused": {
		begin: func(s *scenario) { s.server.Pause() },
		end:   func(s *scenario) { s.server.Continue() },
		mode:  session.ModeBoundedAge, unavailable: true,
	},
}

func TestNothingOlderThanTheBoundIsServed(t *testing.T) {
	t.Parallel()
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScenario(t)
			awaitMode(t, s.b, session.ModeLeased)
			s.prepare(t.Context(), t)
			stop := s.traffic(t.Context(), t)
			defer stop()

			fault.begin(s)
			time.Sleep(5 * faultStaleness / 2)
			if fault.unavailable {
				require.Eventually(t, func() bool { return s.countUnavailable() > 0 }, patience, time.Millisecond)
			}
			switch fault.mode {
			case session.ModeLeased: // but for moments, on a machine under load
				awaitMode(t, s.b, session.ModeLeased)
			case session.ModeBoundedAge:
				require.Equal(t, session.ModeBoundedAge, s.b.Stats().Mode)
			}
			s.network.heal()
			if fault.end != nil {
				fault.end(s)
			}
			s.resume()
			time.Sleep(faultStaleness) // longer than anything can be served without a new proof
			stop()
			s.verify(t)
			if !fault.unavailable {
				require.Zero(t, s.countUnavailable(), "the data link was alive")
			}
		})
	}
}

// resume waits until b serves as before, by itself.
func (s *scenario) resume() {
	healed := time.Now()
	awaitMode(s.t, s.b, session.ModeLeased)
	leased := time.Since(healed)
	require.Eventually(s.t, func() bool {
		return s.load(s.t.Context(), ending(0))
	}, patience, time.Millisecond)
	s.t.Logf("leased %v after the fault, answers after %v",
		leased.Round(time.Millisecond), time.Since(healed).Round(time.Millisecond))
}

func TestOneLostEventHealsWithinTheBound(t *testing.T) {
	t.Parallel()
	s := newScenario(t)
	awaitMode(t, s.b, session.ModeLeased)
	s.prepare(t.Context(), t)
	before := s.b.Stats()

	s.network.set(events, netfault.ToServer, held) // so that the next SUBSCRIBE waits
	s.network.reset(events)
	observer := s.server.Client(t)
	require.Eventually(t, func() bool {
		counts, err := observer.PubSubNumSub(t.Context(), "session:!events").Result()
		return err == nil && counts["session:!events"] == 1 // a's
	}, patience, time.Millisecond)
	require.NoError(t, s.store(t.Context(), changing))
	require.NoError(t, s.remove(t.Context(), ending(0)))
	s.network.heal()

	changed, removed := false, false
	require.Eventually(t, func() bool {
		changed = s.load(t.Context(), changing)
		removed = s.load(t.Context(), ending(0))
		return changed && removed
	}, patience, time.Millisecond)
	awaitMode(t, s.b, session.ModeLeased)
	require.Greater(t, s.b.Stats().Gaps, before.Gaps)

	// Events are delivered in order. If those had been on their way, they would be there before this one.
	require.NoError(t, s.store(t.Context(), changing))
	require.Eventually(t, func() bool { return s.load(t.Context(), changing) }, patience, time.Millisecond)
	require.Equal(t, before.Events+1, s.b.Stats().Events)
	s.verify(t)
}

func TestLateHeartbeatProvesNoMoreThanWhenItWasSent(t *testing.T) {
	t.Parallel()
	s := newScenario(t)
	awaitMode(t, s.b, session.ModeLeased)
	s.prepare(t.Context(), t)
	s.network.set(events, netfault.ToClient, netfault.Fault{Latency: faultStaleness / 5})
	time.Sleep(faultStaleness) // from now on all that arrives is late

	// Sessions end while a heartbeat is on its way. It arrives, their events are lost.
	newProof := func() func() bool {
		last := s.b.Stats().ProofAge
		return func() bool {
			age := s.b.Stats().ProofAge
			defer func() { last = age }()
			return age < last
		}
	}
	require.Eventually(t, newProof(), patience, time.Millisecond)
	removed, arrived := 0, newProof()
	for i := range ticks(t.Context(), time.Millisecond) {
		if arrived() || i == endingCount {
			break
		}
		require.NoError(t, s.remove(t.Context(), ending(i)))
		removed++
	}
	s.network.set(events, netfault.ToClient, dropped)

	serving, cancel := context.WithTimeout(t.Context(), 2*faultStaleness)
	defer cancel()
	for range ticks(serving, time.Millisecond) {
		for i := range removed {
			s.load(t.Context(), ending(i))
		}
	}
	s.verify(t)
}

func TestReplicaThatStartsBeforeRedisCanBeReached(t *testing.T) {
	t.Parallel()
	s := newScenario(t)
	require.NoError(t, s.store(t.Context(), changing))
	s.network.refuse(1 << 30)
	late := s.reader()
	s.staleness.reader = late
	for s.countUnavailable() == 0 {
		require.False(t, s.load(t.Context(), changing))
	}
	s.network.heal()
	start := time.Now()
	require.Eventually(t, func() bool { return s.load(t.Context(), changing) }, patience, time.Millisecond)
	answers := time.Since(start)
	awaitMode(t, late, session.ModeLeased)
	t.Logf("answers after %v, leased after %v", answers.Round(time.Millisecond), time.Since(start).Round(time.Millisecond))
	s.verify(t)
}
