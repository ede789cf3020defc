package main

import (
	"math"
	"time"
)

// workload is the input of the cost model; docs/scaling.md derives the formulas. Rates are per second.
type workload struct {
	Name     string
	Replicas float64
	Masters  float64
	Sessions float64
	// Spread is the number of replicas that receive the requests of one session: all of them if the balancer knows nothing
	// of sessions, one if it always sends a session to the same replica.
	Spread float64

	Requests float64 // for one session
	Writes   float64 // for one session
	Lifetime float64 // seconds until a session is deleted and another one is created

	TTL, MaxStaleness, RefreshAfter time.Duration
	IDSize, ValueSize               float64 // bytes
}

// cost is the total per second.
type cost struct {
	Loads       float64 // misses
	Batches     float64 // scripts that renew sessions
	Revalidated float64 // sessions that these renew
	Scripts     float64 // stores and deletes
	Heartbeats  float64
	Published   float64 // events
	Delivered   float64 // events, to all replicas
	PerReplica  float64 // events, to each replica
	Out, In     float64 // bytes that Redis sends to and receives from the replicas
	Local       float64 // entries that a replica's local tier needs room for
	Free        float64 // share of the requests that cause no command, alone or together with others
	AtOnce      float64 // share that does not wait for Redis; measured only: refreshes happen in the background
}

// Commands is the number of commands that Redis has to execute.
func (c cost) Commands() float64 { return c.Loads + c.Batches + c.Scripts + c.Heartbeats }

// replaced is the rate at which a session ends and another one takes its place.
func (w workload) replaced() float64 { return 1 / w.Lifetime }

func (w workload) cost() cost {
	var c cost
	pairs := w.Sessions * w.Spread
	misses, refreshes := w.askRates()
	c.Loads, c.Revalidated = pairs*misses, pairs*refreshes
	c.Batches = w.batches(c.Revalidated)
	c.Published = w.Sessions * (w.Writes + 2*w.replaced())
	c.Scripts = c.Published
	c.Heartbeats = w.Replicas * w.Masters * 4 / w.MaxStaleness.Seconds()
	c.PerReplica = c.Published // on a Cluster, too: each event comes through the shard channel of one master
	c.Delivered = c.PerReplica * w.Replicas
	c.Free = 1 - (c.Loads+c.Revalidated)/(w.Sessions*w.Requests)
	seen := 1 - math.Exp(-w.Requests/w.Spread*w.TTL.Seconds())
	c.Local = pairs / w.Replicas * seen

	channel := "session:!events:0"
	if w.Masters > 1 {
		channel += "{12345}" // and an s in front of "message", or one digit less
	}
	message := float64(messageSize(len(channel), int(w.IDSize)))
	c.Out = c.Delivered*message + c.Heartbeats*heartbeatOut + c.Loads*(w.ValueSize+replyFrame) + c.Scripts*scriptReply +
		c.Batches*replyFrame + c.Revalidated
	deletes := w.Sessions * w.replaced()
	c.In = c.Heartbeats*heartbeatIn + c.Loads*(w.IDSize+loadFrame) +
		c.Batches*batchFrame + c.Revalidated*(w.IDSize+renewalFrame) +
		(c.Scripts-deletes)*(w.ValueSize+2*w.IDSize+storeFrame) + deletes*(2*w.IDSize+deleteFrame)
	return c
}

// Bytes around the variable parts, with the default prefix, exact to a few bytes.
const (
	heartbeatOut = 5 + 81 // the reply, and the message that comes back
	heartbeatIn  = 140
	replyFrame   = 8
	scriptReply  = 23
	loadFrame    = 100
	storeFrame   = 140
	deleteFrame  = 115
	batchFrame   = 85
	renewalFrame = 58 // for each session in a batch
)

// askRates returns how often a replica asks Redis for one session, because it does not have the session (misses) or to
// renew its entry (refreshes). Requests are a Poisson process.
//
//	requests  a = Requests/Spread reach this replica
//	own       u = (Writes+replaced)/Spread writes go through it, and leave a fresh entry without asking
//	others'   v = (Writes+replaced) - u writes drop the entry
//
// An entry is fresh until another replica writes, or for RefreshAfter without an own write: for t on average. Then
// either the next request asks, or an own write comes first and makes asking unnecessary.
//
// It asks in order to renew if RefreshAfter passes without a write, and a request is what comes next, within the TTL.
func (w workload) askRates() (misses, refreshes float64) {
	refresh := w.RefreshAfter.Seconds()
	a := w.Requests / w.Spread
	all := w.Writes + w.replaced()
	u := all / w.Spread
	ended := 1 - math.Exp(-all*refresh) // the chance of a write by any replica before RefreshAfter
	t := (ended / all) / (1 - ended*u/all)
	asks := a / (t*(a+u) + 1)
	inTime := 1 - math.Exp(-(a+all)*(w.TTL.Seconds()-refresh))
	refreshes = (asks + u) * (1 - ended) * a / (a + all) * inTime
	return asks - refreshes, refreshes
}

// batches returns the scripts that the refreshes of all replicas take, per second: the first session that is due waits
// for others. On a Cluster there is a script for each slot, and two sessions are hardly ever in the same one.
func (w workload) batches(refreshes float64) float64 {
	if w.Masters > 1 {
		return refreshes
	}
	wait := min(w.RefreshAfter.Seconds()/64, w.MaxStaleness.Seconds()/4)
	others := refreshes / w.Replicas * wait // on average
	return max(refreshes/(1+others), refreshes/64)
}

// cases are those of docs/scaling.md: an agent that calls a tool every ten seconds, for an hour, and whose session
// changes every ten minutes.
func cases() []workload {
	base := workload{
		Requests: 0.1, Writes: 1.0 / 600, Lifetime: 3600,
		TTL: ttl, MaxStaleness: 2 * time.Second, RefreshAfter: time.Minute, IDSize: 26, ValueSize: 320,
	}
	sizes := []struct {
		name                        string
		replicas, masters, sessions float64
	}{
		{"3 replicas, 10 thousand sessions", 3, 1, 1e4},
		{"50 replicas, a million sessions", 50, 1, 1e6},
		{"1,000 replicas, 100 million sessions, one Cluster", 1000, 20, 1e8},
		{"the same in 10 cells, each: 100 replicas, 10 million sessions, a Cluster of 5 masters", 100, 5, 1e7},
		{"the same in 50 cells, each: 20 replicas, 2 million sessions", 20, 1, 2e6},
	}
	all := make([]workload, 0, 2*len(sizes))
	for _, size := range sizes {
		w := base
		w.Replicas, w.Masters, w.Sessions = size.replicas, size.masters, size.sessions
		w.Name, w.Spread = size.name+"; any replica", size.replicas
		all = append(all, w)
		w.Name, w.Spread = size.name+"; same replica", 1
		all = append(all, w)
	}
	return all
}
