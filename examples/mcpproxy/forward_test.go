package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
)

// A backend may answer before it has read the request, and a proxy that passes the body on as it comes then cuts some
// answers: httputil.ReverseProxy alone cuts several of these.
func TestStreamedAnswersAreWhole(t *testing.T) {
	const answers, callers, size = 2_000, 16, 8 << 10
	p := newProxy(t, func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range 3 {
			_, _ = fmt.Fprintf(w, "data: %d\n\n", i)
			_ = http.NewResponseController(w).Flush()
		}
		n, _ := io.Copy(io.Discard, r.Body)
		_, _ = fmt.Fprintf(w, "data: read %d\n\n", n)
	})
	begin(t, p, "s")
	front := httptest.NewServer(p)
	defer front.Close()
	transport := newTransport()
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // instead of a hang
	defer cancel()

	body := strings.Repeat("x", size)
	want := fmt.Sprintf("data: 0\n\ndata: 1\n\ndata: 2\n\ndata: read %d\n\n", size)
	var left, cut atomic.Int64
	left.Store(answers)
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			for left.Add(-1) >= 0 {
				r, _ := http.NewRequestWithContext(ctx, http.MethodPost, front.URL, strings.NewReader(body))
				r.Header.Set(sessionHeader, "s")
				if got, err := call(transport, r); err != nil || got != want {
					cut.Add(1)
				}
			}
		})
	}
	all.Wait()
	assert.Zero(t, cut.Load(), "answers that were cut, of %d", answers)
}

func call(transport http.RoundTripper, r *http.Request) (string, error) {
	response, err := transport.RoundTrip(r)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	return string(text), err
}

// At shutdown, streams end at once and other answers after the grace, so that Shutdown returns.
func TestShutdown(t *testing.T) {
	waits, finish := make(chan struct{}), make(chan struct{})
	p := newProxy(t, func(w http.ResponseWriter, r *http.Request) {
		kind, _ := io.ReadAll(r.Body)
		if string(kind) == "waits" {
			close(waits)
			<-r.Context().Done()
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = fmt.Fprint(w, "data: first\n\n")
		_ = http.NewResponseController(w).Flush()
		if string(kind) == "finishes" {
			select {
			case <-finish:
			case <-r.Context().Done():
			}
			_, _ = fmt.Fprint(w, "data: last\n\n")
			return
		}
		<-r.Context().Done()
	})
	running, shutdown := context.WithCancel(t.Context())
	p.running, p.grace = running, 500*time.Millisecond
	begin(t, p, "s")
	front := httptest.NewUnstartedServer(p)
	front.Config.RegisterOnShutdown(shutdown)
	front.Start()
	defer front.Close()
	transport := newTransport()
	defer transport.CloseIdleConnections()
	ctx, leave := context.WithTimeout(t.Context(), 20*p.grace) // instead of a hang
	defer leave()

	// open returns once the header has come. What it returns reads the rest of the answer.
	open := func(method, body, mcpMethod string) (status int, rest func() string) {
		r, err := http.NewRequestWithContext(ctx, method, front.URL, strings.NewReader(body))
		require.NoError(t, err)
		r.Header.Set(sessionHeader, "s")
		r.Header.Set("Mcp-Method", mcpMethod)
		response, err := transport.RoundTrip(r)
		require.NoError(t, err)
		t.Cleanup(func() { _ = response.Body.Close() })
		return response.StatusCode, func() string {
			text, err := io.ReadAll(response.Body)
			assert.NoError(t, err, "the client sees an end")
			return string(text)
		}
	}
	_, get := open(http.MethodGet, "", "")
	_, subscription := open(http.MethodPost, "", "subscriptions/listen")
	_, finishes := open(http.MethodPost, "finishes", "tools/call")
	_, endless := open(http.MethodPost, "endless", "tools/call")

	var stopping sync.WaitGroup
	stopping.Go(func() {
		<-waits
		assert.NoError(t, front.Config.Shutdown(ctx))
	})
	start := time.Now()
	stopping.Go(func() {
		assert.Equal(t, "data: first\n\n", get())
		assert.Equal(t, "data: first\n\n", subscription())
		close(finish) // the streams have ended, so the grace has begun
	})
	status, _ := open(http.MethodPost, "waits", "tools/call")
	assert.Equal(t, http.StatusServiceUnavailable, status)
	assert.Equal(t, "data: first\n\ndata: last\n\n", finishes())
	assert.Equal(t, "data: first\n\n", endless())
	assert.GreaterOrEqual(t, time.Since(start), p.grace)
	stopping.Wait()
}

const ttl = time.Minute

// listener is a client that sends nothing while it waits for an answer: to a bubble, through pipes.
type listener struct {
	proxy  *proxy
	leave  context.CancelFunc
	answer *httptest.ResponseRecorder
	ended  chan struct{}
}

// listen opens an answer that the backend never ends, and whose header never comes if silent.
func listen(t *testing.T, st sessions, silent bool) *listener {
	require.NoError(t, st.Create(t.Context(), session.New("s").With(backendKey, "http://backend")))
	transport := roundTrip(func(r *http.Request) (*http.Response, error) {
		if silent {
			<-r.Context().Done()
			return nil, r.Context().Err()
		}
		body, events := io.Pipe()
		context.AfterFunc(r.Context(), func() { _ = events.CloseWithError(context.Cause(r.Context())) })
		header := http.Header{"Content-Type": {"text/event-stream"}}
		return &http.Response{StatusCode: http.StatusOK, Header: header, Body: body, Request: r}, nil
	})
	ctx, leave := context.WithCancel(t.Context())
	l := &listener{
		proxy: &proxy{
			sessions: st, transport: transport, log: quiet,
			keepAlive: ttl / 4, running: t.Context(), grace: time.Second,
		},
		leave: leave, answer: httptest.NewRecorder(), ended: make(chan struct{}),
	}
	go func() {
		defer close(l.ended)
		r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/mcp", nil)
		r.Header.Set(sessionHeader, "s")
		l.proxy.ServeHTTP(l.answer, r)
	}()
	synctest.Wait()
	return l
}

// open reports whether the answer still is.
func (l *listener) open() bool {
	synctest.Wait()
	select {
	case <-l.ended:
		return false
	default:
		return true
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// A session lives by its loads: the proxy causes them while an answer is open, and ends the answer with the session.
func TestOpenAnswerKeepsSession(t *testing.T) {
	for name, end := range map[string]func(t *testing.T, l *listener, st *session.RoutingStorage){
		"the client leaves": func(t *testing.T, l *listener, st *session.RoutingStorage) {
			l.leave()
			assert.False(t, l.open())
			time.Sleep(2 * ttl)
			_, err := st.Load(t.Context(), "s")
			require.ErrorIs(t, err, session.ErrNotFound, "from then on it is idle")
		},
		"the session ends": func(t *testing.T, l *listener, st *session.RoutingStorage) {
			require.NoError(t, st.Delete(t.Context(), "s"))
			time.Sleep(l.proxy.keepAlive)
			assert.False(t, l.open())
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				st := session.NewRoutingStorage(session.NewMemoryStorage(ttl), 100,
					session.WithLogger(slog.New(slog.DiscardHandler)))
				defer func() { _ = st.Close() }()
				l := listen(t, st, false)
				defer l.leave()
				time.Sleep(10 * ttl)
				require.True(t, l.open())
				_, err := st.Load(t.Context(), "s")
				require.NoError(t, err)
				end(t, l, st)
			})
		})
	}
}

// Before the header has come, the client learns why there is no answer.
func TestSessionEndsBeforeAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := session.NewMemoryStorage(ttl)
		l := listen(t, st, true)
		require.NoError(t, st.Delete(t.Context(), "s"))
		<-l.ended
		assert.Equal(t, http.StatusNotFound, l.answer.Code)
	})
}

// outage is a storage that cannot be asked while it is down.
type outage struct {
	sessions

	down atomic.Bool
}

func (o *outage) Load(ctx context.Context, id string) (*session.Session, error) {
	if o.down.Load() {
		return nil, fmt.Errorf("load: %w", session.ErrUnavailable)
	}
	return o.sessions.Load(ctx, id)
}

func TestOutageIsNoEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := &outage{sessions: session.NewMemoryStorage(ttl)}
		l := listen(t, st, false)
		st.down.Store(true)
		time.Sleep(10 * ttl)
		require.True(t, l.open())
		st.down.Store(false) // and the session has expired
		time.Sleep(l.proxy.keepAlive)
		assert.False(t, l.open())
	})
}
