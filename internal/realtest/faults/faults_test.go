package faults

import (
	"context"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/internal/netfault"
	"github.com/seed34611480/session/internal/realtest"
	"github.com/seed34611480/session/internal/redistest"
)

const faultStaleness = 250 * time.Millisecond

// scenario is two replicas on one Redis. All writes go through a, which has a good link. The faults affect b.
type scenario struct {
	*stalenessChecker

	t       *testing.T
	server  *redistest.Server
	a, b    *session.RoutingStorage
	network *network      // of b
	timeout time.Duration // of b's commands
}

func newScenario(t *testing.T) *scenario {
	t.Helper()
	return newScenarioWith(t, faultStaleness)
}

func newScenarioWith(t *testing.T, timeout time.Duration) *scenario {
	t.Helper()
	s := &scenario{t: t, server: redistest.Start(t), timeout: timeout}
	s.network = newNetwork(t, s.server.Addr())
	s.a = replica(t, s.server.Client(t, func(o *redis.Options) {
		// Writes wait for a server that is paused. If the client gave one up, the server would still execute it, after
		// writes that were sent later.
		o.ReadTimeout, o.WriteTimeout, o.MaxRetries = realtest.Patience, realtest.Patience, -1
	}))
	s.b = s.newReader()
	s.stalenessChecker = newStalenessChecker(faultStaleness, s.a, s.b)
	return s
}

// newReader returns a replica that reaches Redis through the network.
func (s *scenario) newReader() *session.RoutingStorage {
	return replica(s.t, s.server.Client(s.t, func(o *redis.Options) {
		o.Dialer, o.DialerRetries, o.ContextTimeoutEnabled = s.network.dial, 1, true
		// The client alone decides how long setting up a connection may take.
		o.DialTimeout, o.ReadTimeout = s.timeout, s.timeout
	}), session.WithLoadTimeout(2*s.timeout))
}

func replica(t testing.TB, client *redis.Client, opts ...session.RoutingOption) *session.RoutingStorage {
	st := session.NewRoutingStorage(session.NewRedisStorage(client, time.Hour), 1000,
		append([]session.RoutingOption{
			session.WithMaxStaleness(faultStaleness), session.WithLoadTimeout(2 * faultStaleness),
		}, opts...)...)
	t.Cleanup(func() { require.NoError(t, st.Close()) })
	return st
}

func awaitMode(t testing.TB, st *session.RoutingStorage, mode session.Mode) {
	t.Helper()
	require.Eventually(t, func() bool { return st.Stats().Mode == mode }, realtest.Patience, time.Millisecond)
}

func (s *scenario) killSubscriptions() {
	_, err := s.server.Client(s.t).Do(s.t.Context(), "CLIENT", "KILL", "TYPE", "pubsub").Result()
	require.NoError(s.t, err)
}

var (
	dropped = netfault.Fault{Drop: true}
	held    = netfault.Fault{Hold: true}
)

// fault affects b. The test heals the network after each fault.
type fault struct {
	begin, end  func(s *scenario)
	mode        session.Mode // during the fault; empty: it changes
	unavailable bool         // commands fail too, so that b can only serve its copies
}

var faults = map[string]fault{
	"subscription killed by the server": {
		begin: (*scenario).killSubscriptions,
	},
	"subscription killed repeatedly": {
		begin: func(s *scenario) {
			for range 6 {
				gaps := s.b.Stats().Gaps
				s.killSubscriptions()
				require.Eventually(s.t, func() bool { return s.b.Stats().Gaps > gaps }, realtest.Patience, time.Millisecond)
			}
		},
	},
	"events lost to the client": {
		begin: func(s *scenario) { s.network.set(events, netfault.ToClient, dropped) },
		mode:  session.ModeBoundedAge,
	},
	"events late": {
		begin: func(s *scenario) {
			s.network.set(events, netfault.ToClient, netfault.Fault{Latency: faultStaleness / 4})
		},
		mode: session.ModeLeased,
	},
	"events held back": { // they arrive in the end, too old to prove anything
		begin: func(s *scenario) { s.network.set(events, netfault.ToClient, held) },
		mode:  session.ModeBoundedAge,
	},
	"events' link lost to the server": { // an open subscription sends nothing
		begin: func(s *scenario) { s.network.set(events, netfault.ToServer, dropped) },
		mode:  session.ModeLeased,
	},
	"events' link lost to the server, subscription killed": {
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
			s.network.setWithoutHeartbeats(true)
			s.network.reset(events)
		},
		mode: session.ModeBoundedAge,
	},
	"all links lost": {
		begin: func(s *scenario) {
			s.network.setBoth(commands, dropped)
			s.network.setBoth(events, dropped)
		},
		mode: session.ModeUnavailable, unavailable: true,
	},
	"all connections broken, and new ones refused": {
		begin: func(s *scenario) {
			s.network.refuse(1 << 30)
			s.network.reset(commands)
			s.network.reset(events)
		},
		mode: session.ModeUnavailable, unavailable: true,
	},
	"server paused": {
		begin: func(s *scenario) { s.server.Pause() },
		end:   func(s *scenario) { s.server.Continue() },
		mode:  session.ModeUnavailable, unavailable: true,
	},
}

func TestNothingOlderThanTheBoundIsServed(t *testing.T) {
	t.Parallel()
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			timeout := faultStaleness
			if !fault.unavailable {
				timeout *= 8 // on a busy machine a command may be slow
			}
			s := newScenarioWith(t, timeout)
			awaitMode(t, s.b, session.ModeLeased)
			s.prepare(t.Context(), t)
			stop := s.traffic(t.Context(), t)
			defer stop()

			fault.begin(s)
			time.Sleep(5 * faultStaleness / 2)
			if fault.unavailable {
				require.Eventually(t, func() bool { return s.countUnavailable() > 0 }, realtest.Patience, time.Millisecond)
			}
			switch fault.mode {
			case session.ModeLeased, session.ModeUnavailable: // these may change for a moment on a machine under load
				awaitMode(t, s.b, fault.mode)
			case session.ModeBoundedAge:
				require.Equal(t, session.ModeBoundedAge, s.b.Stats().Mode)
			}
			s.network.heal()
			if fault.end != nil {
				fault.end(s)
			}
			s.awaitRecovery()
			time.Sleep(faultStaleness) // no copy is served for longer without a new proof
			stop()
			s.verify(t)
			if !fault.unavailable {
				require.Zero(t, s.countUnavailable(), "commands had a good link")
			}
		})
	}
}

// awaitRecovery waits until b serves as before the fault.
func (s *scenario) awaitRecovery() {
	healed := time.Now()
	awaitMode(s.t, s.b, session.ModeLeased)
	leased := time.Since(healed)
	require.Eventually(s.t, func() bool {
		return s.load(s.t.Context(), ending(0))
	}, realtest.Patience, time.Millisecond)
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
		counts, err := observer.PubSubNumSub(t.Context(), "session:!events:0").Result()
		return err == nil && counts["session:!events:0"] == 1 // a's
	}, realtest.Patience, time.Millisecond)
	require.NoError(t, s.store(t.Context(), changing))
	require.NoError(t, s.remove(t.Context(), ending(0)))
	s.network.heal()

	changed, removed := false, false
	require.Eventually(t, func() bool {
		changed = s.load(t.Context(), changing)
		removed = s.load(t.Context(), ending(0))
		return changed && removed
	}, realtest.Patience, time.Millisecond)
	awaitMode(t, s.b, session.ModeLeased)
	require.Greater(t, s.b.Stats().Gaps, before.Gaps)

	// Events arrive in order. If the lost ones were only late, they would arrive before this one.
	require.NoError(t, s.store(t.Context(), changing))
	require.Eventually(t, func() bool { return s.load(t.Context(), changing) }, realtest.Patience, time.Millisecond)
	require.Equal(t, before.Events+1, s.b.Stats().Events)
	s.verify(t)
}

func TestLateHeartbeatProvesOnlyItsSendTime(t *testing.T) {
	t.Parallel()
	s := newScenario(t)
	awaitMode(t, s.b, session.ModeLeased)
	s.prepare(t.Context(), t)
	s.network.set(events, netfault.ToClient, netfault.Fault{Latency: faultStaleness / 5})
	time.Sleep(faultStaleness) // from now on everything arrives late

	// 1. A heartbeat is sent.
	// 2. Sessions are deleted before it arrives.
	// 3. The heartbeat arrives, and the events of the deletes are lost.
	newProof := func() func() bool {
		last := s.b.Stats().ProofAge
		return func() bool {
			age := s.b.Stats().ProofAge
			defer func() { last = age }()
			return age < last
		}
	}
	require.Eventually(t, newProof(), realtest.Patience, time.Millisecond)
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

func TestReplicaStartsBeforeRedisIsReachable(t *testing.T) {
	t.Parallel()
	s := newScenario(t)
	require.NoError(t, s.store(t.Context(), changing))
	s.network.refuse(1 << 30)
	late := s.newReader()
	s.reader = late
	for s.countUnavailable() == 0 {
		require.False(t, s.load(t.Context(), changing))
	}
	s.network.heal()
	start := time.Now()
	require.Eventually(t, func() bool { return s.load(t.Context(), changing) }, realtest.Patience, time.Millisecond)
	answers := time.Since(start)
	awaitMode(t, late, session.ModeLeased)
	t.Logf("answers after %v, leased after %v", answers.Round(time.Millisecond), time.Since(start).Round(time.Millisecond))
	s.verify(t)
}
