package redisstore

import (
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
	revision, err := s.Put(t.Context(), id, Write{Data: []byte("data")})
	require.NoError(t, err)
	return revision
}

func TestOperationsAreOneCommand(t *testing.T) {
	t.Parallel()
	_, s, log := onMiniredis(t)
	ctx := t.Context()
	write := func(c Condition) func() error {
		return func() error {
			_, err := s.Put(ctx, testID, Write{Condition: c})
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
	for _, step := range []struct {
		name string
		call func() error
		want []string
	}{
		{"the first use of a script", write(IfAbsent), []string{"EVALSHA", "EVAL"}},
		{"put", write(Always), []string{"EVALSHA"}},
		{"get and put", get, []string{"EVALSHA", "EVAL", "EVALSHA"}},
		{"delete, first use", remove, []string{"EVALSHA", "EVAL"}},
		{"delete of nothing", remove, []string{"EVALSHA"}},
		{"replace of nothing", func() error {
			if err := write(IfPresent)(); !errors.Is(err, ErrMissing) {
				return fmt.Errorf("replaced nothing: %w", err)
			}
			return nil
		}, []string{"EVALSHA"}},
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
		_, err := s.Put(ctx, id, Write{Condition: c})
		return err
	}
	_, err := s.Get(ctx, testID)
	require.Equal(t, ErrMissing, err)
	_, _, err = s.Take(ctx, testID)
	require.Equal(t, ErrMissing, err)
	require.Equal(t, ErrMissing, try(testID, IfRevision(7)))
	require.Equal(t, ErrMissing, try(testID, IfPresent))

	revision := put(t, s, testID)
	require.Equal(t, ErrExists, try(testID, IfAbsent))
	require.Equal(t, ErrConflict, try(testID, IfRevision(revision-1)))
	require.NoError(t, try(testID, IfRevision(revision)))
	require.Equal(t, ErrConflict, try(testID, IfRevision(revision)))
	require.NoError(t, try(testID, IfPresent))
	_, err = s.Put(ctx, testID, Write{Lifetime: Lifetime{End: time.Now().Add(-time.Second)}})
	require.Equal(t, ErrEnded, err)

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
	stored, err := m.Get(s.key(testID))
	require.NoError(t, err)
	m.FastForward(20 * time.Second)
	v, undo, err := s.Take(t.Context(), testID)
	require.NoError(t, err)
	require.Equal(t, Value{[]byte("data"), revision}, v)
	require.False(t, m.Exists(s.key(testID)))
	undo()
	require.Equal(t, 40*time.Second, m.TTL(s.key(testID)))
	value, err := m.Get(s.key(testID))
	require.NoError(t, err)
	require.Equal(t, stored, value)

	_, undo, err = s.Take(t.Context(), testID)
	require.NoError(t, err)
	_, err = s.Put(t.Context(), testID, Write{Data: []byte("newer")})
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
	five := headerWith(5)
	with := func(at int, digit byte) string { return five[:at] + string(digit) + five[at+1:] }
	planted := []string{
		"", "2", "text", "2000", five[:headerLength-1], headerWith(0), headerWith(0) + "data", five, five + "data",
		headerWith(maxRevision - 1), headerWith(maxRevision + 1), "2" + strings.Repeat("f", headerLength-1),
		"1" + five[1:], "1" + five[1:1+revisionLength] + "data", "3" + five[1:], strings.ToUpper(headerWith(0xabc)),
		headerWith(0xabc), five + strings.Repeat("0", 99), five[:headerLength-1] + "g",
	}
	for at := 1; at < headerLength; at++ {
		for _, digit := range []byte("\n\x00 -gA9f") {
			if digit != '9' && digit != 'f' || at < 49 { // there it would be another lifetime
				planted = append(planted, with(at, digit))
			}
		}
	}
	for i, planted := range planted {
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
		_, putErr := s.Put(ctx, id, Write{})
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
	require.NoError(t, client.Set(t.Context(), s.key(testID), headerWith(maxRevision), time.Minute).Err())
	_, err := s.Put(t.Context(), testID, Write{})
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
	require.NoError(t, client.Set(ctx, s.key("newer"), "3"+headerWith(5)[1:], 10*time.Second).Err())
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
		"put":           func(id string) error { _, err := s.Put(ctx, id, Write{}); return err },
		"put if absent": func(id string) error { _, err := s.Put(ctx, id, Write{Condition: IfAbsent}); return err },
		"put if old": func(id string) error {
			_, err := s.Put(ctx, id, Write{Condition: IfRevision(revision - 1)})
			return err
		},
		"take":   func(id string) error { _, _, err := s.Take(ctx, id); return err },
		"delete": func(id string) error { return s.Delete(ctx, id) },
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
					_, err := s.Put(ctx, id, Write{Condition: c})
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
	first := put(t, s, "abc")
	require.Equal(t, fmt.Sprintf("C%016xabc", first), next())
	require.NoError(t, s.Delete(ctx, "abc"))
	require.Equal(t, fmt.Sprintf("R%016xabc", first), next())
	require.NoError(t, s.Delete(ctx, "abc"))
	require.Equal(t, "R0000000000000000abc", next(), "also when there was nothing: another replica may have a copy")
	second := put(t, s, "abc")
	require.Equal(t, fmt.Sprintf("C%016xabc", second), next())
	_, _, err = s.Take(ctx, "abc")
	require.NoError(t, err)
	require.Equal(t, fmt.Sprintf("R%016xabc", second), next())
	require.NoError(t, s.client.Set(ctx, s.key("abc"), "text", 0).Err())
	require.NoError(t, s.Delete(ctx, "abc"))
	require.Equal(t, "R0000000000000000abc", next(), "it had no revision")
	require.NoError(t, s.client.LPush(ctx, s.key("abc"), "x").Err())
	require.NoError(t, s.Delete(ctx, "abc"))
	require.Equal(t, "R0000000000000000abc", next())
}

// TestValueEndsAtItsEnd has a value whose TTL would outlive its end, after each operation that starts the TTL anew.
func TestValueEndsAtItsEnd(t *testing.T) {
	t.Parallel()
	m, s, log := onMiniredis(t)
	ctx := t.Context()
	start := time.UnixMilli(1_800_000_000_000)
	at := func(d time.Duration) { m.SetTime(start.Add(d)) }
	ttl := func() time.Duration { return m.TTL(s.key(testID)) }
	at(0)
	revision, err := s.Put(ctx, testID, Write{Lifetime: Lifetime{End: start.Add(90 * time.Second)}})
	require.NoError(t, err)
	require.Equal(t, time.Minute, ttl())
	_, err = s.Get(ctx, testID)
	require.NoError(t, err)
	require.Equal(t, time.Minute, ttl())
	at(50 * time.Second)
	log.Take()
	_, err = s.Get(ctx, testID)
	require.NoError(t, err)
	require.Equal(t, []string{"EVALSHA"}, log.Take())
	require.Equal(t, 40*time.Second-time.Millisecond, ttl())
	at(60 * time.Second)
	m.SetTTL(s.key(testID), time.Second)
	unchanged, err := s.Unchanged(ctx, []Use{{ID: testID, Revision: revision}})
	require.NoError(t, err)
	require.Equal(t, []bool{true}, unchanged)
	require.Equal(t, 30*time.Second-time.Millisecond, ttl())
	end := Lifetime{End: start.Add(80 * time.Second)}
	revision, err = s.Put(ctx, testID, Write{Condition: IfRevision(revision), Lifetime: end})
	require.NoError(t, err)
	require.Equal(t, 20*time.Second-time.Millisecond, ttl())

	at(80*time.Second - 2*time.Millisecond)
	_, err = s.Get(ctx, testID)
	require.NoError(t, err)
	require.Equal(t, time.Millisecond, ttl())
	m.SetTTL(s.key(testID), time.Hour) // another program's doing
	at(80*time.Second - time.Millisecond)
	unchanged, err = s.Unchanged(ctx, []Use{{ID: testID, Revision: revision}})
	require.NoError(t, err)
	require.Equal(t, []bool{false}, unchanged)
	_, err = s.Get(ctx, testID)
	require.Equal(t, ErrMissing, err, "Redis keeps a key through its last millisecond")
	require.False(t, m.Exists(s.key(testID)))
}

// TestEndsThatAreFarAway has ends that the header has no digits for.
func TestEndsThatAreFarAway(t *testing.T) {
	t.Parallel()
	m, s, _ := onMiniredis(t)
	_, err := s.Put(t.Context(), testID, Write{Lifetime: Lifetime{End: time.Date(20_000, 1, 1, 0, 0, 0, 0, time.UTC)}})
	require.NoError(t, err)
	_, err = s.Get(t.Context(), testID)
	require.NoError(t, err)
	require.Equal(t, time.Minute, m.TTL(s.key(testID)))
	_, err = s.Put(t.Context(), "another", Write{Lifetime: Lifetime{End: time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC)}})
	require.Equal(t, ErrEnded, err)
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
		_, err = public.Put(ctx, id, Write{Condition: IfAbsent})
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
