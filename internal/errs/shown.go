package errs

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"slices"
	"strings"
	"syscall"
)

// Shown returns what may be shown of an error's text. Clients, servers and hooks put the commands that failed into
// their errors: ids, owners, contents, as they are or escaped. There is no telling these from the rest of a text, so
// Shown shows nothing that is not on a list: constants, names of types, and what the standard library makes of
// addresses and system errors.
func Shown(err error) string {
	for e := range All(err) {
		if text := shown(e); text != "" {
			return text
		}
	}
	return "(details hidden: " + typeOf(err) + ")"
}

// shown returns the text of one error of a chain, or "" if it is not known to be safe.
func shown(e error) string {
	switch err := e.(type) { //nolint:errorlint // Shown visits each error of the chain
	case interface{ SafeText() string }:
		return err.SafeText()
	case interface{ RedisError() }:
		return redisReply(e.Error())
	case *net.OpError:
		return networkFailure(err)
	case SafeError, syscall.Errno, *net.DNSError, tls.AlertError, tls.RecordHeaderError,
		x509.UnknownAuthorityError, x509.HostnameError, x509.CertificateInvalidError:
		return e.Error()
	}
	if text := e.Error(); slices.Contains(harmless, text) {
		return text
	}
	return ""
}

// harmless are texts that are safe as a whole.
var harmless = []string{
	"EOF", "unexpected EOF", "i/o timeout", "use of closed network connection", "operation was canceled",
	"context canceled", "context deadline exceeded", "tls: handshake timeout",
	// go-redis. It exports few of these.
	"redis: client is closed",
	"redis: connection pool timeout",
	"redis: connection pool exhausted",
	"redis: connection not available",
	"redis: cluster has no nodes",
	"redis: all sentinels specified in configuration are unreachable",
}

// typeOf names the type that says most about an error: one that only wraps another, or is only a text, says nothing.
func typeOf(err error) string {
	for e := range All(err) {
		name := fmt.Sprintf("%T", e)
		if !strings.HasPrefix(name, "*fmt.") && !strings.HasPrefix(name, "*errors.") {
			return name
		}
	}
	return fmt.Sprintf("%T", err)
}

// networkFailure is like [net.OpError.Error], but for the parts whose type does not say what is in them.
func networkFailure(err *net.OpError) string {
	var parts []string
	for _, word := range []string{err.Op, err.Net} {
		if slices.Contains(networkWords, word) {
			parts = append(parts, word)
		}
	}
	switch address := err.Addr.(type) {
	case *net.TCPAddr, *net.UnixAddr:
		parts = append(parts, address.String())
	}
	if len(parts) == 0 {
		parts = []string{"network"}
	}
	text := strings.Join(parts, " ")
	if err.Err != nil {
		text += ": " + Shown(err.Err)
	}
	return text
}

var networkWords = []string{
	"dial", "read", "write", "close", "set", "remote error", "local error", "tcp", "tcp4", "tcp6", "unix",
}

// redisReply returns the code of an error reply, and the part of its text that Redis always says with that code.
func redisReply(text string) string {
	if strings.HasPrefix(text, "@user_script: ") { // Redis 6: what redis.pcall refuses by itself has no code
		text = "ERR " + text
	}
	code, rest, _ := strings.Cut(text, " ")
	// Redis 6: the script's own error comes last.
	if strings.HasPrefix(rest, "Error running script") || strings.HasPrefix(rest, "@user_script: ") {
		for word := range strings.FieldsSeq(rest) {
			if word = strings.TrimPrefix(word, "-"); word != "ERR" && replies[word] != nil {
				_, after, _ := strings.Cut(rest, word)
				code, rest = word, after
				break
			}
		}
	}
	phrases, ok := replies[code]
	if !ok {
		return "Redis error (details hidden)"
	}
	for _, phrase := range phrases {
		if _, after, found := strings.Cut(strings.ToLower(rest), strings.ToLower(phrase)); found {
			return code + " " + phrase + quotedCommand(phrase, after)
		}
	}
	return code
}

// quotedCommand returns the name of the command that a reply quotes after a phrase, if it is one of the commands that
// storages or their clients send. Any other name may be anything.
func quotedCommand(phrase, after string) string {
	if !slices.Contains(beforeCommands, phrase) {
		return ""
	}
	quoted := strings.FieldsFunc(after, func(r rune) bool { return strings.ContainsRune(" '`\"|,.", r) })
	if len(quoted) > 0 && slices.Contains(commands, quoted[0]) {
		return " '" + quoted[0] + "'"
	}
	return ""
}

// replies has the codes of Redis' error replies, and the phrases that follow them: the more telling ones first.
var replies = map[string][]string{
	"ASK": {}, "MOVED": {}, "EXECABORT": {}, "NOPROTO": {}, "NOTBUSY": {}, "UNKILLABLE": {}, "UNBLOCKED": {},
	"BUSY":        {"Redis is busy running a script", "is busy running a script"},
	"CLUSTERDOWN": {"Hash slot not served", "The cluster is down"},
	"CROSSSLOT":   {"Keys in request don't hash to the same slot"},
	"DENIED":      {"Redis is running in protected mode"},
	"ERR": {
		unknownCommand, "unknown Redis command called from", wrongArguments, "unsupported", "max number of clients reached",
		"DB index is out of range", "This instance has cluster support disabled", "invalid password",
		"AUTH called without any password configured", "syntax error", "invalid expire time", "value is not an integer",
		"The user executing the script can't run this command",
		"The user executing the script can't access at least one of the keys",
		"This Redis command is not allowed from script", "Error compiling script", "Error running script",
		"Protocol error",
	},
	"LOADING":    {"Redis is loading the dataset in memory", "is loading the dataset in memory"},
	"MASTERDOWN": {"Link with MASTER is down"},
	"MISCONF":    {"unable to persist to disk", "Errors writing to the AOF file"},
	"NOAUTH":     {"Authentication required"},
	"NOPERM": {
		noPermission, "no permissions to access one of the keys", "no permissions to access a key",
		"no permissions to access one of the channels", "no permissions to access a channel",
		"can't run this command", "can't access at least one of the keys",
	},
	"NOREPLICAS": {"Not enough good replicas to write"},
	"NOSCRIPT":   {"No matching script"},
	"OOM":        {"command not allowed when used memory > 'maxmemory'", "command not allowed"},
	"READONLY":   {"You can't write against a read only replica"},
	"TRYAGAIN":   {"Multiple keys request during rehashing of slot"},
	"WRONGPASS":  {"invalid username-password pair or user is disabled"},
	"WRONGTYPE":  {"Operation against a key holding the wrong kind of value"},
}

// Phrases that a quoted command follows.
const (
	unknownCommand = "unknown command"
	wrongArguments = "wrong number of arguments for"
	noPermission   = "no permissions to run the"
)

var beforeCommands = []string{unknownCommand, wrongArguments, noPermission}

// commands are those that storages send, and those with which go-redis sets up a connection and finds the servers.
var commands = []string{
	"asking", "auth", "client", "cluster", "del", "discard", "eval", "evalsha", "exec", "exists", "expire", "get", "getex",
	"getrange", "hdel", "hello", "hget", "hgetall", "hset", "incr", "info", "multi", "pexpire", "pexpireat", "ping",
	"psubscribe", "pttl", "publish", "pubsub", "readonly", "role", "script", "select", "sentinel", "set", "setnx",
	"setrange", "spublish", "ssubscribe", "subscribe", "sunsubscribe", "time", "ttl", "type", "unlink", "unsubscribe",
	"unwatch", "wait", "watch", "zadd", "zrange", "zrem", "zremrangebyscore", "zscore",
}
