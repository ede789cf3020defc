package main

// load is what a replica had to do, and what of that Redis noticed.
type load struct {
	name                                              string
	requests, hits, remoteLoads, background, commands uint64
}

func (r *replica) load() load {
	stats := r.sessions.Stats()
	l := load{
		name:        r.name,
		requests:    r.requests.Load(),
		hits:        stats.Hits,
		remoteLoads: stats.RemoteLoads,
		background:  stats.Refreshes,
		commands:    r.commands.n.Load(),
	}
	if r.stopped {
		l.name += " (stopped)"
	}
	return l
}

func loads(replicas []*replica) []load {
	all := make([]load, len(replicas))
	for i, r := range replicas {
		all[i] = r.load()
	}
	return all
}

// since is what came after an earlier load of the same replica.
func (l load) since(earlier load) load {
	l.requests -= earlier.requests
	l.hits -= earlier.hits
	l.remoteLoads -= earlier.remoteLoads
	l.background -= earlier.background
	l.commands -= earlier.commands
	return l
}

func total(loads []load) load {
	sum := load{name: "all"}
	for _, l := range loads {
		sum.requests += l.requests
		sum.hits += l.hits
		sum.remoteLoads += l.remoteLoads
		sum.background += l.background
		sum.commands += l.commands
	}
	return sum
}
