package redisstore

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session/internal/redistest"
	"github.com/seed34611480/session/internal/redistest/embedded"
)

// mirrored shows ids back to front in keys, and with a letter in front of that in events.
type mirrored struct{}

func (mirrored) Key(id string) string {
	var b strings.Builder
	for i := range id {
		b.WriteByte(id[len(id)-1-i])
	}
	return b.String()
}

func (m mirrored) Event(id string) string { return "x" + m.Key(id) }

func (m mirrored) ParseEvent(text string) (id string, ok bool) {
	rest, ok := strings.CutPrefix(text, "x")
	return m.Key(rest), ok
}

// TestRedisSeesOnlyNames looks at every argument of every command, also of those inside of scripts.
func TestRedisSeesOnlyNames(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client := server.Client(t)
	monitor := server.Monitor(t)
	s := storeOf(Config{Client: client, Prefix: "test:", TTL: time.Minute, Names: mirrored{}})
	next, nextAlive, _ := watching(t, s, testHeartbeat)
	require.Equal(t, gap, next())
	ctx := t.Context()

	revision := put(t, s, testID)
	v, err := s.Get(ctx, testID)
	require.NoError(t, err)
	require.Equal(t, revision, v.Revision)
	_, err = s.Peek(ctx, testID)
	require.NoError(t, err)
	unchanged, err := s.Unchanged(ctx, []Use{{ID: testID, Revision: revision}})
	require.NoError(t, err)
	require.Equal(t, []bool{true}, unchanged)
	require.NoError(t, s.Delete(ctx, testID))
	put(t, s, testID)
	_, undo, err := s.Take(ctx, testID)
	require.NoError(t, err)
	undo()
	require.EqualValues(t, 1, client.Exists(ctx, "test: "+mirrored{}.Key(testID)).Val())

	require.Equal(t, changed(testID, revision), next(), "watchers get the ids")
	nextAlive()
	text := monitor.Seen()
	require.Contains(t, text, mirrored{}.Key(testID))
	require.NotContains(t, text, testID)
	require.Contains(t, text, `"test: !hb `, "the store's own keys are no names")
}

// TestEventThatCannotBeReadIsAGap: it may be about any value.
func TestEventThatCannotBeReadIsAGap(t *testing.T) {
	t.Parallel()
	_, client, _ := embedded.Start(t)
	s := storeOf(Config{Client: client, Prefix: testPrefix, TTL: time.Minute, Names: mirrored{}})
	next, _, _ := watching(t, s, testHeartbeat)
	require.Equal(t, gap, next())
	put(t, newStore(client), testID) // by another replica, which shows the id as it is
	revision := put(t, s, testID)
	require.Equal(t, gap, next())
	require.Equal(t, changed(testID, revision), next(), "the watch goes on")
}
