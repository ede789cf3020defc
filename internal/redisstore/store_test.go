package redisstore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session/internal/redistest"
	"github.com/seed34611480/session/internal/redistest/embedded"
)

const (
	testID     = "3DQ7JZ2N5W"
	testPrefix = "app:"
)

var noEnd time.Time

func newStore(client redis.UniversalClient) *Store {
	return storeOf(Config{Client: client, Prefix: testPrefix, TTL: time.Minute})
}

func storeOf(c Config) *Store {
	s, err := New(c)
	if err != nil {
		panic(err)
	}
	return s
}

// eventsOf returns the name of a store's channel for events.
func eventsOf(t *testing.T, s *Store) string {
	t.Helper()
	name, err := s.eventsChannel(t.Context())
	require.NoError(t, err)
	return name
}

// onMiniredis returns a store on a miniredis.
func onMiniredis(t *testing.T) (*miniredis.Miniredis, *Store, *embedded.CommandLog) {
	t.Helper()
	m, client, log := embedded.Start(t)
	return m, newStore(client), log
}

// put stores a value whatever is there.
func put(t *testing.T, s *Store, id string) (revision uint64) {
	t.Helper()
	revision, err := s.Put(t.Context(), id, []byte("data"), Always, noEnd)
	require.NoError(t, err)
	return revision
}

func TestOperationsAreOneCommand(t *testing.T) {
	t.Parallel()
	_, s, log := onMiniredis(t)
	ctx := t.Context()
	write := func(c Condition) func() error {
		return func() error {
			_, err := s.Put(ctx, testID, nil, c, noEnd)
			return err
		}
	}
	get := func() error {
		v, err := s.Get(ctx, testID)
		if err != nil {
			return err
		}
		return write(IfRevision(v.Revision))()
	}
	take := func() error {
		_, _, err := s.Take(ctx, testID)
		return err
	}
	remove := func() error { return s.Delete(ctx, testID) }
	limit := func() error { return s.Cap(ctx, testID, 1, time.Now()) }
	for _, step := range []struct {
		name string
		call func() error
		want []string
	}{
		{"the first use of a script", write(IfAbsent), []string{"EVALSHA", "EVAL"}},
		{"put", write(Always), []string{"EVALSHA"}},
		{"get and put", get, []string{"EVALSHA", "EVAL", "EVALSHA"}},
		{"cap, first use", limit, []string{"EVALSHA", "EVAL"}},
		{"cap", limit, []string{"EVALSHA"}},
		{"delete, first use", remove, []string{"EVALSHA", "EVAL"}},
		{"delete of nothing", remove, []string{"EVALSHA"}},
		{"put again", write(IfAbsent), []string{"EVALSHA"}},
		{"take, first use", take, []string{"EVALSHA", "EVAL"}},
		{"put once more", write(IfAbsent), []string{"EVALSHA"}},
		{"take", take, []string{"EVALSHA"}},
	} {
		require.NoError(t, step.call(), step.name)
		require.Equal(t, step.want, log.Take(), step.name)
	}
}

func TestConditionsAndAnswers(t *testing.T) {
	t.Parallel()
	m, s, _ := onMiniredis(t)
	ctx := t.Context()
	try := func(id string, c Condition) error {
		_, err := s.Put(ctx, id, nil, c, noEnd)
		return err
	}
	_, err := s.Get(ctx, testID)
	require.Equal(t, ErrMissing, err)
	_, _, err = s.Take(ctx, testID)
	require.Equal(t, ErrMissing, err)
	require.Equal(t, ErrMissing, try(testID, IfRevision(7)))

	revision := put(t, s, testID)
	require.Equal(t, ErrExists, try(testID, IfAbsent))
	require.Equal(t, ErrConflict, try(testID, IfRevision(revision-1)))
	require.NoError(t, try(testID, IfRevision(revision)))
	require.Equal(t, ErrConflict, try(testID, IfRevision(revision)))
	_, err = s.Put(ctx, testID, nil, Always, time.Now().Add(-time.Second))
	require.Equal(t, ErrMissing, err, "its end is over")

	_, err = m.Lpush(s.key("a list"), "x")
	require.NoError(t, err)
	require.NoError(t, m.Set(s.key("text"), "hello"))
	for _, id := range []string{"a list", "text"} {
		_, err = s.Get(ctx, id)
		require.ErrorIs(t, err, ErrCorrupt)
		_, _, err = s.Take(ctx, id)
		require.ErrorIs(t, err, ErrCorrupt)
		require.ErrorIs(t, try(id, Always), ErrCorrupt)
		require.True(t, m.Exists(s.key(id)), "it is not deleted")
	}

	m.SetError("OOM command not allowed")
	err = try(testID, Always)
	require.ErrorContains(t, err, "OOM", "the client's own error")
}

func TestTakeCanBeUndone(t *testing.T) {
	t.Parallel()
	m, s, _ := onMiniredis(t)
	revision := put(t, s, testID)
	m.FastForward(20 * time.Second)
	v, undo, err := s.Take(t.Context(), testID)
	require.NoError(t, err)
	require.Equal(t, Value{[]byte("data"), revision}, v)
	require.False(t, m.Exists(s.key(testID)))
	undo()
	require.Equal(t, 40*time.Second, m.TTL(s.key(testID)))
	value, err := m.Get(s.key(testID))
	require.NoError(t, err)
	require.Equal(t, header(revision)+"data", value)

	_, undo, err = s.Take(t.Context(), testID)
	require.NoError(t, err)
	_, err = s.Put(t.Context(), testID, []byte("newer"), Always, noEnd)
	require.NoError(t, err)
	undo()
	v, err = s.Get(t.Context(), testID)
	require.NoError(t, err)
	require.Equal(t, "newer", string(v.Data))
}

// TestScriptsJudgeHeadersAsGoDoes plants what is almost a value. Whatever parseValue refuses is left alone by all
// operations; whatever it accepts can be used.
func TestScriptsJudgeHeadersAsGoDoes(t *testing.T) {
	t.Parallel()
	client := redistest.Start(t).Client(t)
	s := newStore(client)
	ctx := t.Context()
	for i, planted := range []string{
		"", "1", "text", "1000", header(5)[:headerLength-1], header(0), header(0) + "data", header(5), header(5) + "data",
		header(maxRevision - 1), header(maxRevision + 1), "1" + strings.Repeat("f", 16), "2" + header(5)[1:],
		strings.ToUpper(header(0xabc)), header(0xabc), header(5)[:9] + "\n" + header(5)[10:],
		header(5) + strings.Repeat("0", 99),
	} {
		id := fmt.Sprint("id", i)
		plant := func() { require.NoError(t, client.Set(ctx, s.key(id), planted, 0).Err()) }
		v, invalid := parseValue([]byte(planted))
		plant()
		_, getErr := s.Get(ctx, id)
		ttl := client.TTL(ctx, s.key(id)).Val()
		plant()
		_, _, takeErr := s.Take(ctx, id)
		kept := client.Exists(ctx, s.key(id)).Val() == 1
		plant()
		_, putErr := s.Put(ctx, id, nil, Always, noEnd)
		plant()
		unchanged, err := s.Unchanged(ctx, []Use{{ID: id, Revision: v.Revision}})
		require.NoError(t, err)
		if invalid != nil {
			require.Equal(t, invalid, getErr, planted)
			require.EqualValues(t, -1, ttl, "%q gets no TTL", planted)
			require.Equal(t, invalid, takeErr, planted)
			require.True(t, kept, planted)
			require.ErrorIs(t, putErr, ErrCorrupt, planted)
			require.Equal(t, []bool{false}, unchanged, planted)
			continue
		}
		require.NoError(t, errors.Join(getErr, takeErr, putErr), planted)
		require.Equal(t, time.Minute, ttl, planted)
		require.False(t, kept, planted)
		require.Equal(t, []bool{true}, unchanged, planted)
	}
}

// TestNoRevisionPastTheLast plants the last revision. A write must fail, and not store what no reader accepts.
func TestNoRevisionPastTheLast(t *testing.T) {
	t.Parallel()
	client := redistest.Start(t).Client(t)
	s := newStore(client)
	require.NoError(t, client.Set(t.Context(), s.key(testID), header(maxRevision), time.Minute).Err())
	_, err := s.Put(t.Context(), testID, nil, Always, noEnd)
	require.ErrorContains(t, err, "past the last revision")
	v, err := s.Get(t.Context(), testID)
	require.NoError(t, err)
	require.EqualValues(t, maxRevision, v.Revision)
}

// TestForeignValuesKeepTheirTTL reads what is not a value, with and without a TTL.
func TestForeignValuesKeepTheirTTL(t *testing.T) {
	t.Parallel()
	client := redistest.Start(t).Client(t)
	s := newStore(client)
	ctx := t.Context()
	require.NoError(t, client.Set(ctx, s.key("config"), "text", 0).Err())
	require.NoError(t, client.Set(ctx, s.key("newer"), "2"+header(5)[1:], 10*time.Second).Err())
	require.NoError(t, client.LPush(ctx, s.key("list"), "x").Err())
	for id, ttl := range map[string]time.Duration{"config": -1, "newer": 10 * time.Second, "list": -1} {
		_, err := s.Get(ctx, id)
		require.ErrorIs(t, err, ErrCorrupt)
		require.Equal(t, ttl, client.TTL(ctx, s.key(id)).Val(), id)
	}
}

// TestReplicaGivesNoAnswer uses a store on a replica: what is there, or not there, may be old.
func TestReplicaGivesNoAnswer(t *testing.T) {
	t.Parallel()
	client := redistest.Start(t).Client(t)
	s := newStore(client)
	ctx := t.Context()
	revision := put(t, s, testID)
	require.NoError(t, client.ReplicaOf(ctx, "127.0.0.1", "1").Err())
	for name, call := range map[string]func(id string) error{
		"get":           func(id string) error { _, err := s.Get(ctx, id); return err },
		"put":           func(id string) error { _, err := s.Put(ctx, id, nil, Always, noEnd); return err },
		"put if absent": func(id string) error { _, err := s.Put(ctx, id, nil, IfAbsent, noEnd); return err },
		"put if old":    func(id string) error { _, err := s.Put(ctx, id, nil, IfRevision(revision-1), noEnd); return err },
		"take":          func(id string) error { _, _, err := s.Take(ctx, id); return err },
		"delete":        func(id string) error { return s.Delete(ctx, id) },
	} {
		for _, id := range []string{testID, "missing"} {
			require.ErrorContains(t, call(id), "READONLY", name+" "+id)
		}
	}
	_, err := s.Unchanged(ctx, []Use{{ID: testID, Revision: revision, Idle: time.Second}})
	require.ErrorContains(t, err, "READONLY")
}

// TestRefusedWriteIsNotAnnounced fills a Redis, or takes its replicas: writes are refused, and no replica is told of
// them.
func TestRefusedWriteIsNotAnnounced(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ setting, value, refusal string }{
		"no memory":   {"maxmemory", "1", "OOM"},
		"no replicas": {"min-replicas-to-write", "1", "NOREPLICAS"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if test.refusal == "NOREPLICAS" {
				redistest.SkipBefore(t, "6.2.7", "min-replicas-to-write does not refuse scripts")
			}
			client := redistest.Start(t).Client(t)
			s := newStore(client)
			ctx := t.Context()
			revision := put(t, s, testID)
			next, nextAlive, _ := watching(t, s, testHeartbeat)
			require.Equal(t, gap, next())
			require.NoError(t, client.ConfigSet(ctx, test.setting, test.value).Err())
			for _, c := range []Condition{Always, IfAbsent, IfRevision(revision)} {
				for _, id := range []string{testID, "another"} {
					_, err := s.Put(ctx, id, nil, c, noEnd)
					require.ErrorContains(t, err, test.refusal)
				}
			}
			if test.refusal == "OOM" {
				_, err := s.Get(ctx, testID)
				require.NoError(t, err)
			} else { // deletes free memory
				_, _, err := s.Take(ctx, testID)
				require.ErrorContains(t, err, test.refusal)
				require.ErrorContains(t, s.Delete(ctx, testID), test.refusal)
				require.ErrorContains(t, s.Delete(ctx, "another"), test.refusal)
			}
			require.NoError(t, client.ConfigSet(ctx, test.setting, "0").Err())
			want := changed(testID, put(t, s, testID))
			require.Equal(t, want, next(), "the first event is that of the first write that took place")
			nextAlive()
		})
	}
}

func TestRevisionIsServerTimeAndGrows(t *testing.T) {
	t.Parallel()
	m, s, _ := onMiniredis(t)
	at := time.UnixMicro(1_800_000_000_000_123)
	m.SetTime(at)
	for i := range 3 {
		require.EqualValues(t, at.UnixMicro()+int64(i), put(t, s, testID), "the clock stands still")
	}
	m.SetTime(at.Add(-time.Hour)) // a failover to a server whose clock is behind
	require.EqualValues(t, at.UnixMicro()+3, put(t, s, testID))
}

func TestChangesArePublished(t *testing.T) {
	t.Parallel()
	_, s, _ := onMiniredis(t)
	ctx := t.Context()
	events := s.client.Subscribe(ctx, "app:!events:0")
	defer func() { require.NoError(t, events.Close()) }()
	_, err := events.Receive(ctx) // subscribed
	require.NoError(t, err)
	next := func() string {
		message, err := events.ReceiveMessage(ctx)
		require.NoError(t, err)
		return message.Payload
	}
	require.Equal(t, fmt.Sprintf("C%016xabc", put(t, s, "abc")), next())
	require.NoError(t, s.Delete(ctx, "abc"))
	require.Equal(t, "Rabc", next())
	require.NoError(t, s.Delete(ctx, "abc"))
	require.Equal(t, "Rabc", next(), "also when there was nothing: another replica may have a copy")
	require.Equal(t, fmt.Sprintf("C%016xabc", put(t, s, "abc")), next())
	_, _, err = s.Take(ctx, "abc")
	require.NoError(t, err)
	require.Equal(t, "Rabc", next())
}

func TestCapShortensTheTTL(t *testing.T) {
	t.Parallel()
	m, s, _ := onMiniredis(t)
	now := time.UnixMilli(1_800_000_000_000)
	m.SetTime(now)
	revision, err := s.Put(t.Context(), testID, nil, Always, now.Add(90*time.Second))
	require.NoError(t, err)
	require.Equal(t, time.Minute, m.TTL(s.key(testID)))
	require.NoError(t, s.Cap(t.Context(), testID, revision, now.Add(10*time.Second)))
	require.Equal(t, 10*time.Second-time.Millisecond, m.TTL(s.key(testID)))
	_, err = s.Put(t.Context(), testID, nil, Always, now.Add(20*time.Second))
	require.NoError(t, err)
	require.Equal(t, 20*time.Second-time.Millisecond, m.TTL(s.key(testID)))
}

func TestCapLeavesAnotherWritersExpiryAlone(t *testing.T) {
	t.Parallel()
	m, s, _ := onMiniredis(t)
	revision := put(t, s, testID)
	require.NoError(t, s.Cap(t.Context(), testID, revision-1, time.Now().Add(time.Second)))
	require.Equal(t, time.Minute, m.TTL(s.key(testID)))
}

func TestLostReplyIsNotRepeated(t *testing.T) {
	t.Parallel()
	for name, write := range map[string]func(ctx context.Context, s *Store, revision uint64) error{
		"put": func(ctx context.Context, s *Store, revision uint64) error {
			_, err := s.Put(ctx, testID, nil, IfRevision(revision), noEnd)
			return err
		},
		"put if absent": func(ctx context.Context, s *Store, _ uint64) error {
			_, err := s.Put(ctx, "fresh", nil, IfAbsent, noEnd)
			return err
		},
		"take": func(ctx context.Context, s *Store, _ uint64) error {
			_, _, err := s.Take(ctx, testID)
			return err
		},
		"delete": func(ctx context.Context, s *Store, _ uint64) error { return s.Delete(ctx, testID) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, s, log := onMiniredis(t)
			require.NoError(t, s.Delete(t.Context(), "warm-up"))
			_, _, err := s.Take(t.Context(), "warm-up")
			require.ErrorIs(t, err, ErrMissing)
			revision := put(t, s, testID)

			// A client that repeats commands, through a link that loses the first reply.
			link := redistest.StartLossyLink(t, m.Addr())
			eager := redis.NewClient(&redis.Options{Addr: link.Addr(), MaxRetries: 3, MinRetryBackoff: -1})
			defer func() { require.NoError(t, eager.Close()) }()
			require.NoError(t, eager.Ping(t.Context()).Err())
			link.LoseNextReply()
			log.Take()
			err = write(t.Context(), newStore(eager), revision)
			require.Error(t, err)
			for _, answer := range []error{ErrMissing, ErrExists, ErrConflict, ErrCorrupt} {
				require.NotErrorIs(t, err, answer)
			}
			require.Equal(t, []string{"EVALSHA"}, log.Take(), "sent once")
		})
	}
}

// TestPrefixesThatBeginAlike has two stores on one server, and a client that knows the other's prefix.
func TestPrefixesThatBeginAlike(t *testing.T) {
	t.Parallel()
	client := redistest.Start(t).Client(t)
	ctx := t.Context()
	public := storeOf(Config{Client: client, Prefix: "s:", TTL: time.Hour})
	secret := storeOf(Config{Client: client, Prefix: "s:admin:", TTL: time.Minute})
	put(t, secret, testID)
	next, nextAlive, _ := watching(t, secret, testHeartbeat)
	require.Equal(t, gap, next())
	for _, prefix := range []string{"admin:", ":admin:", "admin: "} {
		id := prefix + testID
		_, err := public.Get(ctx, id)
		require.Equal(t, ErrMissing, err)
		_, _, err = public.Take(ctx, id)
		require.Equal(t, ErrMissing, err)
		require.NoError(t, public.Delete(ctx, id))
		_, err = public.Put(ctx, id, nil, IfAbsent, noEnd)
		require.NoError(t, err)
		require.NoError(t, public.Delete(ctx, id))
	}
	require.LessOrEqual(t, client.TTL(ctx, secret.key(testID)).Val(), time.Minute)
	untilAfter(nextAlive)
	require.Equal(t, changed(testID, put(t, secret, testID)), next(), "the first event")
}

// TestDatabasesHaveTheirOwnEvents has two stores with the same prefix in two databases of one server.
func TestDatabasesHaveTheirOwnEvents(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	zero, three := newStore(server.Client(t)), newStore(server.Client(t, func(o *redis.Options) { o.DB = 3 }))
	next, nextAlive, _ := watching(t, three, testHeartbeat)
	require.Equal(t, gap, next())
	put(t, zero, testID)
	require.NoError(t, zero.Delete(t.Context(), testID))
	untilAfter(nextAlive)
	require.Equal(t, changed(testID, put(t, three, testID)), next(), "the first event")
}
