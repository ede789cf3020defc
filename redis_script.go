package session

import (
	"context"
	"crypto/sha1" //nolint:gosec // Redis names scripts by their SHA-1
	_ "embed"
	"encoding/hex"

	"github.com/redis/go-redis/v9"
)

var (
	//go:embed redis_store.lua
	storeSource string
	//go:embed redis_delete.lua
	deleteSource string
	//go:embed redis_take.lua
	takeSource string
	//go:embed redis_cap.lua
	capSource string
	//go:embed redis_revalidate.lua
	revalidateSource string
	//go:embed redis_heartbeat.lua
	heartbeatSource string

	storeScript      = newScript(storeSource)
	deleteScript     = newScript(deleteSource)
	takeScript       = newScript(takeSource)
	capScript        = newScript(capSource)
	revalidateScript = newScript(revalidateSource)
	heartbeatScript  = newScript(heartbeatSource)
)

type script struct{ source, hash string }

func newScript(source string) script {
	sum := sha1.Sum([]byte(source)) //nolint:gosec // see the import
	return script{source: source, hash: hex.EncodeToString(sum[:])}
}

// run executes a script by its hash. A server that does not know it (yet, or since it restarted) gets the source.
func (r *RedisStorage) run(ctx context.Context, s script, key string, args ...any) (any, error) {
	client, err := r.writer(ctx, key)
	if err != nil {
		return nil, err
	}
	return runScript(ctx, client, s, []string{key}, args...)
}

// processor is any client, or one node's of a Cluster.
type processor interface {
	Process(ctx context.Context, cmd redis.Cmder) error
}

func runScript(ctx context.Context, client processor, s script, keys []string, args ...any) (any, error) {
	reply, err := runOnce(ctx, client, "evalsha", s.hash, keys, args)
	if err != nil && redis.HasErrorPrefix(err, "NOSCRIPT") {
		reply, err = runOnce(ctx, client, "eval", s.source, keys, args)
	}
	return reply, err
}

func runOnce(ctx context.Context, client processor, command, script string, keys []string, args []any) (any, error) {
	all := append(make([]any, 0, 3+len(keys)+len(args)), command, script, len(keys))
	for _, key := range keys {
		all = append(all, key)
	}
	cmd := redis.NewCmd(ctx, append(all, args...)...)
	cmd.SetFirstKeyPos(3) // the client routes by it on a Cluster
	_ = client.Process(ctx, atMostOnce{cmd})
	return cmd.Result()
}

// atMostOnce is a command that the client does not send again. Clients repeat a command whose reply got lost. For a
// write that is wrong, for example:
//
//  1. Store(revision 5) is executed, the stored revision is now 6, and the reply is lost.
//  2. The client sends it again: stored is 6, expected is 5.
//  3. The caller is told ErrConflict, although the write took place; Update would apply its change twice.
type atMostOnce struct{ *redis.Cmd }

func (atMostOnce) NoRetry() bool { return true }
