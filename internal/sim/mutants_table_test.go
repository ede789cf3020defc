package sim

var mutants = []mutant{
	// Events.
	{
		"no revocation on an event", "routing_watch.go",
		"dropped := r.changedLocked(e.ID, e.Revision)",
		"dropped := false",
		50,
	},
	{
		"no revocation on a removal", "routing_watch.go",
		"dropped := r.removedLocked(e.ID)",
		"dropped := false",
		50,
	},
	{
		"an event revokes what is newer, not what is older", "coherence.go",
		"e != nil && e.revision < revision {",
		"e != nil && e.revision > revision {",
		50,
	},
	{
		"an event does not revoke the flights under way", "coherence.go",
		"c.newer = max(c.newer, revision)",
		"_ = c",
		1000,
	},
	{
		"a removal does not revoke the flights under way", "coherence.go",
		"c.revoked = true",
		"_ = c",
		1000,
	},
	{
		"a revoked flight can be joined, after a change", "coherence.go",
		"c.newer = max(c.newer, revision)\n\t}\n\tdelete(r.flights, id)",
		"c.newer = max(c.newer, revision)\n\t}",
		1000,
	},
	{
		"a revoked flight can be joined, after a removal", "coherence.go",
		"c.revoked = true\n\t}\n\tdelete(r.flights, id)",
		"c.revoked = true\n\t}",
		1000,
	},

	// The lease.
	{
		"the lease counts from the arrival of the proof", "routing_watch.go",
		"asOf := min(r.clock.at(e.AsOf), r.clock.now())",
		"asOf := r.clock.now()",
		2000,
	},
	{
		"the lease is twice too long", "lease.go",
		"asOf.add(maxStaleness); until",
		"asOf.add(2 * maxStaleness); until",
		300,
	},
	{
		"the lease never ends", "lease.go",
		"{ return epoch == l.epoch && now < l.until }",
		"{ return epoch == l.epoch && l.until > 0 }",
		1000,
	},
	{
		"the lease covers entries of every epoch", "lease.go",
		"{ return epoch == l.epoch && now < l.until }",
		"{ return now < l.until }",
		300,
	},
	{
		"a gap begins no epoch", "routing_watch.go",
		"r.stats.gaps.Add(1)\n\t\tr.lease.beginEpoch()",
		"r.stats.gaps.Add(1)",
		300,
	},
	{
		"the epoch is read after the call", "flight.go",
		"r.putLocked(&f.call, s, s.Revision())",
		"f.epoch = r.lease.read().epoch\n\tr.putLocked(&f.call, s, s.Revision())",
		5000,
	},
	{
		"the watcher reports no gap when it connects again", "internal/sim/watch.go",
		"s.send(session.Gap{})",
		"if w.calls < 100 { s.send(session.Gap{}) }",
		300,
	},
	{
		"the watcher's heartbeat asks the events link only", "internal/sim/watch.go",
		"s.send(session.Alive{AsOf: asOf})",
		"s.transmit(session.Alive{AsOf: asOf})",
		2000,
	},

	// Age and expiry.
	{
		"the age counts from after the call", "coherence.go",
		"fetchedAt: c.startedAt, expiresAt: never",
		"fetchedAt: r.clock.now(), expiresAt: never",
		2000,
	},
	{
		"the age is not looked at", "entry.go",
		"return (now < e.fetchedAt.add(r.maxStaleness) || l.covers(e.epoch, now)) && e.alive(now)",
		"return e.alive(now)",
		50,
	},
	{
		"freshness slides on hits", "storage_routing.go",
		"r.local.touch(e, now)\n\tr.stats.hit()",
		"r.local.touch(e, now)\n\te.fetchedAt = now\n\tr.stats.hit()",
		300,
	},
	{
		"an old flight is joined", "flight.go",
		"joinable := min(r.maxStaleness, r.loadTimeout)",
		"joinable := r.loadTimeout",
		2000,
	},
	{
		"an idle session is served", "entry.go",
		"if now >= e.expiresAt {",
		"if false {",
		300,
	},
	{
		"the idle lifetime counts from after the call", "coherence.go",
		"e.expiresAt = c.startedAt.add(r.ttl)",
		"e.expiresAt = r.clock.now().add(r.ttl)",
		2000,
	},
	{
		"an expired session is served", "entry.go",
		"return e.session.expiresAt.IsZero() || !e.session.Expired(time.Now())",
		"return true || !e.session.Expired(time.Now())",
		300,
	},
	{
		"a session that expires on its way is served", "flight.go",
		"if f.err == nil && f.result.Expired(time.Now()) {",
		"if false && f.result.Expired(time.Now()) {",
		2000,
	},
	{
		"nothing is refreshed", "storage_routing.go",
		"if due := e.refreshAt.Load(); now >= instant(due) {",
		"if due := e.refreshAt.Load(); false {",
		1000,
	},
	{
		"a refresh does not keep the session alive", "internal/sim/server.go",
		"s.use(r)\n\treturn r.session(), nil",
		"return r.session(), nil",
		300,
	},
	{
		"a refresh that finds nothing leaves the entry", "flight.go",
		"if !f.revoked {\n\t\tr.local.removeLocked(f.id)",
		"if false {\n\t\tr.local.removeLocked(f.id)",
		1000,
	},

	// Revalidation in batches.
	{
		"what has changed counts as revalidated", "revalidate.go",
		"case !unchanged[i]:",
		"case i < 0:",
		1000,
	},
	{
		"what was revoked meanwhile counts as revalidated", "revalidate.go",
		"case r.local.get(e.id) == e:",
		"default:",
		4000,
	},
	{
		"a revalidation does not keep the session alive", "internal/sim/server.go",
		"s.use(r)\n\treturn true",
		"return true",
		1000,
	},
	{
		"what was not revalidated is not loaded", "refresh.go",
		"r.refresher.alone = append(r.refresher.alone, others...)",
		"_ = others",
		1000,
	},

	// Writes.
	{
		"a write is promoted in spite of a newer event", "storage_routing.go",
		"if c.mayCache(stored.Revision()) {",
		"if !c.revoked {",
		1000,
	},
	{
		"a write is promoted in spite of a removal", "flight.go",
		"return !c.revoked && revision >= c.newer",
		"return revision >= c.newer",
		1000,
	},
	{
		"a write does not revoke the flights under way", "storage_routing.go",
		"r.changedLocked(c.id, stored.Revision())",
		"",
		1000,
	},
	{
		"a write is local before it is acknowledged", "storage_routing.go",
		"var stored *Session\n\tdefer func() {",
		"var stored *Session\n\tr.mu.Lock()\n\tr.putLocked(c, own, own.Revision())\n\tr.mu.Unlock()\n\tdefer func() {",
		300,
	},
	{
		"the local copy is kept after a failed write", "storage_routing.go",
		"r.removedLocked(c.id)\n\t\treturn",
		"return",
		300,
	},
	{
		"a loaded session is stored unconditionally", "storage_routing.go",
		"own := s.clone()",
		"own := s.Detached()",
		50,
	},
	{
		"the revision is not handed to the caller", "storage_routing.go",
		"Stamp(s, stored.Revision()) // last",
		"_ = s // last",
		50,
	},
	{
		"a write under way is not known", "storage_routing.go",
		"r.beginLocked(c, id)",
		"r.beginLocked(c, id)\n\tr.endLocked(c)",
		300,
	},
	{
		"a delete has no second revocation", "storage_routing.go",
		"defer r.endWrite(c, nil)",
		"defer func() { r.mu.Lock(); r.endLocked(c); r.mu.Unlock() }()",
		1000,
	},

	// Outages, callers, memory.
	{
		"an outage is a session that is not found", "storage_routing.go",
		"return failBecause(op, ErrUnavailable, err, redact(err, id))",
		"return failBecause(op, ErrNotFound, err, redact(err, id))",
		50,
	},
	{
		"a waiter's end is the flight's", "flight.go",
		"f.ctx, f.cancel = context.WithTimeoutCause(context.WithoutCancel(ctx),",
		"f.ctx, f.cancel = context.WithTimeoutCause(ctx,",
		1000,
	},
	{
		"stale-if-error for ever", "stale_if_error.go",
		"return now < staleSince.add(r.staleIfError) && e.alive(now)",
		"return r.staleIfError > 0 && e.alive(now)",
		1000,
	},
	{
		"stale-if-error for what has expired", "stale_if_error.go",
		"return now < staleSince.add(r.staleIfError) && e.alive(now)",
		"return now < staleSince.add(r.staleIfError)",
		1000,
	},
	{
		"stale-if-error without WithStaleIfError", "stale_if_error.go",
		"if r.staleIfError == 0 {\n\t\treturn nil, err",
		"r.staleIfError = r.maxStaleness\n\tif r.staleIfError == 0 {\n\t\treturn nil, err",
		1000,
	},
	{
		"one entry too many", "storage_routing.go",
		"newLocalTier(maxLocalEntries)",
		"newLocalTier(maxLocalEntries + 1)",
		50,
	},
	{
		"a closed storage goes on serving", "storage_routing.go",
		"r.local.purgeLocked() // so",
		"// so",
		1000,
	},
}
