package mcphttp

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
)

// openFor answers after d, or with the handler's own error when its context ends, as a reverse proxy does.
func openFor(d time.Duration) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(d):
			_, _ = io.WriteString(w, "done")
		case <-r.Context().Done():
			http.Error(w, "bad gateway", http.StatusBadGateway)
		}
	}
}

// streamFor sends an event, and ends after d or with its context.
func streamFor(d time.Duration) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: begin\n\n")
		_ = http.NewResponseController(w).Flush()
		select {
		case <-time.After(d):
			_, _ = io.WriteString(w, "data: end\n\n")
		case <-r.Context().Done():
		}
	}
}

const (
	streamOfTest = "data: begin\n\ndata: end\n\n"
	cutStream    = "data: begin\n\n"
)

// open is a request that is being answered.
type open struct {
	answer *httptest.ResponseRecorder
	ended  chan struct{}
}

func (o open) isOpen() bool {
	synctest.Wait()
	select {
	case <-o.ended:
		return false
	default:
		return true
	}
}

func serveOpen(handler http.Handler, method string, header http.Header) open {
	o := open{httptest.NewRecorder(), make(chan struct{})}
	go func() {
		defer close(o.ended)
		handler.ServeHTTP(o.answer, requestWith(method, header, ""))
	}()
	synctest.Wait()
	return o
}

var ofMinted = http.Header{sessionHeader: {"minted"}}

// newSessions returns a Sessions that has begun the session "minted".
func newSessions(t *testing.T, st session.Storage, call http.HandlerFunc, opts ...Option) (*Sessions, *server) {
	t.Helper()
	inner := newServer()
	inner.call = call
	sessions := NewSessions(st, inner, opts...)
	require.Equal(t, 200, answerOf(sessions, requestWith("POST", nil, "{}")).Code)
	return sessions, inner
}

func TestLongAnswersKeepTheirSessionAlive(t *testing.T) {
	const ttl = time.Minute
	for method, call := range map[string]http.HandlerFunc{
		"GET":  streamFor(100 * ttl),
		"POST": openFor(100 * ttl),
	} {
		synctest.Test(t, func(t *testing.T) {
			st := session.NewMemoryStorage(ttl)
			sessions, _ := newSessions(t, st, call)
			long := serveOpen(sessions, method, ofMinted)
			time.Sleep(99 * ttl)
			require.True(t, long.isOpen())
			_, err := st.Peek(t.Context(), "minted")
			require.NoError(t, err)
			time.Sleep(2 * ttl)
			require.False(t, long.isOpen())
			require.Equal(t, 200, long.answer.Code)
			require.Contains(t, []string{streamOfTest, "done"}, long.answer.Body.String())
			time.Sleep(ttl)
			_, err = st.Load(t.Context(), "minted")
			require.ErrorIs(t, err, session.ErrNotFound, "an idle one dies")
		})
	}
}

// A short call costs one load.
func TestShortCallIsNotKeptAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := &countingStorage{MemoryStorage: session.NewMemoryStorage(time.Minute)}
		sessions, _ := newSessions(t, st, openFor(longAfter-1))
		call := serveOpen(sessions, "POST", ofMinted)
		<-call.ended
		require.Equal(t, "done", call.answer.Body.String())
		time.Sleep(time.Hour)
		require.EqualValues(t, 1, st.loads.Load())
	})
}

type countingStorage struct {
	*session.MemoryStorage

	loads atomic.Int64
}

func (c *countingStorage) Load(ctx context.Context, id string) (*session.Session, error) {
	c.loads.Add(1)
	return c.MemoryStorage.Load(ctx, id)
}

func TestAnswersEndWithTheirSession(t *testing.T) {
	for name, c := range map[string]struct {
		method string
		call   http.HandlerFunc
		within time.Duration
		status int
		body   string
	}{
		"stream":           {"GET", streamFor(time.Hour), 0, 200, cutStream},
		"stream of a call": {"POST", streamFor(time.Hour), longAfter, 200, cutStream},
		"silent stream":    {"GET", openFor(time.Hour), 0, 404, ""},
		"call":             {"POST", openFor(time.Hour), longAfter, 404, ""},
		"call without an answer": {
			"POST", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, longAfter, 404, "",
		},
		"broken off": {
			"POST", func(_ http.ResponseWriter, r *http.Request) {
				<-r.Context().Done()
				panic(http.ErrAbortHandler)
			}, longAfter, 404, "",
		},
		"broken stream": {
			"GET", func(w http.ResponseWriter, r *http.Request) {
				streamFor(time.Hour)(w, r)
				panic(http.ErrAbortHandler)
			}, 0, 200, cutStream,
		},
		"result in spite of the end": {
			"POST", func(w http.ResponseWriter, r *http.Request) {
				<-r.Context().Done()
				_, _ = io.WriteString(w, "done")
			}, longAfter, 200, "done",
		},
	} {
		for _, after := range []time.Duration{0, time.Minute} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					st := session.NewMemoryStorage(time.Hour)
					sessions, inner := newSessions(t, st, c.call)
					answer := serveOpen(sessions, c.method, ofMinted)
					time.Sleep(after)
					require.True(t, answer.isOpen())
					require.NoError(t, st.Delete(t.Context(), "minted")) // on any replica
					if after == 0 {
						time.Sleep(c.within)
					}
					require.False(t, answer.isOpen())
					require.Equal(t, c.status, answer.answer.Code)
					if c.body != "" {
						require.Equal(t, c.body, answer.answer.Body.String())
					}
					require.Equal(t, []string{"minted"}, inner.endedSessions(), "what it still does is for no one")
				})
			})
		}
	}
}

// An outage is no end of a session.
func TestAnswersOutliveAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newBroken()
		sessions, _ := newSessions(t, st, streamFor(50*time.Second))
		stream := serveOpen(sessions, "GET", ofMinted)
		st.loads.Store(&errOutage)
		time.Sleep(45 * time.Second)
		require.True(t, stream.isOpen())
		st.loads.Store(nil)
		<-stream.ended
		require.Equal(t, streamOfTest, stream.answer.Body.String())
	})
}

func TestPanicOfAServer(t *testing.T) {
	for _, value := range []any{"mistake", http.ErrAbortHandler} {
		sessions, _ := newSessions(t, newBroken(), func(http.ResponseWriter, *http.Request) { panic(value) })
		require.PanicsWithValue(t, value, func() { answerOf(sessions, requestWith("POST", ofMinted, "")) })
		require.NoError(t, sessions.Shutdown(t.Context()), "it is not being answered any more")
	}
}

// JSON that breaks off must not look complete.
func TestCutJSONBreaksTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := session.NewMemoryStorage(time.Minute)
		sessions, _ := newSessions(t, st, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"jsonrpc"`)
			<-r.Context().Done()
			panic(http.ErrAbortHandler)
		})
		broken := make(chan any)
		go func() {
			defer func() { broken <- recover() }()
			answerOf(sessions, requestWith("GET", ofMinted, ""))
		}()
		synctest.Wait()
		require.NoError(t, st.Delete(t.Context(), "minted"))
		require.Equal(t, http.ErrAbortHandler, <-broken)
	})
}

func TestHandlerLearnsTheCause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var cause error
		sessions, _ := newSessions(t, newBroken(), func(_ http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
			cause = context.Cause(r.Context())
		})
		stream := serveOpen(sessions, "GET", ofMinted)
		require.NoError(t, sessions.Shutdown(t.Context()))
		<-stream.ended
		require.ErrorIs(t, cause, ErrShutdown)

		sessions, _ = newSessions(t, newBroken(), sessions.server.(*server).call)
		ctx, hangUp := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, hangUp)
		sessions.ServeHTTP(httptest.NewRecorder(), requestWith("POST", ofMinted, "").WithContext(ctx))
		require.Equal(t, context.Canceled, cause)
	})
}
