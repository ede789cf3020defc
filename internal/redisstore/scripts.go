package redisstore

import (
	"context"
	"crypto/sha1" //nolint:gosec // Redis names scripts by their SHA-1
	_ "embed"
	"encoding/hex"
	"errors"
	"regexp"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/seed34611480/session/internal/errs"
)

var (
	//go:embed scripts/header.lua
	headerSource string
	//go:embed scripts/load_plain.lua
	loadPlainSource string
	//go:embed scripts/load.lua
	loadSource string
	//go:embed scripts/announce.lua
	announceSource string
	//go:embed scripts/put.lua
	putSource string
	//go:embed scripts/delete.lua
	deleteSource string
	//go:embed scripts/take.lua
	takeSource string
	//go:embed scripts/revalidate.lua
	revalidateSource string
	//go:embed scripts/registry.lua
	registrySource string
	//go:embed scripts/heartbeat.lua
	heartbeatSource string
	//go:embed scripts/register.lua
	registerSource string
	//go:embed scripts/fence.lua
	fenceSource string
	//go:embed scripts/forget.lua
	forgetSource string

	loadScript       = newScript(loadPlainSource + headerSource + loadSource)
	putScript        = newScript(headerSource + announceSource + putSource)
	deleteScript     = newScript(headerSource + announceSource + deleteSource)
	takeScript       = newScript(headerSource + announceSource + takeSource)
	revalidateScript = newScript(headerSource + revalidateSource)
	heartbeatScript  = newScript(registrySource + heartbeatSource)
	registerScript   = newScript(registrySource + registerSource)
	fenceScript      = newScript(registrySource + fenceSource)
	forgetScript     = newScript(registrySource + forgetSource)
)

// script is one script. None returns nil: to a hook, a limiter or a metric of the client nil is an error, and in a
// chain of errors it says nothing about a value, because dialers and sentinels return it too.
type script struct {
	source, hash string
	commands     []string // the commands that it needs
	announces    bool     // it publishes an event, see announcing
}

var calls = regexp.MustCompile(`redis\.p?call\('([A-Z]+)'`)

func newScript(source string) script {
	sum := sha1.Sum([]byte(source)) //nolint:gosec // see the import
	s := script{
		source: source, hash: hex.EncodeToString(sum[:]), announces: strings.Contains(source, announceSource),
	}
	for _, call := range calls.FindAllStringSubmatch(source, -1) {
		if call[1] != "SPUBLISH" { // it does without
			s.commands = append(s.commands, call[1])
		}
	}
	slices.Sort(s.commands)
	s.commands = slices.Compact(s.commands)
	return s
}

// hasCode reports whether the server's own error has a code, which is its first word.
func hasCode(err error, codes ...string) bool {
	reply, ok := errors.AsType[redis.Error](err)
	if !ok {
		return false
	}
	if inner := codeInScript.FindStringSubmatch(reply.Error()); inner != nil {
		return slices.Contains(codes, inner[1])
	}
	code, _, _ := strings.Cut(reply.Error(), " ")
	return slices.Contains(codes, code)
}

// codeInScript finds the code of an error of a script in Redis 6, which puts the script's line in front of it, and in
// front of that, unless the error comes from redis.pcall, "ERR Error running script".
var codeInScript = regexp.MustCompile(
	`^(?:ERR Error running script [^@]*@user_script:\d+: )?@user_script: \d+: -?([A-Z]+) `)

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
	if err != nil {
		return nil, s.failure(err)
	}
	return reply, nil
}

// failure returns the error of a script that says nothing about a value.
func (s script) failure(err error) error {
	err = noAnswer(err)
	if lacksCommand(err) {
		return errs.Because("the server must be Redis 6.2 or later, and take EVALSHA, EVAL, and in scripts "+
			strings.Join(s.commands, ", "), err)
	}
	return err
}

// noAnswer returns an error of the client that none of this package's errors matches. A hook of the client may use
// another store, and return its errors.
func noAnswer(err error) error {
	for _, answer := range []error{
		ErrMissing, ErrExists, ErrConflict, ErrCorrupt, ErrEnded, ErrTooMany, ErrTooFewReplicas,
	} {
		if err != ErrTooFewReplicas && errors.Is(err, answer) { //nolint:errorlint // of replicatedWriter, not wrapped
			err = errors.New(err.Error())
		}
	}
	return err
}

// lacksCommand reports whether a server refused a command because it does not know it, or not in scripts: it is too
// old, the command was renamed, or a proxy is in front.
func lacksCommand(err error) bool {
	reply, ok := errors.AsType[redis.Error](err)
	// Redis 6: what redis.pcall refuses by itself has no code, but this in front.
	if !ok || !hasCode(err, "ERR", "@user_script:") {
		return false
	}
	text := strings.ToLower(reply.Error())
	return strings.Contains(text, "unknown command") || strings.Contains(text, "unknown redis command") ||
		strings.Contains(text, "not allowed from script")
}

func runOnce(ctx context.Context, client processor, command, script string, keys []string, args []any) (any, error) {
	cmd := scriptCommand(ctx, command, script, keys, args)
	_ = client.Process(ctx, atMostOnce{cmd})
	return cmd.Result()
}

func scriptCommand(ctx context.Context, command, script string, keys []string, args []any) *redis.Cmd {
	all := append(make([]any, 0, 3+len(keys)+len(args)), command, script, len(keys))
	for _, key := range keys {
		all = append(all, key)
	}
	cmd := redis.NewCmd(ctx, append(all, args...)...)
	cmd.SetFirstKeyPos(3) // on a Cluster the client routes by it
	return cmd
}

// atMostOnce is a command that the client does not repeat. By default a client repeats a command whose reply was lost,
// and does not tell. The store repeats by its own rules, see settle.go, and has to know whether a reply is the second
// one: "a value is stored already" then proves nothing, because the first command may have stored it.
type atMostOnce struct{ *redis.Cmd }

func (atMostOnce) NoRetry() bool { return true }
