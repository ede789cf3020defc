package mcphttp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
)

var errOutage = fmt.Errorf("dial: %w", session.ErrUnavailable)

func userOf(r *http.Request) (string, error) {
	switch user := r.Header.Get(userHeader); user {
	case "outage":
		return "", errOutage
	case "forged":
		return user, errors.New("bad token")
	default:
		return user, nil
	}
}

func newBroken() *brokenStorage {
	return &brokenStorage{MemoryStorage: session.NewMemoryStorage(time.Minute)}
}

func TestSession(t *testing.T) {
	st, inner := newBroken(), newServer()
	c := newClient(t, NewSessions(st, inner, WithOwner(userOf)))

	began := c.requireStatus(200, "POST", "", "ann")
	require.Equal(t, "minted", began.Get(sessionHeader))
	s, err := st.Load(t.Context(), "minted")
	require.NoError(t, err)
	require.Equal(t, "ann", s.Principal())
	require.Equal(t, session.TypeStreamable, s.Type())

	c.requireStatus(200, "POST", "minted", "ann")
	c.requireStatus(200, "GET", "minted", "ann")
	c.requireStatus(204, "DELETE", "minted", "ann")
	require.Equal(t, []string{"minted"}, inner.endedSessions())
	c.requireStatus(404, "POST", "minted", "ann")
	c.requireStatus(404, "DELETE", "minted", "ann")
	_, err = st.Load(t.Context(), "minted")
	require.ErrorIs(t, err, session.ErrNotFound)
}

func TestSessionOfAnotherOwner(t *testing.T) {
	st, inner := newBroken(), newServer()
	c := newClient(t, NewSessions(st, inner, WithOwner(userOf)))
	c.requireStatus(200, "POST", "", "ann")
	for _, method := range []string{"GET", "POST", "DELETE"} {
		strange := c.do(method, "minted", "bob")
		require.Equal(t, 404, strange.status)
		require.Equal(t, c.do(method, "unknown", "bob"), strange)
		c.requireStatus(401, method, "minted", "")
		c.requireStatus(401, method, "minted", "forged")
		c.requireStatus(503, method, "minted", "outage")
	}
	c.requireStatus(200, "POST", "minted", "ann")
	require.Empty(t, inner.endedSessions())
}

func TestNoOwnerBeginsNoSession(t *testing.T) {
	inner := newServer()
	c := newClient(t, NewSessions(newBroken(), inner, WithOwner(userOf)))
	c.requireStatus(401, "POST", "", "")
	c.requireStatus(401, "POST", "", "forged")
	c.requireStatus(503, "POST", "", "outage")
	require.Nil(t, inner.lastRequest())
}

func TestSessionThatCannotBeStored(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
	}{
		{errOutage, 503},
		{session.ErrExists, 503}, // a new attempt has another id
		{session.ErrTooMany, 409},
		{session.ErrInvalidID, 503}, // the server's fault
		{session.ErrClosed, 503},
		{errors.ErrUnsupported, 503},
	} {
		st, inner := newBroken(), newServer()
		st.creates.Store(&c.err)
		var log bytes.Buffer
		logger := slog.New(slog.NewTextHandler(&log, nil))
		sessions := NewSessions(st, inner, WithOwner(userOf), WithLogger(logger))
		client := newClient(t, sessions)

		header := client.requireStatus(c.status, "POST", "", "ann")
		require.Empty(t, header.Get(sessionHeader), "an id that no replica knows")
		require.Equal(t, []string{"minted"}, inner.endedSessions(), "the server would keep it for ever")
		require.Equal(t, "ann", inner.lastRequest().Header.Get(userHeader), "the server asks who ends it")
		require.NotContains(t, log.String(), "minted")
		require.NotContains(t, log.String(), "ann")

		st.creates.Store(nil)
		client.requireStatus(200, "POST", "", "ann")
	}
}

// The storage knows the session before the client has the first byte of the answer.
func TestSessionIsStoredFirst(t *testing.T) {
	st := newBroken()
	for name, begin := range map[string]func(w http.ResponseWriter){
		"write":             func(w http.ResponseWriter) { _, _ = io.WriteString(w, "{}") },
		"header":            func(w http.ResponseWriter) { w.WriteHeader(http.StatusOK) },
		"flush":             func(w http.ResponseWriter) { w.(http.Flusher).Flush() },
		"controller":        func(w http.ResponseWriter) { _ = http.NewResponseController(w).Flush() },
		"nothing":           func(http.ResponseWriter) {},
		"hints-with-the-id": func(w http.ResponseWriter) { w.WriteHeader(http.StatusEarlyHints) },
		"hints": func(w http.ResponseWriter) {
			id := w.Header().Get(sessionHeader)
			w.Header().Del(sessionHeader) // it comes with the answer itself
			w.WriteHeader(http.StatusEarlyHints)
			w.Header().Set(sessionHeader, id)
			w.WriteHeader(http.StatusOK)
		},
	} {
		t.Run(name, func(t *testing.T) {
			sessions := NewSessions(st, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set(sessionHeader, name)
				begin(w)
			}))
			known := false
			w := &watched{ResponseRecorder: httptest.NewRecorder(), leaves: func() {
				_, err := st.Load(t.Context(), name)
				known = err == nil
			}}
			sessions.ServeHTTP(w, requestWith("POST", nil, "{}"))
			require.Equal(t, 200, w.Code)
			require.True(t, known)
			require.Equal(t, name, w.Header().Get(sessionHeader))
			require.False(t, w.early)
		})
	}
}

// watched tells when the header of an answer leaves.
type watched struct {
	*httptest.ResponseRecorder

	leaves func()
	left   bool
	early  bool // the id was in what comes before the answer
}

func (w *watched) WriteHeader(status int) {
	if status < 200 { // the recorder takes it for the answer
		w.early = w.early || w.Header().Get(sessionHeader) != ""
		return
	}
	if !w.left {
		w.left = true
		w.leaves()
	}
	w.ResponseRecorder.WriteHeader(status)
}

func (w *watched) Flush() {
	if !w.left {
		w.WriteHeader(http.StatusOK)
	}
	w.ResponseRecorder.Flush()
}

// An id in an answer that refuses begins nothing, nor does one that the client has sent.
func TestOnlyANewIDIsStored(t *testing.T) {
	st := newBroken()
	status, id := 0, ""
	c := newClient(t, NewSessions(st, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set(sessionHeader, id)
		w.WriteHeader(status)
	})))
	status, id = 400, "refused"
	answer := c.do("POST", "", "")
	require.Equal(t, 400, answer.status)
	status, id = 307, "elsewhere"
	c.do("POST", "", "")
	for _, id := range []string{"refused", "elsewhere"} {
		_, err := st.Load(t.Context(), id)
		require.ErrorIs(t, err, session.ErrNotFound)
	}
	status, id = 200, "first"
	c.requireStatus(200, "POST", "", "")
	c.requireStatus(200, "POST", "first", "")
	id = "second" // mcp-go answers an initialize within a session by a new one
	c.requireStatus(200, "POST", "first", "")
	c.requireStatus(200, "POST", "second", "")
}

func TestDelete(t *testing.T) {
	for _, status := range []int{404, 405, 500, 403} {
		st, inner := newBroken(), newServer()
		var log bytes.Buffer
		c := newClient(t, NewSessions(st, inner, WithLogger(slog.New(slog.NewTextHandler(&log, nil)))))
		c.requireStatus(200, "POST", "", "")
		inner.deleting = status
		c.requireStatus(204, "DELETE", "minted", "")
		c.requireStatus(404, "POST", "minted", "")
		require.Equal(t, status != 404 && status != 405, log.Len() > 0, log.String())
		require.NotContains(t, log.String(), "minted")
	}
}

func TestOutageAtEachStep(t *testing.T) {
	st, inner := newBroken(), newServer()
	c := newClient(t, NewSessions(st, inner))
	c.requireStatus(200, "POST", "", "")
	for _, method := range []string{"GET", "POST", "DELETE"} {
		st.loads.Store(&errOutage)
		c.requireStatus(503, method, "minted", "")
		st.loads.Store(nil)
	}
	st.deletes.Store(&errOutage)
	c.requireStatus(503, "DELETE", "minted", "")
	require.Empty(t, inner.endedSessions(), "the client still has it")
	c.requireStatus(200, "POST", "minted", "")
	st.deletes.Store(nil)
	c.requireStatus(204, "DELETE", "minted", "")
	require.Equal(t, []string{"minted"}, inner.endedSessions())
}

// A DELETE takes place even if its client does not wait for it.
func TestDeleteOfAClientThatHangsUp(t *testing.T) {
	st, inner := newBroken(), newServer()
	sessions := NewSessions(st, inner)
	answerOf(sessions, requestWith("POST", nil, "{}"))
	ctx, cancel := context.WithCancel(t.Context())
	r := requestWith("DELETE", http.Header{sessionHeader: {"minted"}}, "").WithContext(ctx)
	hangsUp := &watchedDelete{brokenStorage: st, cancel: cancel}
	sessions.storage = hangsUp
	sessions.ServeHTTP(httptest.NewRecorder(), r)
	require.Equal(t, []string{"minted"}, inner.endedSessions())
	_, err := st.Load(t.Context(), "minted")
	require.ErrorIs(t, err, session.ErrNotFound)
}

type watchedDelete struct {
	*brokenStorage

	cancel context.CancelFunc
}

func (w *watchedDelete) Delete(ctx context.Context, id string) error {
	w.cancel()
	return errors.Join(ctx.Err(), w.brokenStorage.Delete(ctx, id))
}

func TestBadRequests(t *testing.T) {
	inner := newServer()
	c := newClient(t, NewSessions(newBroken(), inner))
	c.requireStatus(400, "GET", "", "")
	c.requireStatus(400, "DELETE", "", "")
	c.requireStatus(400, "POST", "not visible", "")
	c.requireStatus(400, "POST", strings.Repeat("x", 4097), "")
	for _, method := range []string{"HEAD", "OPTIONS", "PUT"} {
		for _, id := range []string{"", "minted"} {
			header := c.requireStatus(405, method, id, "")
			require.Equal(t, "GET, POST, DELETE", header.Get("Allow"))
		}
	}
	require.Nil(t, inner.lastRequest())
}

func TestBodyThatIsTooLarge(t *testing.T) {
	readers := map[string]http.HandlerFunc{
		"go-sdk": func(w http.ResponseWriter, r *http.Request) {
			if _, err := io.ReadAll(r.Body); err != nil {
				w.WriteHeader(http.StatusRequestEntityTooLarge)
			}
		},
		"mcp-go": func(w http.ResponseWriter, r *http.Request) {
			if _, err := io.ReadAll(r.Body); err != nil {
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(http.StatusBadRequest)
				_, _ = io.WriteString(w, `{"jsonrpc":"2.0"}`)
			}
		},
	}
	for name, reader := range readers {
		for _, version := range []string{"2025-11-25", "2026-07-28"} {
			sessions := NewSessions(newBroken(), reader, WithMaxBody(10))
			for _, chunked := range []bool{false, true} {
				for size, status := range map[int]int{10: 200, 11: 413} {
					r := requestWith("POST", http.Header{versionHeader: {version}}, strings.Repeat("x", size))
					if chunked {
						r.ContentLength = -1
					}
					answer := answerOf(sessions, r)
					require.Equal(t, status, answer.Code, "%s %s %v", name, version, chunked)
					require.NotContains(t, answer.Body.String(), "{")
				}
			}
		}
	}
}

// A server that takes a modern request for a legacy one must not find a session in it: none was looked up. The session
// that it begins is ended, by a request of its own, which may overtake the answer.
func TestModernRequestHasNoSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := newServer()
		var posted []string // session ids
		server := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost {
				posted = append(posted, r.Header.Get(sessionHeader))
			}
			inner.ServeHTTP(w, r)
		})
		c := NewSessions(newBroken(), server, WithOwner(userOf))
		answerOf(c, requestWith("POST", http.Header{userHeader: {"ann"}}, "{}"))
		inner.nextID = "second"
		header := http.Header{versionHeader: {"2026-07-28"}, sessionHeader: {"minted"}}
		answer := answerOf(c, requestWith("POST", header, "{}"))
		require.Equal(t, 200, answer.Code)
		require.Equal(t, []string{"", ""}, posted)
		require.Equal(t, "minted", header.Get(sessionHeader), "the caller's own request is left alone")
		synctest.Wait()
		require.Equal(t, []string{"second"}, inner.endedSessions())
	})
}

// Sessions may also be in front of another process.
func TestSessionsBeforeAReverseProxy(t *testing.T) {
	st, inner := newBroken(), newServer()
	backend := httptest.NewServer(inner)
	defer backend.Close()
	target, err := url.Parse(backend.URL)
	require.NoError(t, err)
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	c := newClient(t, NewSessions(st, proxy))
	c.requireStatus(200, "POST", "", "")
	c.requireStatus(200, "POST", "minted", "")
	c.requireStatus(204, "DELETE", "minted", "")
	require.Equal(t, []string{"minted"}, inner.endedSessions())

	st.creates.Store(&errOutage)
	c.requireStatus(503, "POST", "", "")
	require.Equal(t, []string{"minted", "minted"}, inner.endedSessions())
	backend.Close()
	st.creates.Store(nil)
	answer := c.do("POST", "", "")
	require.Equal(t, http.StatusBadGateway, answer.status)
}

func TestNewSessionsWithoutWhatItNeeds(t *testing.T) {
	inner := newServer()
	require.Panics(t, func() { NewSessions(nil, inner) })
	require.Panics(t, func() { NewSessions(session.NewMemoryStorage(time.Minute), nil) })
	require.Panics(t, func() { NewSessions(struct{ session.Storage }{newBroken()}, inner) })
	require.Panics(t, func() { WithOwner(nil) })
	require.Panics(t, func() { WithLogger(nil) })
	require.Panics(t, func() { WithMaxBody(-1) })
	require.Panics(t, func() { WithGrace(-1) })
	s := NewSessions(newBroken(), inner, WithMaxBody(0), WithGrace(0))
	require.EqualValues(t, defaultMaxBody, s.maxBody)
	require.Equal(t, defaultGrace, s.grace)
}

// A server that takes a request of the modern era for one of the legacy era begins a session whose owner was not asked
// for.
func TestModernRequestBeginsNoSession(t *testing.T) {
	t.Parallel()
	inner := newServer()
	st := newBroken()
	owner := WithOwner(func(r *http.Request) (string, error) { return r.Header.Get(userHeader), nil })
	for name, handler := range map[string]http.Handler{
		"sessions": NewSessions(st, inner, owner),
		"era":      NewSessions(st, Era(inner, inner), owner),
	} {
		inner.nextID = name
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(initialize))
		r.Header.Set(versionHeader, "2099-01-01")
		got := httptest.NewRecorder()
		handler.ServeHTTP(got, r)
		require.Equal(t, http.StatusOK, got.Code)
		require.Empty(t, got.Header().Get(sessionHeader))
		ended := func() bool { return slices.Contains(inner.endedSessions(), name) }
		require.Eventually(t, ended, 10*time.Second, time.Millisecond)
		_, err := st.Load(t.Context(), name)
		require.ErrorIs(t, err, session.ErrNotFound)
	}

	peers := startPeers(t, 3)
	_, proxy := startProxy(t, st, peers, owner)
	for _, p := range peers {
		got := send(t, http.MethodPost, proxy, initialize, versionHeader, "2099-01-01")
		require.Equal(t, p.name, got.body)
		require.Empty(t, got.header.Get(sessionHeader))
		require.Eventually(t, p.isEmpty, 10*time.Second, time.Millisecond)
	}
}
