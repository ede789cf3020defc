package session

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// WithMinReplicas makes writes wait until at least n replicas have them, for up to the timeout, in the same round trip
// (WAIT). Otherwise they fail with [ErrUnavailable], and it is unknown whether they will last.
//
// By default a write is acknowledged when the master has it, and a failover may lose the last ones: sessions can be
// back that were deleted. With n equal to the number of replicas that may be promoted, none is lost. The price is the
// time that replication takes, and that writes fail while too few replicas are there, or while their slot moves in a
// Cluster. It does not keep a master that was cut off from answering loads: that is for min-replicas-to-write, on the
// server.
//
// 0 turns it off, the default. It panics when n is negative, or n is positive and the timeout is less than a
// millisecond. It needs a client made by redis.NewClient, NewFailoverClient or NewClusterClient: with others every
// write fails.
func WithMinReplicas(n int, timeout time.Duration) RedisOption {
	if n < 0 || n > 0 && timeout < time.Millisecond {
		panic(fmt.Sprintf("session: WithMinReplicas(%d, %v): needs n >= 0 and a timeout of at least 1ms", n, timeout))
	}
	return redisOption(func(r *RedisStorage) { r.replicas = replication{n, timeout} })
}

// replication is what a write has to wait for.
type replication struct {
	n       int
	timeout time.Duration
}

var errTooFewReplicas = errors.New("too few replicas have the write")

// writer returns what sends a write of a key.
func (r *RedisStorage) writer(ctx context.Context, key string) (processor, error) {
	if r.replicas.n == 0 {
		return r.client, nil
	}
	switch client := r.client.(type) {
	case *redis.Client:
		return replicatedWriter{r.replicas, client}, nil
	case *redis.ClusterClient: // a WAIT has no key: it must go where the write goes
		node, err := client.MasterForKey(ctx, key)
		if err != nil {
			return nil, err
		}
		return replicatedWriter{r.replicas, node}, nil
	}
	return nil, fmt.Errorf("WithMinReplicas through a %T: %w", r.client, errors.ErrUnsupported)
}

type replicatedWriter struct {
	replication

	server *redis.Client
}

// Process sends a command that writes, and fails it if too few replicas have it.
func (w replicatedWriter) Process(ctx context.Context, cmd redis.Cmder) error {
	pipe := w.server.Pipeline()
	_ = pipe.Process(ctx, cmd)
	wait := redis.NewIntCmd(ctx, "wait", w.n, w.timeout.Milliseconds())
	_ = pipe.Process(ctx, wait)
	_, _ = pipe.Exec(ctx) // each command has its own error
	if err := cmd.Err(); err != nil && !errors.Is(err, redis.Nil) {
		return err
	}
	if acknowledged, err := wait.Result(); err != nil {
		cmd.SetErr(err)
	} else if acknowledged < int64(w.n) {
		cmd.SetErr(errTooFewReplicas)
	}
	return cmd.Err()
}
