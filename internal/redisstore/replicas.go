package redisstore

import (
	"context"

	"github.com/redis/go-redis/v9"
)

// write executes a script that writes, and waits for MinReplicas in the same round trip: on a connection, or through
// the client if there is none.
func (s *Store) write(ctx context.Context, on *redis.Conn, sc script, key string, args ...any) (any, error) {
	cluster, _ := s.base.(*redis.ClusterClient)
	args = s.announcing(ctx, sc, key, args)
	switch {
	case s.minReplicas == 0:
		return runScript(ctx, s.through(on), sc, []string{key}, args...)
	case on != nil:
		return runScript(ctx, replicatedWriter{s, on, false}, sc, []string{key}, args...)
	case cluster == nil:
		server, _ := s.base.(*redis.Client)
		return runScript(ctx, replicatedWriter{s, server, false}, sc, []string{key}, args...)
	}
	// WAIT has no key, so it has to go to the node that gets the write, past the client that follows the topology.
	reply, err := s.writeToMaster(ctx, cluster, sc, key, args...)
	if hasCode(err, "MOVED") { // nothing was executed
		_ = cluster.ForEachMaster(ctx, func(context.Context, *redis.Client) error { return nil }) // asks for the topology
		reply, err = s.writeToMaster(ctx, cluster, sc, key, args...)
	}
	if err != nil {
		cluster.ReloadState(ctx) // for the next one
	}
	return reply, err
}

func (s *Store) writeToMaster(
	ctx context.Context, cluster *redis.ClusterClient, sc script, key string, args ...any,
) (any, error) {
	node, err := cluster.MasterForKey(ctx, key)
	if err != nil {
		return nil, sc.failure(err)
	}
	reply, err := runScript(ctx, replicatedWriter{s, node, false}, sc, []string{key}, args...)
	address, asks := redis.IsAskError(err)
	if !asks {
		return reply, err
	}
	// The slot moves, and the key is not here any more, or not yet anywhere. The client need not know the other master.
	opts := ownOptions(node)
	opts.Addr = address
	other := redis.NewClient(opts)
	defer func() { _ = other.Close() }()
	return runScript(ctx, replicatedWriter{s, other, true}, sc, []string{key}, args...)
}

// pipeliner is any client, or one of its connections.
type pipeliner interface{ Pipeline() redis.Pipeliner }

type replicatedWriter struct {
	store  *Store
	server pipeliner
	asking bool // the slot of the key is being moved to the server
}

// Process sends a command that writes, and fails it with ErrTooFewReplicas if fewer than MinReplicas have it in time.
func (w replicatedWriter) Process(ctx context.Context, cmd redis.Cmder) error {
	pipe := w.server.Pipeline()
	if w.asking {
		_ = pipe.Process(ctx, redis.NewStatusCmd(ctx, "asking")) // for one command
	}
	_ = pipe.Process(ctx, cmd)
	replicated := w.store.waitFor(ctx, pipe)
	_, _ = pipe.Exec(ctx) // each command has its own error
	if err := cmd.Err(); err != nil {
		return err
	}
	if err := replicated(); err != nil {
		cmd.SetErr(err)
	}
	return cmd.Err()
}

// waitFor adds a WAIT to a pipeline. When that was executed, replicated returns ErrTooFewReplicas if fewer than
// MinReplicas have its writes.
func (s *Store) waitFor(ctx context.Context, pipe redis.Pipeliner) (replicated func() error) {
	wait := redis.NewIntCmd(ctx, "wait", s.minReplicas, s.replicaTimeout.Milliseconds())
	_ = pipe.Process(ctx, wait)
	return func() error {
		acknowledged, err := wait.Result()
		if err == nil && acknowledged < int64(s.minReplicas) {
			err = ErrTooFewReplicas
		}
		return err
	}
}
