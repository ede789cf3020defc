package mcphttp

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/mcphttp/internal/learn"
)

func TestTasksAreRouted(t *testing.T) {
	t.Parallel()
	for _, events := range []bool{false, true} {
		st, peers := startStorage(), startPeers(t, 3)
		_, one := startProxy(t, st, peers)
		_, two := startProxy(t, st, peers)
		for i, task := range []string{"t1", "t2", "t3", "  ü ", strings.Repeat("long", 1000)} {
			owner := peers[i%3]
			owner.events = events
			// The call takes its turn.
			got, result := call(t, one, callMethod, fmt.Sprintf(`{"name":"x","task":%q}`, task), nameHeader, "x")
			require.Equal(t, http.StatusOK, got.status, got.body)
			require.NoError(t, got.err)
			require.Equal(t, task, result["taskId"])
			for range 3 {
				for _, method := range []string{"tasks/get", "tasks/update", "tasks/cancel"} {
					_, result = call(t, two, method, fmt.Sprintf(`{"taskId":%q}`, task))
					require.Equal(t, owner.name, result["server"], "found in the body")
				}
			}
			_, result = call(t, two, listenMethod, fmt.Sprintf(`{"notifications":{"taskIds":[%q]}}`, task))
			require.Equal(t, owner.name, result["server"])
			if i < 3 {
				_, result = call(t, two, "tasks/get", `{}`, nameHeader, task)
				require.Equal(t, owner.name, result["server"], "found in the header")
			}
		}
	}
}

func TestTaskOfTwoBackendsStays(t *testing.T) {
	t.Parallel()
	for _, events := range []bool{false, true} {
		peers := startPeers(t, 2)
		_, proxy := startProxy(t, startStorage(), peers)
		for _, p := range peers {
			p.events = events
		}
		got, _ := call(t, proxy, callMethod, `{"task":"t"}`)
		require.NoError(t, got.err)
		got, result := call(t, proxy, callMethod, `{"task":"t"}`) // the other one's turn
		require.Nil(t, result, "the client has no second task of that name")
		if events {
			require.Error(t, got.err)
			require.True(t, strings.HasSuffix(got.body, `"taskId":"t"}`), got.body)
		} else {
			require.Equal(t, http.StatusBadGateway, got.status)
		}
		for range 4 {
			_, result = call(t, proxy, "tasks/get", `{"taskId":"t"}`)
			require.Equal(t, "a", result["server"])
		}
		got, _ = call(t, proxy, callMethod, `{"task":"t"}`)
		require.NoError(t, got.err)
		require.Equal(t, http.StatusOK, got.status, "it is the first one's own")
	}
}

func TestTaskThatCannotBeStored(t *testing.T) {
	t.Parallel()
	for _, events := range []bool{false, true} {
		peers, st := startPeers(t, 1), newBroken()
		peers[0].events = events
		_, proxy := startProxy(t, st, peers)
		st.creates.Store(&session.ErrUnavailable)
		got, result := call(t, proxy, callMethod, `{"task":"t"}`)
		require.Nil(t, result, "no message is complete")
		if events {
			require.Error(t, got.err)
			require.True(t, strings.HasPrefix(got.body, ": begins\n\ndata: {"), "what came before has passed")
			require.True(t, strings.HasSuffix(got.body, `"taskId":"t"}`), got.body)
		} else {
			require.Equal(t, http.StatusServiceUnavailable, got.status)
			require.Equal(t, "1", got.header.Get("Retry-After"))
		}
		got, _ = call(t, proxy, callMethod, `{}`)
		require.Equal(t, http.StatusOK, got.status, "no task, nothing to store")
		require.NoError(t, got.err)
	}
}

func TestTasksInAnOutage(t *testing.T) {
	t.Parallel()
	st := newBroken()
	_, proxy := startProxy(t, st, startPeers(t, 2))
	st.loads.Store(&session.ErrUnavailable)
	got, _ := call(t, proxy, "tasks/get", `{"taskId":"t"}`)
	require.Equal(t, http.StatusServiceUnavailable, got.status)
	got, _ = call(t, proxy, callMethod, `{}`)
	require.Equal(t, http.StatusOK, got.status, "it needs no storage")
}

func TestTaskIsItsOwners(t *testing.T) {
	t.Parallel()
	owner := WithOwner(func(r *http.Request) (string, error) { return r.Header.Get("User"), nil })
	_, proxy := startProxy(t, startStorage(), startPeers(t, 2), owner)
	_, result := call(t, proxy, callMethod, `{"task":"t"}`, "User", "ann")
	require.Equal(t, "t", result["taskId"])
	_, result = call(t, proxy, "tasks/get", `{"taskId":"t"}`, "User", "ann")
	require.Equal(t, "a", result["server"])
	stranger, _ := call(t, proxy, "tasks/get", `{"taskId":"t"}`, "User", "bob")
	unknown, _ := call(t, proxy, "tasks/get", `{"taskId":"unknown"}`, "User", "bob")
	for _, got := range []outcome{stranger, unknown} {
		require.Equal(t, http.StatusNotFound, got.status)
		require.Equal(t, "application/json", got.header.Get("Content-Type"))
		require.JSONEq(t, `{"jsonrpc":"2.0","id":7,"error":{"code":-32602,"message":"unknown task"}}`, got.body)
	}
	got, _ := call(t, proxy, "tasks/get", `{"taskId":"t"}`)
	require.Equal(t, http.StatusUnauthorized, got.status)
	_, result = call(t, proxy, callMethod, `{"task":"t"}`, "User", "bob")
	require.Equal(t, "t", result["taskId"], "two owners may have tasks of one name")
}

func TestUnknownTaskIsTheBackendsAnswer(t *testing.T) {
	t.Parallel()
	_, proxy := startProxy(t, startStorage(), startPeers(t, 2))
	got, result := call(t, proxy, "tasks/get", `{"taskId":"unknown"}`)
	require.Equal(t, http.StatusOK, got.status)
	require.NotNil(t, result["server"])
	got, _ = call(t, proxy, "tasks/get", `{"taskId":7}`)
	require.Equal(t, http.StatusOK, got.status)
}

func TestAnswersThatAreReadAreNotCompressed(t *testing.T) {
	t.Parallel()
	peers := startPeers(t, 1)
	_, proxy := startProxy(t, startStorage(), peers)
	call(t, proxy, callMethod, `{}`, "Accept-Encoding", "gzip, br")
	require.Equal(t, "identity", peers[0].lastRequest().Header.Get("Accept-Encoding"))
	call(t, proxy, "resources/read", `{}`, "Accept-Encoding", "gzip, br")
	require.Equal(t, "gzip, br", peers[0].lastRequest().Header.Get("Accept-Encoding"))
}

func TestTaskKeyLivesAsLongAsTheTask(t *testing.T) {
	t.Parallel()
	for ttl, want := range map[time.Duration]time.Duration{
		0:                    0,
		time.Minute:          0, // an hour, as the storage says
		24 * time.Hour:       24 * time.Hour,
		365 * 24 * time.Hour: longTask,
	} {
		st := startStorage()
		p := NewProxy(st, []*url.URL{{Scheme: "http", Host: "localhost"}})
		x := &exchange{target: target{backend: p.backends.list[0]}}
		require.NoError(t, p.keepTask(t.Context(), x, learn.Task{ID: "t", TTL: ttl}))
		s, err := st.Load(t.Context(), keyID(taskKind, "", "t"))
		require.NoError(t, err)
		require.Equal(t, want, s.IdleTimeout())
	}
}
