package redisstore

import (
	"maps"
	"slices"
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

// TestRevokeTellsTheIDs, which the index of an owner does not have. Of a value that cannot be read, or holds the id of
// another one, the event says that it may be any.
func TestRevokeTellsTheIDs(t *testing.T) {
	t.Parallel()
	_, client, _ := embedded.Start(t)
	s := storeOf(Config{
		Client: client, Prefix: testPrefix, TTL: time.Minute, Names: mirrored{}, Owners: true,
		IDOf: func(data []byte) (id string, ok bool) { return string(data), len(data) > 0 },
	})
	want := map[string]string{testID: testID, "unreadable": "", "moved": ""}
	for id, data := range map[string]string{testID: testID, "unreadable": "", "moved": testID} {
		_, err := s.Put(t.Context(), id, Write{Data: []byte(data), Owner: "owner"})
		require.NoError(t, err)
	}
	var listed []string
	for owned, err := range s.Owned(t.Context(), "owner") {
		require.NoError(t, err)
		listed = append(listed, owned.ID)
	}
	require.ElementsMatch(t, slices.Collect(maps.Values(want)), listed)
	members := client.ZRange(t.Context(), s.index(hashOf("owner")), 0, -1).Val()
	require.ElementsMatch(t, []string{mirrored{}.Key(testID), "elbadaernu", "devom"}, members)

	next, _, _ := watching(t, s, testHeartbeat)
	require.Equal(t, gap, next())
	ended, err := s.Revoke(t.Context(), "owner")
	require.NoError(t, err)
	require.Equal(t, 3, ended)
	require.ElementsMatch(t, []string{removed(testID), gap, gap}, []string{next(), next(), next()})
	_, err = s.Get(t.Context(), testID)
	require.ErrorIs(t, err, ErrMissing)
	require.Zero(t, client.Exists(t.Context(), s.index(hashOf("owner"))).Val(), "the listings were taken back")
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
