package main

import "time"

// load is what a replica did, and how much of it reached Redis.
type load struct {
	name                                           string
	up                                             time.Duration
	requests                                       uint64
	hits, misses, refused, remoteLoads, background uint64 // counted by the storage
	writes                                         uint64 // counted by the proxy
	heartbeats, firstUses, loadsAndWrites          uint64 // counted by the Redis client
	renewals, renewed                              uint64 // likewise: for several sessions at once, and sessions in these
}

// load may count a remote load whose command is not counted yet, if the replica is at work.
func (r *replica) load() load {
	stats := r.sessions.Stats()
	l := load{
		name:           r.name,
		up:             time.Since(r.started),
		requests:       r.requests.Load(),
		hits:           stats.Hits,
		misses:         stats.Misses,
		refused:        stats.Refused,
		remoteLoads:    stats.RemoteLoads,
		background:     stats.Refreshes,
		writes:         r.tally.writes.Load(),
		heartbeats:     r.line.heartbeats.Load(),
		firstUses:      r.line.firstUses.Load(),
		loadsAndWrites: r.line.others.Load(),
		renewals:       r.line.renewals.Load(),
		renewed:        r.line.renewed.Load(),
	}
	if r.stopped {
		l.name += ", stopped"
	}
	return l
}

func (l load) commands() uint64 { return l.loadsAndWrites + l.renewals + l.heartbeats + l.firstUses }

// refreshes returns the number of commands that refreshed sessions, one or several.
func (l load) refreshes() uint64 { return l.loadsAndWrites - l.remoteLoads - l.writes + l.renewals }

// explained reports whether all commands are accounted for, so that none is left for local hits: each session that was
// refreshed had a command of its own, or shared one.
func (l load) explained() bool {
	return l.loadsAndWrites+l.renewed == l.remoteLoads+l.writes+l.background
}

// overdone reports whether there were more background commands than one heartbeat and one refresh per session when due.
// Refreshes may come earlier: a session that was fetched without a lease, because the machine was too slow for it, is
// refreshed early; and any session may be refreshed a 64th of the time early, to share a command with others.
func (l load) overdone() bool {
	return float64(l.heartbeats) > 1+l.up.Seconds()/heartbeat.Seconds() ||
		float64(l.background) > clients*l.up.Seconds()/(refreshAfter-refreshAfter/64).Seconds()+float64(l.refused)
}

func loads(replicas []*replica) []load {
	all := make([]load, len(replicas))
	for i, r := range replicas {
		all[i] = r.load()
	}
	return all
}

// since is what was counted after an earlier load of the same replica.
func (l load) since(earlier load) load {
	l.up -= earlier.up
	l.requests -= earlier.requests
	l.hits -= earlier.hits
	l.misses -= earlier.misses
	l.refused -= earlier.refused
	l.remoteLoads -= earlier.remoteLoads
	l.background -= earlier.background
	l.writes -= earlier.writes
	l.heartbeats -= earlier.heartbeats
	l.firstUses -= earlier.firstUses
	l.loadsAndWrites -= earlier.loadsAndWrites
	l.renewals -= earlier.renewals
	l.renewed -= earlier.renewed
	return l
}

func total(loads []load) load {
	sum := load{name: "all"}
	for _, l := range loads {
		sum.requests += l.requests
		sum.hits += l.hits
		sum.misses += l.misses
		sum.refused += l.refused
		sum.remoteLoads += l.remoteLoads
		sum.background += l.background
		sum.writes += l.writes
		sum.heartbeats += l.heartbeats
		sum.firstUses += l.firstUses
		sum.loadsAndWrites += l.loadsAndWrites
		sum.renewals += l.renewals
		sum.renewed += l.renewed
	}
	return sum
}
