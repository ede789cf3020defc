package main

import "time"

// load is what a replica did, and how much of it reached Redis.
type load struct {
	name                     string
	up                       time.Duration
	requests                 uint64
	hits, misses, refused    uint64 // counted by the storage,
	refreshed                uint64 // which refreshes sessions in the background,
	loads, refreshes, writes uint64 // and by its hook: refreshes are for one session or for several
	heartbeats, indexes      uint64 // counted by the Redis client,
	firstUses                uint64
	answered                 uint64 // as are all other commands
}

// load may count a call of the storage whose command is not counted yet, if the replica is at work.
func (r *replica) load() load {
	stats := r.sessions.Stats()
	l := load{
		name:       r.name,
		up:         time.Since(r.started),
		requests:   r.requests.Load(),
		hits:       stats.Hits,
		misses:     stats.Misses,
		refused:    stats.Refused,
		refreshed:  stats.Refreshes,
		loads:      r.calls.loads.Load(),
		refreshes:  r.calls.refreshes.Load(),
		writes:     r.calls.writes.Load(),
		heartbeats: r.line.heartbeats.Load(),
		indexes:    r.line.indexes.Load(),
		firstUses:  r.line.firstUses.Load(),
		answered:   r.line.answered.Load(),
	}
	if r.stopped {
		l.name += ", stopped"
	}
	return l
}

func (l load) commands() uint64 { return l.answered + l.heartbeats + l.indexes + l.firstUses }

// streams is how many commands keep the sessions of open streams alive: the storage does not count them.
func (l load) streams() uint64 { return l.answered - l.loads - l.refreshes - l.writes }

// explained reports whether all commands are accounted for, so that none is left for local hits.
func (l load) explained() bool { return l.streams() <= clients }

// overdone reports whether there were more background commands than one heartbeat and one refresh per session when due.
// Refreshes may come earlier: a session that was fetched without a lease, because the machine was too slow for it, is
// refreshed early; and any session may be refreshed a 64th of the time early, to share a command with others.
func (l load) overdone() bool {
	due := demoPace.refreshAfter - demoPace.refreshAfter/64
	return float64(l.heartbeats) > 1+l.up.Seconds()/demoPace.heartbeat().Seconds() ||
		float64(l.refreshed) > clients*l.up.Seconds()/due.Seconds()+float64(l.refused)
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
	now, before := counts(&l), counts(&earlier)
	for i := range now {
		*now[i] -= *before[i]
	}
	return l
}

func total(loads []load) load {
	sum := load{name: "all"}
	for _, l := range loads {
		for i, count := range counts(&l) {
			*counts(&sum)[i] += *count
		}
	}
	return sum
}

func counts(l *load) []*uint64 {
	return []*uint64{
		&l.requests, &l.hits, &l.misses, &l.refused, &l.refreshed, &l.loads, &l.refreshes, &l.writes,
		&l.heartbeats, &l.indexes, &l.firstUses, &l.answered,
	}
}
