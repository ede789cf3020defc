package redisstore

// shardMutants break the rules of shard.go and join.go. The simulator breaks more of them, see internal/sim.
var shardMutants = []mutant{
	{
		"a shard channel counts with any link missing", "scripts/announce.lua",
		" and reached >= all[2] then",
		" then",
		"TestPlainLinkMissesNothing",
	},
	{
		"each event is broadcast besides", "scripts/announce.lua",
		"      return\n",
		"",
		"TestEachEventReachesALinkOnce",
	},
	{
		"heartbeats are broadcast", "link.go",
		"if l.isJoined() {",
		"if false {",
		"TestEachEventReachesALinkOnce",
	},
	{
		"the refusal of a shard channel ends the watch", "link.go",
		"if err != nil && l.refusal(err) {",
		"if false {",
		"TestPlainLinkMissesNothing",
	},
	{
		"a link joins channels at once", "join.go",
		"case <-time.After(joinAfter * l.watch.timeout()):",
		"case <-time.After(0):",
		"TestLinkJoinsAfterAWhile",
	},
	{
		"a link joins channels before its master knows all masters", "join.go",
		"l.master.control); known {",
		"l.master.control); known || true {",
		"TestLinkJoinsAfterAWhile",
	},
	{
		"a link does not wait for the other masters", "join.go",
		"for _, other := range l.watch.links {",
		"for _, other := range []*link{l} {",
		"TestLinkJoinsAfterAWhile",
	},
	{
		"the end of a subscription is not noticed", "join.go",
		"delete(l.joins.joined, channel)",
		"_ = channel",
		"TestJoining",
	},
	{
		"a server that refuses channels is asked all the time", "join.go",
		"l.joins.idle = maxIdle",
		"l.joins.idle = 0",
		"TestJoining",
	},
	{
		"a server that refuses the channels for events is asked all the time", "join.go",
		"if !mayPass(err) && !hasCode",
		"if l.joins.asked[0] == l.shard && !mayPass(err) && !hasCode",
		"TestJoining",
	},
	{
		"what refuses a channel for a moment counts for long", "join.go",
		`!mayPass(err) && !hasCode(err, "MOVED")`,
		`!hasCode(err, "MOVED")`,
		"TestJoining",
	},
	{
		"a channel that has moved counts as refused", "join.go",
		`!mayPass(err) && !hasCode(err, "MOVED")`,
		"!mayPass(err)",
		"TestJoining",
	},
	{
		"a heartbeat counts that a shard channel alone has delivered", "scripts/registry.lua",
		"return redis.call('PUBSUB', 'NUMSUB', channel)[2]",
		"return type(reached) == 'number' and reached > 0 and reached or redis.call('PUBSUB', 'NUMSUB', channel)[2]",
		"TestHeartbeatNeedsTheSubscription",
	},
	{
		"a writer takes a channel on any master", "shard.go",
		"err == nil && at == master",
		"err == nil && at != nil && master != nil",
		"TestShardChannelOfAKey",
	},
	{
		"a writer that knows no masters looks for them for each channel", "shard.go",
		"if err != nil {\n\t\treturn args",
		"if err != nil && args == nil {\n\t\treturn args",
		"TestClusterThatIsAwayFailsAtOnce",
	},
	{
		"a batch looks for the masters for each key of a Cluster that is away", "each.go",
		"cluster = nil // the",
		"_ = err // the",
		"TestClusterThatIsAwayFailsAtOnce",
	},
	{
		"each session of a slot is renewed by itself", "revalidate.go",
		"if !ok || !cluster {",
		"if !ok || cluster {",
		"TestRevalidationOfOneSlot",
	},
	{
		"values of a slot that moves are not renewed", "revalidate.go",
		`case hasCode(err, "TRYAGAIN"):`,
		`case hasCode(err, "NEVER"):`,
		"TestRevalidationWhileASlotMoves",
	},
	{
		"a replicated write does not follow a slot that moves", "replicas.go",
		"if !asks {",
		"if !asks || true {",
		"TestReplicatedWriteWhileASlotMoves",
	},
}
