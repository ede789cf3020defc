package session

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session/internal/netfault"
)

// secretID must not appear in any error text.
const secretID = "secret-id-0123456789"

// header is what a stored value begins with.
func header(revision uint64) string { return fmt.Sprintf("2%016x%0104x", revision, 0) }

// TestBadInput lists everything that callers, Redis and the network can do wrong, with the documented sentinel that
// callers get for it. Nothing is cached, nothing is lost, and no text contains the id. RoutingStorage is on top, as for
// users.
func TestBadInput(t *testing.T) {
	t.Parallel()
	store := func(s *Session) func(context.Context, Storage) error {
		return func(ctx context.Context, st Storage) error { return st.Store(ctx, s) }
	}
	load := func(id string) func(context.Context, Storage) error {
		return func(ctx context.Context, st Storage) error {
			_, err := st.Load(ctx, id)
			return err
		}
	}
	remove := func(id string) func(context.Context, Storage) error {
		return func(ctx context.Context, st Storage) error { return st.Delete(ctx, id) }
	}
	update := func(ctx context.Context, st Storage) error {
		_, err := Update(ctx, st, secretID, increment)
		return err
	}
	value := func(id string) string { return header(7) + `{"id":"` + id + `","metadata":{}}` }
	big := New(secretID).With("k", strings.Repeat("x", 4096))

	tests := map[string]struct {
		redis   func(t *testing.T, m *miniredis.Miniredis) // prepares the server
		planted string                                     // the value under secretID, which must not change
		call    func(context.Context, Storage) error
		want    error
	}{
		"nil session":           {call: store(nil), want: ErrInvalidID},
		"zero session":          {call: store(new(Session)), want: ErrInvalidID},
		"empty id":              {call: load(""), want: ErrInvalidID},
		"overlong id":           {call: load(strings.Repeat("x", 4097)), want: ErrInvalidID},
		"id with a space":       {call: load("a b"), want: ErrInvalidID},
		"id with a newline":     {call: load("a\r\nb"), want: ErrInvalidID},
		"id that is not ASCII":  {call: load("sé"), want: ErrInvalidID},
		"delete of an empty id": {call: remove(""), want: ErrInvalidID},
		"take of an empty id": {call: func(ctx context.Context, st Storage) error {
			_, err := st.(Taker).Take(ctx, "")
			return err
		}, want: ErrInvalidID},
		"create of a nil session": {call: func(ctx context.Context, st Storage) error {
			return st.(Creator).Create(ctx, nil)
		}, want: ErrInvalidID},
		"replace by a nil session": {call: func(ctx context.Context, st Storage) error {
			return st.(Replacer).Replace(ctx, nil)
		}, want: ErrInvalidID},
		"replaced after it was deleted": {call: func(ctx context.Context, st Storage) error {
			return st.(Replacer).Replace(ctx, stamped(New(secretID), 5))
		}, want: ErrNotFound},
		"oversize session":       {call: store(big), want: ErrTooLarge},
		"session that is over":   {call: store(New(secretID).WithExpiresAt(time.Now().Add(-1))), want: ErrLifetime},
		"session without an end": {call: store(New(secretID).WithIdleTimeout(NoIdleTimeout)), want: ErrLifetime},
		"stored, and over now": {
			call: store(stamped(New(secretID).WithExpiresAt(time.Now().Add(-1)), 5)), want: ErrNotFound,
		},
		"unknown session":       {call: load(secretID), want: ErrNotFound},
		"deleted session":       {call: store(stamped(New(secretID), 5)), want: ErrNotFound},
		"changed session":       {planted: value(secretID), call: store(stamped(New(secretID), 5)), want: ErrConflict},
		"existing session":      {planted: value(secretID), call: create(New(secretID)), want: ErrExists},
		"text":                  {planted: "hello", call: load(secretID), want: ErrCorrupt},
		"half a header":         {planted: header(7)[:9], call: load(secretID), want: ErrCorrupt},
		"no session":            {planted: header(7), call: load(secretID), want: ErrCorrupt},
		"another format":        {planted: "1" + value(secretID)[1:], call: load(secretID), want: ErrCorrupt},
		"revision out of range": {planted: "2f" + value(secretID)[2:], call: load(secretID), want: ErrCorrupt},
		"truncated session":     {planted: value(secretID)[:130], call: load(secretID), want: ErrCorrupt},
		"wrong types":           {planted: header(7) + `{"id":["` + secretID + `"]}`, call: load(secretID), want: ErrCorrupt},
		"value of another id":   {planted: value("another"), call: load(secretID), want: ErrCorrupt},
		"update of text":        {planted: "hello", call: update, want: ErrCorrupt},
		"store over text":       {planted: "hello", call: store(New(secretID)), want: ErrCorrupt},
		"take of text":          {planted: "hello", call: takeSecret, want: ErrCorrupt},
		"take of another id":    {planted: value("another"), call: takeSecret, want: ErrCorrupt},
		"a list": {redis: func(t *testing.T, m *miniredis.Miniredis) {
			_, err := m.Lpush("session: "+secretID, "x")
			require.NoError(t, err)
		}, call: load(secretID), want: ErrCorrupt},
		"Redis down for a load":   {redis: down, call: load(secretID), want: ErrUnavailable},
		"Redis down for a store":  {redis: down, call: store(New(secretID)), want: ErrUnavailable},
		"Redis down for a delete": {redis: down, call: remove(secretID), want: ErrUnavailable},
		"Redis down for a take":   {redis: down, call: takeSecret, want: ErrUnavailable},
		"Redis loading":           {redis: says("LOADING dataset in memory"), call: load(secretID), want: ErrUnavailable},
		"Redis out of memory":     {redis: says("OOM command not allowed"), call: store(New(secretID)), want: ErrUnavailable},
		"Redis read-only":         {redis: says("READONLY replica"), call: store(New(secretID)), want: ErrUnavailable},
		"no permission":           {redis: says("NOPERM no permissions"), call: store(New(secretID)), want: ErrUnavailable},
		"an old Redis": {
			redis: says("ERR unknown command 'EVALSHA', with args beginning with: 'session: " + secretID + "'"),
			call:  load(secretID), want: ErrUnavailable,
		},
		"an echo": {redis: says("ERR bad key session: " + secretID), call: load(secretID), want: ErrUnavailable},
		"cancelled load": {call: func(ctx context.Context, st Storage) error {
			return load(secretID)(cancelled(ctx), st)
		}, want: context.Canceled},
		"cancelled store": {call: func(ctx context.Context, st Storage) error {
			return st.Store(cancelled(ctx), New(secretID))
		}, want: context.Canceled},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := miniredis.RunT(t)
			client := redis.NewClient(&redis.Options{Addr: m.Addr(), MaxRetries: -1, DialerRetries: 1})
			defer func() { require.NoError(t, client.Close()) }()
			if test.planted != "" {
				require.NoError(t, m.Set("session: "+secretID, test.planted))
			}
			if test.redis != nil {
				test.redis(t, m)
			}
			st := NewRoutingStorage(NewRedisStorage(client, time.Minute, WithMaxSize(4096)), 10)
			defer func() { require.NoError(t, st.Close()) }()

			err := test.call(t.Context(), st)
			require.ErrorIs(t, err, test.want)
			require.NotContains(t, err.Error(), secretID)
			require.True(t, strings.HasPrefix(err.Error(), "session: "), err.Error())
			require.Zero(t, st.Stats().Entries)
			if test.planted != "" {
				got, err := m.Get("session: " + secretID)
				require.NoError(t, err)
				require.Equal(t, test.planted, got)
			}
		})
	}
}

func TestServerThatAnswersNonsense(t *testing.T) {
	t.Parallel()
	for name, reply := range map[string]string{
		"garbage":      "hello\r\n",
		"a number":     ":7\r\n",
		"an array":     "*1\r\n$1\r\nx\r\n",
		"a short bulk": "$3\r\nabc\r\n",
		"half a bulk":  "$300\r\nabc",
		"a hang-up":    "",
	} {
		for op, call := range map[string]func(context.Context, Storage) error{
			"load":  func(ctx context.Context, st Storage) error { _, err := st.Load(ctx, secretID); return err },
			"store": func(ctx context.Context, st Storage) error { return st.Store(ctx, New(secretID)) },
			"take":  takeSecret,
		} {
			t.Run(name+" to "+op, func(t *testing.T) {
				t.Parallel()
				client := redis.NewClient(&redis.Options{
					Addr: answering(t, reply), MaxRetries: -1, DialerRetries: 1, Protocol: 2, DisableIdentity: true,
					ReadTimeout: 100 * time.Millisecond,
				})
				defer func() { require.NoError(t, client.Close()) }()
				st := NewRoutingStorage(NewRedisStorage(client, time.Minute), 10)
				defer func() { require.NoError(t, st.Close()) }()
				err := call(t.Context(), st)
				require.Error(t, err)
				require.True(t, errors.Is(err, ErrUnavailable) || errors.Is(err, ErrCorrupt), err)
				require.NotContains(t, err.Error(), secretID)
				require.Zero(t, st.Stats().Entries)
			})
		}
	}
}

func stamped(s *Session, revision uint64) *Session {
	Stamp(s, revision)
	return s
}

func create(s *Session) func(context.Context, Storage) error {
	return func(ctx context.Context, st Storage) error { return st.(Creator).Create(ctx, s) }
}

// takeSecret takes the session that must not be shown.
func takeSecret(ctx context.Context, st Storage) error {
	_, err := st.(Taker).Take(ctx, secretID)
	return err
}

func down(_ *testing.T, m *miniredis.Miniredis) { m.Close() }

func says(message string) func(*testing.T, *miniredis.Miniredis) {
	return func(_ *testing.T, m *miniredis.Miniredis) { m.SetError(message) }
}

func cancelled(ctx context.Context) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	return ctx
}

// answering starts a server that gives the same reply to every command.
func answering(t *testing.T, reply string) string {
	t.Helper()
	return netfault.Serve(t, func(conn net.Conn) { answer(conn, reply) })
}

// answer lets the client set up its connection. After that it replies to each command (an array) as soon as the
// command's name has arrived.
func answer(conn net.Conn, reply string) {
	lines := bufio.NewScanner(conn)
	for lines.Scan() {
		if !bytes.HasPrefix(lines.Bytes(), []byte("*")) || !lines.Scan() || !lines.Scan() {
			continue
		}
		text := reply
		switch strings.ToUpper(lines.Text()) {
		case "HELLO":
			text = "-ERR unknown command\r\n"
		case "CLIENT":
			text = "+OK\r\n"
		}
		if text == "" {
			return
		}
		if _, err := conn.Write([]byte(text)); err != nil {
			return
		}
	}
}
