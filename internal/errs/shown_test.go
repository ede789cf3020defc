package errs

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

// replyError is an error reply of a server, or what a hook passes off as one.
type replyError string

func (r replyError) Error() string { return string(r) }
func (replyError) RedisError()     {}

// hookError is what a careless hook puts around an error: the whole command.
type hookError struct {
	text  string
	cause error
}

func (e *hookError) Error() string { return e.text }
func (e *hookError) Unwrap() error { return e.cause }

// safe is an error that knows what of its text may be shown.
type safe struct{}

func (safe) Error() string    { return "id" }
func (safe) SafeText() string { return "load: corrupt value" }

func TestShown(t *testing.T) {
	t.Parallel()
	address := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 6379}
	const script = " script: 5b0e, on @user_script:12."
	for name, test := range map[string]struct {
		err  error
		want string
	}{
		// Replies, as Redis 7 and 6 make them.
		"unknown command": {
			replyError("ERR unknown command 'GETEX', with args beginning with: 'session:id' "),
			"ERR unknown command 'getex'",
		},
		"unknown command of Redis 6": {
			replyError("ERR unknown command `GETEX`, with args beginning with: `session:id`, "),
			"ERR unknown command 'getex'",
		},
		"unknown command that is none":  {replyError("ERR unknown command 'id'"), "ERR unknown command"},
		"unknown command without quote": {replyError("ERR unknown command, with args 'get'"), "ERR unknown command"},
		"no permission": {
			replyError("NOPERM User id has no permissions to run the 'evalsha' command"),
			"NOPERM no permissions to run the 'evalsha'",
		},
		"no permission, Redis 6": {
			replyError("NOPERM this user has no permissions to run the 'evalsha' command or its subcommand"),
			"NOPERM no permissions to run the 'evalsha'",
		},
		"no permission for a key": {
			replyError("NOPERM No permissions to access a key"), "NOPERM no permissions to access a key",
		},
		"out of memory": {
			replyError("OOM command not allowed when used memory > 'maxmemory'." + script),
			"OOM command not allowed when used memory > 'maxmemory'",
		},
		"out of memory, Redis 6": {
			replyError("ERR Error running script (call to f_5b0e): @user_script:12: @user_script: 12: -OOM command not " +
				"allowed when used memory > 'maxmemory'."),
			"OOM command not allowed when used memory > 'maxmemory'",
		},
		"unknown in a script": {
			replyError("ERR Unknown Redis command called from script" + script), "ERR unknown Redis command called from",
		},
		"unknown in a script, Redis 6": {
			replyError("@user_script: 7: Unknown Redis command called from Lua script"),
			"ERR unknown Redis command called from",
		},
		"not permitted in a script, Redis 6": {
			replyError("@user_script: 7: The user executing the script can't run this command or subcommand"),
			"ERR The user executing the script can't run this command",
		},
		"too few replicas in a script, Redis 6": {
			replyError("@user_script: 12: -NOREPLICAS Not enough good replicas to write."),
			"NOREPLICAS Not enough good replicas to write",
		},
		"anything of a script, Redis 6": {replyError("@user_script: 7: id"), "ERR"},
		"read-only": {
			replyError("READONLY You can't write against a read only replica." + script),
			"READONLY You can't write against a read only replica",
		},
		"too few replicas": {
			replyError("NOREPLICAS Not enough good replicas to write."), "NOREPLICAS Not enough good replicas to write",
		},
		"no password":         {replyError("NOAUTH Authentication required."), "NOAUTH Authentication required"},
		"moved":               {replyError("MOVED 866 id:7000"), "MOVED"},
		"a code that is none": {replyError("ID bad key session:id"), "Redis error (details hidden)"},
		"text after ERR":      {replyError("ERR bad key session:id"), "ERR"},
		"empty":               {replyError(""), "Redis error (details hidden)"},
		"inside a hook's":     {fmt.Errorf("set id: %w", replyError("OOM id")), "OOM"},

		// The network.
		"refused": {
			&net.OpError{Op: "dial", Net: "tcp", Addr: address, Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)},
			"dial tcp 127.0.0.1:6379: connection refused",
		},
		"a dialer's own text": {
			&net.OpError{Op: "dial id", Net: "id", Err: errors.New("id")}, "network: (details hidden: *errors.errorString)",
		},
		"timed out": {
			&net.OpError{Op: "read", Net: "tcp", Addr: address, Err: os.ErrDeadlineExceeded},
			"read tcp 127.0.0.1:6379: i/o timeout",
		},
		"no such host": {
			&net.DNSError{Err: "no such host", Name: "redis.internal"}, "lookup redis.internal: no such host",
		},
		"TLS":             {tls.AlertError(42), "tls: bad certificate"},
		"hung up":         {io.EOF, "EOF"},
		"hung up, hook":   {fmt.Errorf("get id: %w", io.ErrUnexpectedEOF), "unexpected EOF"},
		"context":         {context.DeadlineExceeded, "context deadline exceeded"},
		"pool is used up": {redis.ErrPoolTimeout, "redis: connection pool timeout"},
		"pool exhausted":  {redis.ErrPoolExhausted, "redis: connection pool exhausted"},
		"client closed":   {redis.ErrClosed, "redis: client is closed"},

		// Others.
		"our own":           {fmt.Errorf("id: %w", safe{}), "load: corrupt value"},
		"a reason":          {fmt.Errorf("id: %w", Reason("%d bytes", 7)), "7 bytes"},
		"text":              {errors.New("id"), "(details hidden: *errors.errorString)"},
		"a type":            {fmt.Errorf("id: %w", new(hookError)), "(details hidden: *errs.hookError)"},
		"a sentinel inside": {fmt.Errorf("id: %w", errors.New("session: not found")), "(details hidden: *fmt.wrapError)"},
		"the first of two":  {errors.Join(errors.New("id"), io.EOF), "EOF"},
	} {
		require.Equal(t, test.want, Shown(test.err), name)
	}
}
