package redisstore

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"

	"github.com/seed34611480/session/internal/errs"
)

// write executes a script that writes, and waits for MinReplicas in the same round trip.
func (s *Store) write(ctx context.Context, sc script, key string, args ...any) (any, error) {
	client, err := s.writer(ctx, key)
	if err != nil {
		return nil, err
	}
	return runScript(ctx, client, sc, []string{key}, args...)
}

// writer returns the client through which a key is written.
func (s *Store) writer(ctx context.Context, key string) (processor, error) {
	if s.minReplicas == 0 {
		return s.client, nil
	}
	switch client := s.client.(type) {
	case *redis.Client:
		return replicatedWriter{s, client}, nil
	case *redis.ClusterClient: // WAIT has no key: send it to the node that gets the write
		node, err := client.MasterForKey(ctx, key)
		if err != nil {
			return nil, err
		}
		return replicatedWriter{s, node}, nil
	}
	return nil, errs.Because(fmt.Sprintf("waiting for replicas through a %T", s.client), errors.ErrUnsupported)
}

type replicatedWriter struct {
	store  *Store
	server *redis.Client
}

// Process sends a command that writes, and fails it with ErrTooFewReplicas if fewer than MinReplicas have it in time.
func (w replicatedWriter) Process(ctx context.Context, cmd redis.Cmder) error {
	pipe := w.server.Pipeline()
	_ = pipe.Process(ctx, cmd)
	wait := redis.NewIntCmd(ctx, "wait", w.store.minReplicas, w.store.replicaTimeout.Milliseconds())
	_ = pipe.Process(ctx, wait)
	_, _ = pipe.Exec(ctx) // each command has its own error
	if err := cmd.Err(); err != nil {
		return err
	}
	if acknowledged, err := wait.Result(); err != nil {
		cmd.SetErr(err)
	} else if acknowledged < int64(w.store.minReplicas) {
		cmd.SetErr(ErrTooFewReplicas)
	}
	return cmd.Err()
}
