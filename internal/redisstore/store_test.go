package redisstore

import (
	"context"
	"fmt"
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
	return New(Config{Client: client, Prefix: testPrefix, TTL: time.Minute})
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
		{"get and put", get, []string{"GETEX", "EVALSHA"}},
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

	noRevision := "1" + fmt.Sprintf("%016x", 0) + "data" // the script takes it for a value
	require.NoError(t, m.Set(s.key(testID), noRevision))
	_, _, err = s.Take(t.Context(), testID)
	require.ErrorIs(t, err, ErrCorrupt)
	value, err = m.Get(s.key(testID))
	require.NoError(t, err)
	require.Equal(t, noRevision, value, "it is put back")
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
	events := s.client.Subscribe(ctx, "app:!events")
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
