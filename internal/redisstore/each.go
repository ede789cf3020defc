package redisstore

import (
	"context"
	"sync"

	"github.com/redis/go-redis/v9"
)

// call is what a script is to do with one key, or with several in the same slot.
type call struct {
	key  string
	more []string // further keys; only for a script that may be sent twice
	args []any
}

func (c *call) keys() []string { return append([]string{c.key}, c.more...) }

// batch is one script for many keys: on a Cluster, or where the server refuses scripts with several keys.
type batch struct {
	store   *Store
	script  script
	calls   []call
	writes  bool // it waits for MinReplicas
	replies []any
	errs    []error
}

// each executes a script once for each call, all those of a master in one pipeline. There is a reply or an error for
// each. What gets no reply is sent once more, see settle.
func (s *Store) each(ctx context.Context, sc script, writes bool, calls []call) (replies []any, errs []error) {
	b := &batch{
		store: s, script: sc, calls: calls, writes: writes && s.minReplicas > 0,
		replies: make([]any, len(calls)), errs: make([]error, len(calls)),
	}
	// Each master has a pipeline of its own, because the errors of one pipeline become those of all its commands when the
	// context ends.
	var masters sync.WaitGroup
	for master, group := range s.byMaster(ctx, calls) {
		masters.Go(func() { b.settle(ctx, master, group) })
	}
	masters.Wait()
	return b.replies, b.errs
}

// byMaster groups the indexes of calls by the server that has their keys.
func (s *Store) byMaster(ctx context.Context, calls []call) map[*redis.Client][]int {
	groups := make(map[*redis.Client][]int)
	cluster, _ := s.base.(*redis.ClusterClient)
	for i, c := range calls {
		var master *redis.Client // nil if there is one, or none is known: the commands then have the error
		if cluster != nil {
			var err error
			if master, err = cluster.MasterForKey(ctx, c.key); err != nil {
				cluster = nil // the client would look for its masters again for each key
			}
		}
		groups[master] = append(groups[master], i)
	}
	return groups
}

// settle sends a group to its master, and once more what got no reply.
func (b *batch) settle(ctx context.Context, master *redis.Client, group []int) {
	var through pipeliner = b.store.client
	if server, ok := b.store.base.(*redis.Client); ok && b.writes {
		through = server
	} else if master != nil && b.writes {
		through = master // WAIT has no key, and has to go where the writes go
	}
	lost, moved := b.send(ctx, through, group)
	if len(lost) > 0 && ctx.Err() == nil {
		_ = b.store.afresh(ctx, b.calls[lost[0]].key, func(on *redis.Conn) { // if there is none, the calls have the error
			_, again := b.send(ctx, on, lost)
			moved = append(moved, again...)
		})
	}
	for _, i := range moved { // nothing was executed, and the client of a Cluster follows
		c := b.calls[i]
		if len(c.more) > 0 {
			b.replies[i], b.errs[i] = runScript(ctx, b.store.client, b.script, c.keys(), c.args...)
			continue
		}
		b.replies[i], b.errs[i] = b.store.write(ctx, nil, b.script, c.key, c.args...)
	}
}

// send sends the script by its hash, and once more in full where the server did not know it. It returns the indexes of
// the calls whose reply was lost, and of those that another master has to execute.
func (b *batch) send(ctx context.Context, through pipeliner, group []int) (lost, moved []int) {
	unknown := b.pipe(ctx, through, "evalsha", b.script.hash, group)
	if len(unknown) > 0 {
		b.pipe(ctx, through, "eval", b.script.source, unknown)
	}
	for _, i := range group {
		switch err := b.errs[i]; {
		case hasCode(err, "MOVED", "ASK"):
			moved = append(moved, i)
		case lossOf(err) != notLost:
			lost = append(lost, i)
		}
	}
	return lost, moved
}

// pipe returns the indexes of the calls whose script the server did not know.
func (b *batch) pipe(ctx context.Context, through pipeliner, command, script string, group []int) (unknown []int) {
	pipe := through.Pipeline()
	cmds := make([]*redis.Cmd, len(group))
	for n, i := range group {
		c := b.calls[i]
		args := b.store.announcing(ctx, b.script, c.key, c.args)
		cmds[n] = scriptCommand(ctx, command, script, c.keys(), args)
		_ = pipe.Process(ctx, atMostOnce{cmds[n]})
	}
	replicated := func() error { return nil }
	if b.writes {
		replicated = b.store.waitFor(ctx, pipe)
	}
	_, _ = pipe.Exec(ctx) // each command has its own error
	tooFew := replicated()
	for n, i := range group {
		reply, err := cmds[n].Result()
		switch {
		case err != nil && redis.HasErrorPrefix(err, "NOSCRIPT"):
			unknown = append(unknown, i)
		case err == nil && reply == nil:
			err = errUnexpectedReply
		case err == nil:
			err = tooFew
		}
		b.replies[i], b.errs[i] = reply, nil
		if err != nil {
			b.replies[i], b.errs[i] = nil, b.script.failure(err)
		}
	}
	return unknown
}
