package redistest

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestServerAnswersAndEnds(t *testing.T) {
	var s *Server
	t.Run("running", func(t *testing.T) {
		s = Start(t)
		client := s.Client(t)
		require.NoError(t, client.Set(t.Context(), "key", "value", 0).Err())
		assert.Equal(t, "value", client.Get(t.Context(), "key").Val())
	})
	assert.Error(t, s.answers(), "the server outlived its test")
}

func TestRestartKeepsPortAndLosesData(t *testing.T) {
	s := Start(t)
	client := s.Client(t)
	require.NoError(t, client.Set(t.Context(), "key", "value", 0).Err())

	s.Restart()
	assert.ErrorIs(t, client.Get(t.Context(), "key").Err(), redis.Nil)
}

func TestAppendOnlyFileSurvivesKill(t *testing.T) {
	s := Start(t, WithConfig("appendonly yes", "appendfsync always"))
	client := s.Client(t)
	require.NoError(t, client.Set(t.Context(), "key", "value", 0).Err())

	s.Kill()
	require.Error(t, client.Ping(t.Context()).Err())
	s.Restart()
	assert.Equal(t, "value", client.Get(t.Context(), "key").Val())
}

func TestPausedServerDoesNotAnswer(t *testing.T) {
	s := Start(t)
	client := s.Client(t, func(opts *redis.Options) {
		opts.ReadTimeout = 50 * time.Millisecond
		opts.MaxRetries = -1
	})
	require.NoError(t, client.Ping(t.Context()).Err())

	s.Pause()
	require.Error(t, client.Ping(t.Context()).Err())
	s.Continue()
	await(t, "answers again", func() error { return client.Ping(t.Context()).Err() })
}

func TestShift(t *testing.T) {
	s := Start(t)
	client := s.Client(t)
	other := s.Client(t, func(opts *redis.Options) { opts.DB = 3 })
	client.Set(t.Context(), "short", "", time.Minute)
	client.Set(t.Context(), "long", "", time.Hour)
	client.Set(t.Context(), "forever", "", 0)
	other.Set(t.Context(), "other", "", time.Hour)

	s.Shift(t, time.Minute)
	assert.Equal(t, int64(0), client.Exists(t.Context(), "short").Val())
	for _, ttl := range []*redis.DurationCmd{client.PTTL(t.Context(), "long"), other.PTTL(t.Context(), "other")} {
		assert.InDelta(t, 59*time.Minute, ttl.Val(), float64(5*time.Second))
	}
	assert.Equal(t, time.Duration(-1), client.PTTL(t.Context(), "forever").Val())
}

func TestTLSAndUsers(t *testing.T) {
	s := Start(t, WithTLS(), WithConfig("user default off", "user app on >secret ~session:* +@all"))

	stranger := s.Client(t)
	require.ErrorContains(t, stranger.Ping(t.Context()).Err(), "NOAUTH")

	app := s.Client(t, func(opts *redis.Options) { opts.Username, opts.Password = "app", "secret" })
	require.NoError(t, app.Set(t.Context(), "session:key", "", time.Minute).Err())
	require.ErrorContains(t, app.Set(t.Context(), "key", "", 0).Err(), "NOPERM")

	s.Shift(t, time.Minute)
	assert.Equal(t, int64(0), app.Exists(t.Context(), "session:key").Val())
}

func TestTakenPortIsNoticed(t *testing.T) {
	first := Start(t)
	second := &Server{t: t, program: first.program, port: first.port, dir: t.TempDir()}
	second.configure(&config{})
	assert.ErrorIs(t, second.launch(), errPortTaken)
}

func TestFailureToStartShowsTheLog(t *testing.T) {
	r := record(t, func(t testing.TB) { Start(t, WithConfig("no-such-directive")) })
	assert.True(t, r.failed)
	assert.Contains(t, r.text, "no-such-directive")
}

func TestMissingProgram(t *testing.T) {
	t.Setenv("PATH", "")
	t.Setenv(programVariable, "")

	t.Setenv("CI", "")
	r := record(t, func(t testing.TB) { Start(t) })
	assert.True(t, r.skipped)
	assert.Contains(t, r.text, "redis-server")

	t.Setenv("CI", "true")
	r = record(t, func(t testing.TB) { Start(t) })
	assert.True(t, r.failed)
}

// recorder replaces a testing.T whose failure is expected.
type recorder struct {
	testing.TB
	failed, skipped bool
	text            string
}

func record(t *testing.T, f func(testing.TB)) *recorder {
	r := &recorder{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		f(r)
	}()
	<-done
	return r
}

func (r *recorder) Fatal(args ...any) {
	r.failed, r.text = true, fmt.Sprint(args...)
	runtime.Goexit()
}

func (r *recorder) Fatalf(format string, args ...any) { r.Fatal(fmt.Sprintf(format, args...)) }

func (r *recorder) Skip(args ...any) {
	r.skipped, r.text = true, fmt.Sprint(args...)
	runtime.Goexit()
}

func (r *recorder) Skipf(format string, args ...any) { r.Skip(fmt.Sprintf(format, args...)) }
