package sim

import (
	"cmp"
	"math/rand/v2"
	"time"

	"github.com/seed34611480/session"
)

// Config is a simulation's configuration, drawn from its seed. The ranges are chosen so that everything that can happen
// does happen in some simulation, within a few times the staleness bound.
type Config struct {
	Seed     uint64
	Duration time.Duration

	Replicas, Clients, IDs int
	Think                  time.Duration // longest pause between the operations of one client
	Writes                 float64       // share of operations that change something
	Impatience             float64       // share of operations that are given up early
	Fresh, Peeks           float64       // shares of loads that must not be stale, and that are no use
	Revokes                float64       // share of changes that end all sessions of an owner
	OwnIdle                float64       // share of new sessions with an idle lifetime of their own

	MaxEntries   int
	Staleness    time.Duration
	TTL          time.Duration
	RefreshAfter time.Duration
	LoadTimeout  time.Duration
	MaxLoads     int // loads at a time; 0 for the default
	MaxRefreshes int // background calls at a time; 0 for the default
	StaleIfError time.Duration
	Misses       int  // ids that a replica remembers as missing; 0: none
	Watched      bool // the remote reports changes
	Revalidates  bool // the remote can revalidate several sessions at once

	Delay      time.Duration // longest time that a message takes, unless a fault delays it
	Calm       bool          // no faults except evictions and what follows
	Pool       int           // connections of a replica for commands; 0: as many as it needs
	Refusals   float64       // share of writes that the remote refuses
	Dead       int           // sessions that the remote gives no answer about, at times
	Fencing    bool          // replicas hold leases that fences wait for
	Shards     bool          // the remote is a Cluster, whose events go through shard channels
	Plain      float64       // share of links and writes that use none
	Early      bool          // some subscriptions are made to a server that becomes the master only later
	FaultEvery time.Duration // average time between faults
	CallFaults float64       // share of calls that fail on their own
}

const (
	maxReplicas = 4
	maxIDs      = 16
)

// outageLasts is how long the library may answer without asking the remote after a call to the remote has failed.
const outageLasts = 900 * time.Millisecond

// slowFailure is how long the remote must have taken to fail, so that the library may take it for an outage.
const slowFailure = 100 * time.Millisecond

// defaultRefreshes is the library's default for background calls at a time.
const defaultRefreshes = 16

// gatherShare is the part of RefreshAfter for which the library waits for more entries to fall due.
const gatherShare = 64

// NewConfig draws a configuration.
func NewConfig(seed uint64) Config {
	rng := stream(seed, configStream)
	s := pick(rng, time.Second/2, time.Second, 2*time.Second)
	c := Config{
		Seed:     seed,
		Duration: 24 * s,

		Replicas:   2 + rng.IntN(maxReplicas-1),
		Clients:    3 + rng.IntN(6),
		IDs:        1 + rng.IntN(5),
		Think:      s / pick[time.Duration](rng, 2, 10, 20, 50),
		Writes:     pick(rng, 0.01, 0.03, 0.1, 0.3),
		Impatience: pick(rng, 0, 0.05, 0.5),

		MaxEntries:  1 + rng.IntN(4),
		Staleness:   s,
		TTL:         s/2 + upTo(rng, pick(rng, 2*s, 10*s, 40*s)),
		LoadTimeout: (s/2+upTo(rng, pick(rng, s, 4*s)))&^(lanes-1) + aside,
		Watched:     chance(rng, 0.75),

		Delay:      s / pick[time.Duration](rng, 8, 50, 500),
		Calm:       chance(rng, 0.15),
		FaultEvery: 4 * s / pick[time.Duration](rng, 1, 2, 8),
	}
	if chance(rng, 0.3) {
		c.MaxLoads = 1 + rng.IntN(2)
	}
	c.RefreshAfter = c.TTL / 4
	if chance(rng, 0.5) {
		c.RefreshAfter = c.TTL / 8
	}
	if !c.Calm {
		c.CallFaults = pick(rng, 0, 0.01, 0.1)
		if chance(rng, 0.15) {
			c.StaleIfError = upTo(rng, 3*s)
		}
	}
	if c.Revalidates = chance(rng, 0.75); c.Revalidates {
		c.setTTL(c.TTL, c.TTL/c.RefreshAfter)
		if chance(rng, 0.3) {
			c.IDs, c.MaxEntries, c.Think = maxIDs, maxIDs, s/100 // so that several entries fall due together
		}
	}
	c.press(stream(seed, pressureStream))
	c.fence(stream(seed, fenceStream))
	if reads := stream(seed, readsStream); chance(reads, 0.5) {
		c.Fresh, c.Peeks = pick(reads, 0.02, 0.2, 0.5), pick(reads, 0, 0.2)
	}
	if lifetimes := stream(seed, lifetimeStream); chance(lifetimes, 0.4) {
		c.OwnIdle = pick(lifetimes, 0.2, 0.8)
	}
	if misses := stream(seed, missStream); chance(misses, 0.4) {
		c.Misses = 1 + misses.IntN(c.IDs)
	}
	if owners := stream(seed, ownerStream); chance(owners, 0.4) {
		c.Revokes = pick(owners, 0.05, 0.2)
	}
	if shards := stream(seed, shardsStream); c.Watched && chance(shards, 0.4) {
		c.shard(shards)
	}
	return c
}

// shard makes a simulation one with shard channels. In most, nothing but events drops copies for a long time: a single
// one that is missing then shows.
func (c *Config) shard(rng *rand.Rand) {
	c.Shards, c.Plain = true, pick(rng, 0, 0.1, 0.3, 0.5)
	if c.Calm || chance(rng, 0.3) {
		return
	}
	c.Replicas, c.MaxEntries, c.OwnIdle = 3+rng.IntN(maxReplicas-2), c.IDs, 0
	c.setTTL(10*c.Staleness+upTo(rng, 30*c.Staleness), c.TTL/c.RefreshAfter)
}

// ownIdle returns an idle lifetime for a session: shorter or longer than the TTL, or none.
func (c *Config) ownIdle(rng *rand.Rand) time.Duration {
	switch p := rng.Float64(); {
	case p < 0.3: // so short that it ends while a call is on its way
		return idleLike(skewed(rng, c.Staleness))
	case p < 0.6:
		return idleLike(skewed(rng, c.TTL))
	case p < 0.8:
		return idleLike(c.TTL + upTo(rng, 3*c.TTL))
	default:
		return session.NoIdleTimeout
	}
}

// idleLike returns about d, in whole milliseconds. The library waits for a 256th of it before a revalidation.
func idleLike(d time.Duration) time.Duration {
	const step = 4 * time.Millisecond // has a whole number of nanoseconds in a 256th
	for d = d.Truncate(step) + step; ; d += step {
		if pause := d / (4 * gatherShare) % lanes; pause >= firstIdleAside && pause < lastIdleAside {
			return d
		}
	}
}

// idleOf returns the idle lifetime of a session in the remote: negative for none.
func (c *Config) idleOf(s *session.Session) time.Duration {
	return cmp.Or(s.IdleTimeout(), c.TTL)
}

// refreshAfter is the library's for sessions with that idle lifetime.
func (c *Config) refreshAfter(idle time.Duration) time.Duration {
	if idle < 0 {
		return c.RefreshAfter
	}
	return min(c.RefreshAfter, idle/4)
}

// fence makes a simulation one with fences, or not.
func (c *Config) fence(rng *rand.Rand) {
	c.Early = c.Watched && !c.Calm && chance(rng, 0.2)
	if c.Watched && c.StaleIfError == 0 && chance(rng, 0.3) {
		c.Fencing = true
	}
}

// drift is how much longer than S one of the replicas takes S to be, in millionths: clocks differ in their rates.
func (c *Config) drift(replica int) float64 {
	if !c.Fencing {
		return 0
	}
	return []float64{500, -500, 0, 250}[replica%maxReplicas]
}

// stalenessOf is S, by the clock of a replica.
func (c *Config) stalenessOf(replica int) time.Duration {
	return time.Duration(float64(c.Staleness) * (1 + c.drift(replica)/1e6))
}

// press makes a simulation one under pressure, or not: little room for calls, and a remote that refuses some.
func (c *Config) press(rng *rand.Rand) {
	if !chance(rng, 0.4) {
		return
	}
	if chance(rng, 0.5) {
		c.Pool = 1 + rng.IntN(3)
	}
	if chance(rng, 0.5) {
		c.MaxRefreshes = 1 + rng.IntN(2)
	}
	if chance(rng, 0.3) {
		c.Refusals = pick(rng, 0.1, 0.5)
	}
	if c.IDs > 1 && chance(rng, 0.4) {
		c.Dead = 1 + rng.IntN(c.IDs/2)
	}
	if chance(rng, 0.5) {
		c.calmDown(rng)
	}
}

// calmDown makes a simulation one in which only the pressure can end a session too early: sessions that are seldom
// written, live shortly, and are due together or in a tier that is too small for them.
func (c *Config) calmDown(rng *rand.Rand) {
	c.Calm, c.CallFaults, c.StaleIfError, c.Impatience = true, 0, 0, 0
	c.Delay, c.Writes, c.IDs = c.Staleness/50, 0.03, maxIDs
	if chance(rng, 0.5) {
		c.Dead, c.MaxEntries, c.Think = 1+rng.IntN(c.IDs/2), maxIDs, c.Staleness/20
		c.setTTL(2*c.Staleness+upTo(rng, 8*c.Staleness), c.TTL/c.RefreshAfter)
		return
	}
	c.Dead, c.MaxEntries, c.Think, c.Clients = 0, 1+rng.IntN(6), c.Staleness/2, 3
	c.Pool, c.MaxRefreshes = 1, 1
	c.setTTL(c.Staleness+upTo(rng, 2*c.Staleness), c.TTL/c.RefreshAfter)
}

// setTTL sets the TTL, and RefreshAfter as a part of it.
func (c *Config) setTTL(ttl, part time.Duration) {
	c.TTL, c.RefreshAfter = ttl, ttl/part
	if c.Revalidates {
		gather := min(c.RefreshAfter, 15*c.Staleness) / gatherShare // so short that no other limit applies to it
		c.RefreshAfter = ((gather-lanes)&^(lanes-1) + gatherAside) * gatherShare
	}
}

// mayBeDead reports whether the remote gives no answers about a session at times.
func (c *Config) mayBeDead(id string) bool {
	for i := range c.Dead {
		if id == nameOf(i) {
			return true
		}
	}
	return false
}

// late is how much later than without pressure the remote learns of something at most, while nothing else is wrong: a
// call waits for all others, and so do those that follow from its failure.
func (c *Config) late() (d time.Duration) {
	roundTrip, calls := 2*c.Delay, 0
	if c.Pool > 0 || c.MaxLoads > 0 || c.MaxRefreshes > 0 {
		calls = c.Clients + 2
		if c.MaxRefreshes == 0 || !c.Revalidates { // many at a time, or one after the other
			calls += min(c.IDs, defaultRefreshes)
		}
	}
	if c.Dead > 0 {
		d = outageLasts
		calls += c.IDs + 2
	}
	return d + time.Duration(calls)*roundTrip
}
