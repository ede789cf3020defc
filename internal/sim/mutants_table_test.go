package sim

var mutants = []mutant{
	// Events.
	{
		"no revocation on an event", "internal/nearcache/watch.go",
		"dropped := s.changedLocked(id, revision)",
		"dropped := false",
		50, "",
	},
	{
		"no revocation on a removal", "internal/nearcache/watch.go",
		"dropped := s.removedLocked(id)",
		"dropped := false",
		50, "",
	},
	{
		"an event revokes what is newer, not what is older", "internal/nearcache/revoke.go",
		"e != nil && e.revision < revision {",
		"e != nil && e.revision > revision {",
		50, "",
	},
	{
		"an event does not revoke the flights under way", "internal/nearcache/revoke.go",
		"k.knownRevision = max(k.knownRevision, revision)",
		"_ = k",
		1000, "",
	},
	{
		"a removal does not revoke the flights under way", "internal/nearcache/revoke.go",
		"k.revoked = true",
		"_ = k",
		1000, "",
	},
	{
		"a revoked flight can be joined, after a change", "internal/nearcache/revoke.go",
		"k.knownRevision = max(k.knownRevision, revision)\n\t}\n\tc.joinNoMoreLocked(id)",
		"k.knownRevision = max(k.knownRevision, revision)\n\t}",
		1000, "",
	},
	{
		"a revoked flight can be joined, after a removal", "internal/nearcache/revoke.go",
		"k.revoked = true\n\t}\n\tc.joinNoMoreLocked(id)",
		"k.revoked = true\n\t}",
		1000, "",
	},

	// The lease.
	{
		"the lease counts from the arrival of the proof", "internal/nearcache/watch.go",
		"proven := min(s.clock.at(asOf), s.clock.now())",
		"proven := s.clock.now()",
		2000, "",
	},
	{
		"the lease is twice too long", "internal/nearcache/lease.go",
		"asOf.add(c.config.MaxStaleness); until",
		"asOf.add(2 * c.config.MaxStaleness); until",
		300, "",
	},
	{
		"the lease never ends", "internal/nearcache/lease.go",
		"{ return epoch == l.epoch && now < l.until }",
		"{ return epoch == l.epoch && l.until > 0 }",
		1000, "",
	},
	{
		"the lease covers entries of every epoch", "internal/nearcache/lease.go",
		"{ return epoch == l.epoch && now < l.until }",
		"{ return now < l.until }",
		300, "",
	},
	{
		"a gap begins no epoch", "internal/nearcache/watch.go",
		"s.stats.gaps.Add(1)\n\ts.nextEpoch()\n\ts.watch.proven.Store(false)",
		"s.stats.gaps.Add(1)",
		300, "",
	},
	{
		"a master proves what it has missed as a replica", "internal/sim/failback.go",
		"return r.since == r.promotions",
		"return true",
		1000, "",
	},
	{
		"an epoch begins with the subscription", "internal/nearcache/watch.go",
		"if !s.watch.proven.Swap(true) {",
		"if false {",
		1000, "",
	},
	{
		"the epoch is read after the call", "internal/nearcache/flight.go",
		"c.putLocked(&f.call, f.value, f.revision, f.startedAt)",
		"f.epoch = c.lease.Load().epoch\n\tc.putLocked(&f.call, f.value, f.revision, f.startedAt)",
		0, "nearcache.TestEpochIsReadBeforeTheCall",
	},
	{
		"the watcher reports no gap when it connects again", "internal/sim/watch.go",
		"s.send(session.Gap{})",
		"if w.calls < 100 { s.send(session.Gap{}) }",
		300, "",
	},
	{
		"the watcher's heartbeat asks the events link only", "internal/sim/watch.go",
		"s.send(session.Alive{AsOf: asOf})",
		"s.transmit(session.Alive{AsOf: asOf})",
		2000, "",
	},

	// Age and expiry.
	{
		"the age counts from after the call", "internal/nearcache/revoke.go",
		"fetchedAt: k.startedAt,",
		"fetchedAt: c.clock.now(),",
		2000, "",
	},
	{
		"the age is not looked at", "internal/nearcache/lease.go",
		"return (now < e.fetchedAt.add(c.young) || l.covers(e.epoch, now)) && c.alive(e, now)",
		"return c.alive(e, now)",
		50, "",
	},
	{
		"freshness slides on hits", "internal/nearcache/cache.go",
		"c.table.touch(e, now)\n\tc.stats.hit()",
		"c.table.touch(e, now)\n\te.fetchedAt = now\n\tc.stats.hit()",
		300, "",
	},
	{
		"an old flight is joined", "internal/nearcache/flight.go",
		"limit := min(c.config.MaxStaleness, c.config.LoadTimeout)",
		"limit := c.config.LoadTimeout",
		0, "nearcache.TestOldFlightIsNotJoined",
	},
	{
		"an idle session is served", "internal/nearcache/lease.go",
		"return now < e.expiresAt && c.config.Current",
		"return c.config.Current",
		300, "",
	},
	{
		"the idle lifetime counts from after the call", "internal/nearcache/revoke.go",
		"idleEnd(toldAt, c.idle(value))",
		"idleEnd(now, c.idle(value))",
		2000, "",
	},
	{
		"an expired session is served", "storage_routing.go",
		"return s.expiresAt.IsZero() || !s.Expired(time.Now())",
		"return true || !s.Expired(time.Now())",
		300, "",
	},
	{
		"a session that expires on its way is served", "storage_routing.go",
		"case err == nil && s.Expired(time.Now()): // while",
		"case err == nil && false: // while",
		2000, "",
	},
	{
		"nothing is refreshed", "internal/nearcache/cache.go",
		"if now >= instant(e.refreshAt.Load()) {\n\t\tc.refreshSoon(e, now)",
		"if false {\n\t\tc.refreshSoon(e, now)",
		1000, "",
	},
	{
		"a refresh does not keep the session alive", "internal/sim/server.go",
		"s.use(r)\n\treturn r.session(), nil",
		"return r.session(), nil",
		300, "",
	},
	{
		"a refresh that finds nothing leaves the entry", "internal/nearcache/flight.go",
		"if !f.revoked {",
		"if false {",
		1000, "",
	},

	// Idle lifetimes of a session's own.
	{
		"a copy lives for the TTL", "internal/nearcache/revoke.go",
		"idleEnd(toldAt, c.idle(value))",
		"idleEnd(toldAt, c.config.TTL)",
		300, "",
	},
	{
		"a copy is renewed as the TTL demands", "internal/nearcache/lifetime.go",
		"idle > 0 && idle/4 < refreshAfter",
		"false",
		1000, "",
	},
	{
		"a flight is joined that has outlived its session", "internal/nearcache/cache.go",
		"case c.outlived(f, now):",
		"case false:",
		2000, "",
	},
	{
		"a load that asks anew joins any flight", "internal/nearcache/cache.go",
		"within = c.idle(f.value)",
		"",
		0, "nearcache.TestRetryJoinsOnlyAYoungFlight",
	},
	{
		"a use is told for a TTL", "internal/nearcache/tell.go",
		"return now >= idleEnd(u.at, u.idle)",
		"return now >= idleEnd(u.at, c.config.TTL)",
		0, "nearcache.TestUseTakesTheLaterIdleTime",
	},

	// Revalidation in batches.
	{
		"what has changed counts as revalidated", "internal/nearcache/tell.go",
		"if unchanged && c.config.Current(e.value, e.revision) {",
		"if c.config.Current(e.value, e.revision) {",
		1000, "",
	},
	{
		"what was revoked meanwhile counts as revalidated", "internal/nearcache/tell.go",
		"if e := u.entry; e != nil && c.table.find(u.id) == e {",
		"if e := u.entry; e != nil {",
		4000, "",
	},
	{
		"a revalidation does not keep the session alive", "internal/sim/server.go",
		"r.idleAt = max(r.idleAt, s.idleEnd(r, usedAt))\n",
		"\n",
		1000, "",
	},
	{
		"the remote is told that a use was just now", "internal/nearcache/tell.go",
		"At: c.clock.time(u.at)",
		"At: time.Now()",
		1000, "",
	},

	// Misses that are remembered.
	{
		"a miss is remembered in spite of an event", "internal/nearcache/revoke.go",
		"c.absence.forget(id)\n\tfor",
		"for",
		1000, "",
	},
	{
		"a miss is remembered in spite of a write that failed", "internal/nearcache/revoke.go",
		"c.absence.forget(id) // a write",
		"// a write",
		2000, "",
	},
	{
		"a miss is remembered in spite of a copy", "internal/nearcache/revoke.go",
		"c.absence.forget(k.id)",
		"",
		0, "nearcache.TestChangeEndsAnAbsence",
	},
	{
		"a miss is remembered that a change overlapped", "internal/nearcache/absent.go",
		"f.revoked, f.knownRevision > 0:",
		"f.revoked:",
		2000, "",
	},
	{
		"a miss is remembered that a failed write overlapped", "internal/nearcache/absent.go",
		"f.revoked, f.knownRevision > 0:",
		"f.knownRevision > 0:",
		2000, "",
	},
	{
		"the lease covers misses of every epoch", "internal/nearcache/absent.go",
		"c.lease.Load().covers(a.epoch, now)",
		"now < c.lease.Load().until",
		2000, "",
	},
	{
		"the age of a miss counts from after the call", "internal/nearcache/absent.go",
		"absent{askedAt: f.startedAt,",
		"absent{askedAt: c.clock.now(),",
		2000, "",
	},
	{
		"a miss is remembered for ever", "internal/nearcache/absent.go",
		"!ok || now >= a.askedAt.add(max(c.config.RefreshAfter, c.config.MaxStaleness))",
		"!ok",
		1000, "",
	},
	{
		"a miss is served for its age in spite of fencing", "internal/nearcache/absent.go",
		"a.askedAt.add(c.young)",
		"a.askedAt.add(c.config.MaxStaleness)",
		0, "nearcache.TestUnknownIDIsAskedForOnce",
	},

	// Writes.
	{
		"a write is promoted in spite of a newer event", "internal/nearcache/write.go",
		"if w.mayKeep(revision) {",
		"if !w.revoked {",
		1000, "",
	},
	{
		"a write is promoted in spite of a removal", "internal/nearcache/flight.go",
		"return !k.revoked && revision >= k.knownRevision",
		"return revision >= k.knownRevision",
		1000, "",
	},
	{
		"a write does not revoke the flights under way", "internal/nearcache/write.go",
		"c.changedLocked(w.id, revision)",
		"",
		1000, "",
	},
	{
		"a write is local before it is acknowledged", "storage_routing.go",
		"if err := remote(ctx, own); err != nil {",
		"early, _ := rt.cache.Begin(s.id)\n\tearly.Acknowledged(own, own.Revision())\n\t" +
			"if err := remote(ctx, own); err != nil {",
		300, "",
	},
	{
		"the local copy is kept after a failed write", "internal/nearcache/write.go",
		"c.removedLocked(w.id)\n\t\treturn",
		"return",
		300, "",
	},
	{
		"a loaded session is stored unconditionally", "storage_routing.go",
		"own := s.limited(rt.maxLifetime).clone()",
		"own := s.limited(rt.maxLifetime).Detached()",
		50, "",
	},
	{
		"the revision is not handed to the caller", "storage_routing.go",
		"Stamp(s, own.Revision()) // last",
		"_ = s // last",
		50, "",
	},
	{
		"a write under way is not known", "internal/nearcache/write.go",
		"c.beginLocked(&w.call, id)",
		"c.beginLocked(&w.call, id)\n\tc.endLocked(&w.call)",
		300, "",
	},
	{
		"a delete has no second revocation", "storage_routing.go",
		"w.Drop()\n\tdefer w.Gone()",
		"w.Drop()",
		1000, "",
	},

	{
		"a waiting load gets a copy that has changed", "internal/nearcache/together.go",
		"if err == nil && unchanged[i] && c.config",
		"if err == nil && (unchanged[i] || true) && c.config",
		0, "nearcache.TestLoadsThatWaitShareACall",
	},

	// Outages.
	{
		"an answer does not end an outage", "internal/nearcache/gate.go",
		"if g.outage && sentAt > g.since {",
		"if false {",
		1000, "",
	},
	{
		"a load that had little time begins an outage", "internal/nearcache/gate.go",
		"took < min(max(slowFailure, 2*g.slowest), c.config.LoadTimeout):",
		"quick:",
		0, "nearcache.TestLoadSentLateIsNoOutage",
	},
	{
		"an outage goes on although its probe failed quickly", "internal/nearcache/gate.go",
		"case probe && quick:",
		"case probe && quick && false:",
		0, "nearcache.TestQuickErrorEndsAnOutage",
	},
	{
		"a place is not given back", "internal/nearcache/loaders.go",
		"c.gate.sent-- //",
		"//",
		1000, "",
	},

	// Fences.
	{
		"a copy is served for its age in spite of fencing", "internal/nearcache/cache.go",
		"if !config.LeaseOnly {",
		"if true {",
		0, "nearcache.TestLeaseOnlyJoinsNoUncoveredFlight",
	},
	{
		"a flight is joined for its age in spite of fencing", "internal/nearcache/flight.go",
		"(!c.config.LeaseOnly || c.lease.Load().covers(f.epoch, now))",
		"true",
		0, "nearcache.TestLeaseOnlyJoinsNoUncoveredFlight",
	},
	{
		"a fence does not wait for the answers", "internal/fence/fence.go",
		"link.Holder != w.name && !a.answered[link]",
		"link.Holder == \"\" && !a.answered[link]",
		1000, "",
	},
	{
		"an answer to another fence counts", "internal/fence/holder.go",
		"if a := h.attempts[fence]; a != nil {\n\t\ta.answered",
		"for _, a := range h.attempts {\n\t\ta.answered",
		0, "fence.TestEventsDuringAFence",
	},
	{
		"a marker that another server passes on counts", "internal/fence/fence.go",
		"expected[link] = false",
		"expected[link] = true",
		0, "fence.TestFenceReturnsEarlyOnlyIfAllHolds",
	},
	{
		"the caller's own marker need not arrive", "internal/fence/fence.go",
		"!arrived || epoch != w.epoch",
		"arrived && epoch != w.epoch",
		0, "fence.TestFenceReturnsEarlyOnlyIfAllHolds",
	},
	{
		"the caller's epoch may be young", "internal/fence/fence.go",
		"old := w.begunAt.Add(a.lease + Margin(a.lease))",
		"old := w.begunAt",
		0, "fence.TestFenceReturnsEarlyOnlyIfAllHolds",
	},
	{
		"the caller's epoch begins with the subscription", "internal/fence/holder.go",
		"w.begunAt = time.Time{}",
		"w.begunAt = time.Now()",
		0, "fence.TestFenceReturnsEarlyOnlyIfAllHolds",
	},
	{
		"the registry may be a new one", "internal/fence/fence.go",
		"known := w.knownSince.Add(a.lease + Margin(a.lease))",
		"known := w.knownSince",
		0, "fence.TestFenceReturnsEarlyOnlyIfAllHolds",
	},
	{
		"a fence returns at half of S", "internal/fence/fence.go",
		"end := called.Add(lease + Margin(lease))",
		"end := called.Add(lease / 2)",
		0, "fence.TestFenceTriesAgain",
	},
	{
		"a fence leaves no margin for the clocks", "internal/fence/fence.go",
		"return max(time.Millisecond, lease/500)",
		"return 0",
		0, "fence.TestFenceReturnsEarlyOnlyIfAllHolds",
	},
	{
		"a holder is forgotten after one look", "internal/fence/forget.go",
		"now.Add(lease+Margin(lease))",
		"now",
		0, "fence.TestCrashedHolderIsForgotten",
	},
	{
		"a holder is forgotten although it has beaten", "internal/fence/forget.go",
		"notes[name], lease = e.Note,",
		"notes[name], lease = \"\",",
		0, "fence.TestCrashedHolderIsForgotten",
	},
	{
		"a former name is removed while its lease runs", "internal/fence/holder.go",
		"if h.watch == nil || !h.watch.leaseEnded {",
		"if h.watch == nil {",
		0, "fence.TestFormerNames",
	},

	// Shard channels. In one script it makes no difference which of the two counts comes first.
	{
		"a shard channel counts with any link missing", "internal/sim/shard.go",
		"if n >= s.listeners() {",
		"if true {",
		300, "",
	},
	{
		"the listeners are counted at an earlier change", "internal/sim/shard.go",
		"if n >= s.listeners() {",
		"counted, now := s.world.history.Faults, s.listeners()\n\t\t\t\tbefore := counted[id]\n" +
			"\t\t\t\tif counted[id] = now; n >= before {",
		1000, "",
	},
	{
		"a link joins shard channels before the one for events", "internal/sim/watch.go",
		"\tconfirmed()\n",
		"\ts.joined = [shardChannels]bool{true, true, true}\n" +
			"\tw.at((joinLane + lane(l.replica)).from(w.now()+upTo(l.shards, w.Staleness)), func() {\n" +
			"\t\tw.mu.Lock()\n\t\tdefer w.mu.Unlock()\n\t\tconfirmed()\n\t})\n",
		1000, "",
	},
	{
		"a link leaves the channel for events, and not the others", "internal/sim/watch.go",
		"\ts.open = false\n\tdelete(l.world.server.subscriptions, s)\n",
		"\ts.open, s.listed = false, false\n",
		1000, "",
	},

	// Pressure.
	{
		"more loads at a time than allowed", "internal/nearcache/flight.go",
		"admitLocked(f *flight[V]) {\n\tif c.gate.sent < c.config.LoadConcurrency {",
		"admitLocked(f *flight[V]) {\n\tif true {",
		1000, "",
	},
	{
		"heartbeats need a connection of the pool", "internal/sim/watch.go",
		"if now < l.pausedUntil {",
		"if now < l.pausedUntil || w.Pool > 0 && l.connections == w.Pool {",
		1000, "",
	},
	{
		"uses that could not be told together are not told one by one", "internal/nearcache/tell.go",
		"if single && !u.single {",
		"if false {",
		1000, "",
	},

	// Reads that are no loads like others, and sweeps.
	{
		"a load that must not be stale joins a flight that was sent", "internal/nearcache/fresh.go",
		"if f == nil || f.sent || c.gate.outage {",
		"if f == nil || c.gate.outage {",
		300, "",
	},
	{
		"a load that must not be stale is answered by a copy", "internal/nearcache/fresh.go",
		"c.stats.misses.Add(1)",
		"if value := c.answerLocked(id); value != nil {\n\t\tc.mu.Unlock()\n\t\treturn value, nil\n\t}",
		300, "",
	},
	{
		"a load that must not be stale gets older state in an outage", "internal/nearcache/fresh.go",
		"if f.err == nil {",
		"if f.outage {\n\t\treturn c.orStale(id, f.err)\n\t}\n\tif f.err == nil {",
		1000, "",
	},
	{
		"a peek is a use", "internal/nearcache/cache.go",
		"!l.covers(e.epoch, now) {\n\t\treturn nil\n\t}",
		"!l.covers(e.epoch, now) {\n\t\treturn nil\n\t}\n\tc.table.touch(e, now)",
		300, "",
	},
	{
		"a peek is answered by a young copy", "internal/nearcache/cache.go",
		"e == nil || !l.covers(e.epoch, now) {",
		"e == nil || now < 0 {",
		0, "nearcache.TestPeekNeedsTheLease",
	},
	{
		"a sweep leaves the copies", "internal/nearcache/sweep.go",
		"return e.toldAt < limit",
		"return false",
		300, "",
	},
	{
		"a sweep goes by when a copy was fetched", "internal/nearcache/sweep.go",
		"return e.toldAt < limit",
		"return e.fetchedAt < limit",
		4000, "",
	},
	{
		"a sweep does not revoke the flights under way", "internal/nearcache/sweep.go",
		"return k.startedAt < limit",
		"return false",
		0, "nearcache.TestStoreFromBeforeASweepIsNoCopy",
	},

	{
		"a revoke leaves the copies", "internal/nearcache/sweep.go",
		"return match(e.value)",
		"return false",
		300, "",
	},
	{
		"a revoke does not revoke the flights under way", "internal/nearcache/sweep.go",
		"func(*call) bool { return true }",
		"func(*call) bool { return false }",
		1000, "",
	},

	// The adapter.
	{
		"a write that failed is acknowledged", "storage_routing.go",
		"return err\n\t}\n\tw.Acknowledged",
		"w.Acknowledged(own, own.Revision())\n\t\treturn err\n\t}\n\tw.Acknowledged",
		300, "",
	},
	{
		"a copy is taken for newer than it is", "remote.go",
		"return s, s.Revision(), nil",
		"own := s.clone()\n\tStamp(own, s.Revision()+1_000_000)\n\treturn own, own.Revision(), nil",
		300, "",
	},
	{
		"an outage is the remote's answer", "storage_routing.go",
		"func(err error) bool { return !isAnswer(err) }",
		"func(err error) bool { return isAnswer(err) }",
		300, "",
	},
	{
		"the end of a waiter's context is an outage", "internal/nearcache/cache.go",
		"if err := c.await(ctx, f); err != nil {\n\t\t\treturn nil, err",
		"if err := c.await(ctx, f); err != nil {\n\t\t\treturn c.orStale(id, err)",
		0, "nearcache.TestEndOfTheCallersContextIsNoOutage",
	},

	// Outages, callers, memory.
	{
		"an outage is a session that is not found", "remote.go",
		"return opErrBecause(op, ErrUnavailable, err)",
		"return opErrBecause(op, ErrNotFound, err)",
		50, "",
	},
	{
		"a waiter's end is the flight's", "internal/nearcache/deadline.go",
		"context.WithCancelCause(context.WithoutCancel(ctx))",
		"context.WithCancelCause(ctx)",
		1000, "",
	},
	{
		"stale-if-error for ever", "internal/nearcache/stale.go",
		"return now < staleSince.add(c.config.StaleIfError) && c.alive(e, now)",
		"return c.config.StaleIfError > 0 && c.alive(e, now)",
		1000, "",
	},
	{
		"stale-if-error for what has expired", "internal/nearcache/stale.go",
		"return now < staleSince.add(c.config.StaleIfError) && c.alive(e, now)",
		"return now < staleSince.add(c.config.StaleIfError)",
		1000, "",
	},
	{
		"stale-if-error without WithStaleIfError", "internal/nearcache/stale.go",
		"if c.config.StaleIfError == 0 {\n\t\treturn nil, err",
		"c.config.StaleIfError = c.config.MaxStaleness\n\tif c.config.StaleIfError == 0 {\n\t\treturn nil, err",
		1000, "",
	},
	{
		"one entry too many", "internal/nearcache/cache.go",
		"newTable[V](config.MaxEntries, config.MaxBytes)",
		"newTable[V](config.MaxEntries+1, config.MaxBytes)",
		50, "",
	},
	{
		"a closed storage goes on serving", "internal/nearcache/cache.go",
		"c.table.purgeLocked() // so",
		"// so",
		1000, "",
	},
}
