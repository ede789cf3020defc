package redisstore

import (
	"context"
	"crypto/sha1" //nolint:gosec // Redis names scripts by their SHA-1
	_ "embed"
	"encoding/hex"

	"github.com/redis/go-redis/v9"
)

var (
	//go:embed scripts/put.lua
	putSource string
	//go:embed scripts/delete.lua
	deleteSource string
	//go:embed scripts/take.lua
	takeSource string
	//go:embed scripts/cap.lua
	capSource string
	//go:embed scripts/revalidate.lua
	revalidateSource string
	//go:embed scripts/heartbeat.lua
	heartbeatSource string

	putScript        = newScript(putSource)
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

// processor is any client, or the client of one node of a Cluster.
type processor interface {
	Process(ctx context.Context, cmd redis.Cmder) error
}

// runScript executes a script by its hash. A server that does not know the hash (yet, or since a restart) gets the
// source.
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
	cmd.SetFirstKeyPos(3) // on a Cluster the client routes by it
	_ = client.Process(ctx, atMostOnce{cmd})
	return cmd.Result()
}

// atMostOnce is a command that the client does not repeat. By default a client repeats a command whose reply was lost.
// For a write that is wrong, for example:
//
//  1. Put with IfRevision(5) is executed, the stored revision is now 6, and the reply is lost.
//  2. The client sends the command again: 6 is stored, 5 is expected.
//  3. The caller gets ErrConflict, although the write took place. A caller that then reads, changes and writes again
//     applies its change twice.
type atMostOnce struct{ *redis.Cmd }

func (atMostOnce) NoRetry() bool { return true }
