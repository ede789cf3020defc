package mcphttp

import (
	"compress/gzip"
	"fmt"
	"io"
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

// A backend compresses an answer although it was asked not to, or announces it in an unusual way.
func TestUnusualAnswersAreRead(t *testing.T) {
	t.Parallel()
	const answer = `{"jsonrpc":"2.0","id":1,"result":{"resultType":"task","taskId":%q}}`
	peers := startPeers(t, 3)
	_, proxy := startProxy(t, startStorage(), peers)
	for _, c := range []struct {
		encoding, kind string
		status         int
	}{
		{"identity", "application/json", 200},
		{"gzip", "application/json", 200},
		{"X-GZIP", "text/event-stream", 200},
		{"", "Text/Event-Stream; charset=utf-8; charset=utf-8", 200},
		{"", "application/json ;", 201},
		{"br", "application/json", 502},
		{"gzip, gzip", "text/event-stream", 502},
	} {
		task := c.encoding + c.kind
		began := ""
		for _, p := range peers {
			p.handle = func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get(methodHeader) != callMethod {
					_, _ = fmt.Fprintf(w, `{"result":{"server":%q}}`, p.name)
					return
				}
				began = p.name
				w.Header().Set("Content-Type", c.kind)
				if c.encoding != "" {
					w.Header().Set("Content-Encoding", c.encoding)
				}
				w.WriteHeader(max(c.status%500, 200))
				body := fmt.Sprintf(answer, task)
				if lower(c.kind)[:4] == "text" {
					body = "data: " + body + "\n\n"
				}
				if strings.Contains(lower(c.encoding), "gzip") {
					z := gzip.NewWriter(w)
					_, _ = io.WriteString(z, body)
					_ = z.Close()
					return
				}
				_, _ = io.WriteString(w, body)
			}
		}
		got, result := call(t, proxy, callMethod, `{}`, "Accept-Encoding", "gzip, br")
		require.NoError(t, got.err)
		require.Equal(t, c.status, got.status, "%+v", c)
		if c.status == 502 {
			require.NotContains(t, got.body, task)
			continue
		}
		require.Equal(t, task, result["taskId"], "%+v: %s", c, got.body)
		for range 3 {
			_, result = call(t, proxy, "tasks/get", fmt.Sprintf(`{"taskId":%q}`, task))
			require.Equal(t, began, result["server"], "%+v", c)
		}
	}
}

func TestTaskKeyLivesAsLongAsTheTask(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ storage, task, want time.Duration }{
		{time.Hour, 0, 0},
		{time.Hour, time.Minute, 0},
		{time.Minute, 5 * time.Minute, 5 * time.Minute},
		{time.Hour, 24 * time.Hour, 24 * time.Hour},
		{time.Hour, 365 * 24 * time.Hour, longTask},
	} {
		st := session.NewMemoryStorage(c.storage)
		p := NewProxy(st, []*url.URL{{Scheme: "http", Host: "localhost"}})
		x := &exchange{target: target{backend: p.backends.list[0]}}
		require.NoError(t, p.keepTask(t.Context(), x, learn.Task{ID: "t", TTL: c.task}))
		s, err := st.Load(t.Context(), keyID(taskKind, "", "t"))
		require.NoError(t, err)
		require.Equal(t, c.want, s.IdleTimeout(), "%+v", c)
	}
}
