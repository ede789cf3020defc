package mcphttp

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/internal/realtest"
)

// Each event is there before the next one is sent.
func TestEventsAreNotHeldUp(t *testing.T) {
	next := make(chan struct{})
	inner := newServer()
	inner.call = func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for range next {
			_, _ = io.WriteString(w, "data: x\n\n")
			w.(http.Flusher).Flush() // mcp-go asks for this interface
		}
	}
	c := newClient(t, NewSessions(newBroken(), inner))
	c.requireStatus(200, "POST", "", "")
	go func() { next <- struct{}{} }()
	answer, err := c.send(t.Context(), "GET", "minted", "")
	require.NoError(t, err)
	lines := bufio.NewReader(answer.Body)
	for range 3 {
		line, err := lines.ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, "data: x\n", line)
		_, err = lines.ReadString('\n')
		require.NoError(t, err)
		next <- struct{}{}
	}
	close(next)
	require.NoError(t, answer.Body.Close())
}

func TestClientThatHangsUp(t *testing.T) {
	begun, left := make(chan struct{}), make(chan error)
	inner := newServer()
	inner.call = func(_ http.ResponseWriter, r *http.Request) {
		begun <- struct{}{}
		<-r.Context().Done()
		left <- context.Cause(r.Context())
	}
	sessions := NewSessions(newBroken(), inner)
	c := newClient(t, sessions)
	c.requireStatus(200, "POST", "", "")
	for _, method := range []string{"GET", "POST"} {
		ctx, hangUp := context.WithCancel(t.Context())
		go func() {
			<-begun
			hangUp()
		}()
		_, err := c.send(ctx, method, "minted", "") //nolint:bodyclose // there is none
		require.ErrorIs(t, err, context.Canceled)
		require.Equal(t, context.Canceled, <-left)
	}
	require.NoError(t, sessions.Shutdown(t.Context()))
	require.Empty(t, inner.endedSessions(), "the client may come back")
}

// The time that a server gives its answers is for calls: streams are as long as their session lives.
func TestStreamOutlivesTheWriteTimeout(t *testing.T) {
	const timeout = 500 * time.Millisecond
	for want, call := range map[string]http.HandlerFunc{
		streamOfTest: streamFor(2 * timeout),
		"done":       openFor(2 * timeout), // which has not even begun by then
	} {
		inner := newServer()
		inner.call = call
		listening := httptest.NewUnstartedServer(NewSessions(newBroken(), inner))
		listening.Config.WriteTimeout = timeout
		listening.Start()
		defer listening.Close()
		c := client{t, listening.Client(), listening.URL}
		c.requireStatus(200, "POST", "", "")
		require.Equal(t, want, c.do("GET", "minted", "").body)
	}
}

// TestClientThatStalls has a client that reads nothing of what the server writes to it.
func TestClientThatStalls(t *testing.T) {
	full := make(chan struct{})
	inner := newServer()
	inner.call = func(w http.ResponseWriter, _ *http.Request) {
		close(full)
		event := make([]byte, 1<<20)
		for {
			if _, err := w.Write(event); err != nil {
				return
			}
		}
	}
	sessions := NewSessions(newBroken(), inner)
	c := newClient(t, sessions)
	c.requireStatus(200, "POST", "", "")
	address, err := url.Parse(c.url)
	require.NoError(t, err)
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", address.Host)
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close()) }()
	_, err = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\nMcp-Session-Id: minted\r\n\r\n")
	require.NoError(t, err)
	<-full
	ctx, cancel := context.WithTimeout(t.Context(), realtest.Patience)
	defer cancel()
	require.NoError(t, sessions.Shutdown(ctx))
}

// The next answer on a connection is not held to the deadline of one that was cut.
func TestConnectionServesOnAfterACut(t *testing.T) {
	st, inner := session.NewMemoryStorage(time.Minute), newServer()
	inner.call = streamFor(time.Hour)
	sessions := NewSessions(st, inner)
	control := &deadlines{ResponseRecorder: httptest.NewRecorder()}
	answerOf(sessions, requestWith("POST", nil, "{}"))
	time.AfterFunc(250*time.Millisecond, func() { _ = st.Delete(context.Background(), "minted") })
	sessions.ServeHTTP(control, requestWith("GET", ofMinted, ""))
	require.Zero(t, control.set[0], "a stream has none")
	last := len(control.set) - 1
	require.WithinDuration(t, time.Now().Add(stalledAfter), control.set[last-1], stalledAfter/2)
	require.Zero(t, control.set[last])
}

// When the body has ended, net/http reads to notice that the client leaves. A deadline for that ends the connection.
func TestDeadlineOfABody(t *testing.T) {
	control := &deadlines{ResponseRecorder: httptest.NewRecorder()}
	for _, readFirst := range []bool{false, true} {
		r, _, err := limitBody(control, requestWith("POST", nil, "body"), 4)
		require.NoError(t, err)
		c := newCutter(control, r, func(error) {})
		if readFirst {
			_, err = io.ReadAll(r.Body)
			require.NoError(t, err)
		}
		c.cut(ErrShutdown)
		if !readFirst {
			require.WithinDuration(t, time.Now().Add(stalledAfter), control.reads[0], stalledAfter/2)
			_, err = io.ReadAll(r.Body)
			require.NoError(t, err)
			require.Zero(t, control.reads[1])
		}
		c.done()
		require.Len(t, control.reads, 2)
	}
}

type deadlines struct {
	*httptest.ResponseRecorder

	set, reads []time.Time
}

func (d *deadlines) SetReadDeadline(at time.Time) error {
	d.reads = append(d.reads, at)
	return nil
}

func (d *deadlines) SetWriteDeadline(at time.Time) error {
	d.set = append(d.set, at)
	return nil
}

func newReverse(t *testing.T, backend http.Handler) *httputil.ReverseProxy {
	t.Helper()
	listening := httptest.NewServer(backend)
	t.Cleanup(listening.Close)
	target, err := url.Parse(listening.URL)
	require.NoError(t, err)
	reverse := httputil.NewSingleHostReverseProxy(target)
	reverse.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	return reverse
}

// A plain ReverseProxy answers 502 when it is cut, or breaks the connection.
func TestCutBeforeAReverseProxy(t *testing.T) {
	for name, c := range map[string]struct {
		call   http.HandlerFunc
		method string
		status int
	}{
		"stream":        {streamFor(time.Hour), "GET", 200},
		"silent stream": {openFor(time.Hour), "GET", 404},
	} {
		t.Run(name, func(t *testing.T) {
			st, inner := session.NewMemoryStorage(time.Minute), newServer()
			inner.call = func(w http.ResponseWriter, r *http.Request) {
				// A stream has begun by then.
				time.AfterFunc(250*time.Millisecond, func() { _ = st.Delete(context.Background(), "minted") })
				c.call(w, r)
			}
			client := newClient(t, NewSessions(st, newReverse(t, inner)))
			client.requireStatus(200, "POST", "", "")
			answer := client.do(c.method, "minted", "")
			require.Equal(t, c.status, answer.status)
			if c.status == 200 {
				require.Equal(t, cutStream, answer.body)
			}
		})
	}
}

// A session that could not be stored ends the answer that began it, although it is a stream.
func TestRefusedStreamIsNotAwaited(t *testing.T) {
	for name, behind := range map[string]func(*testing.T, http.Handler) http.Handler{
		"here":                  func(_ *testing.T, h http.Handler) http.Handler { return h },
		"behind a ReverseProxy": func(t *testing.T, h http.Handler) http.Handler { return newReverse(t, h) },
	} {
		t.Run(name, func(t *testing.T) {
			st := newBroken()
			st.creates.Store(&errOutage)
			c := newClient(t, NewSessions(st, behind(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodPost {
					w.Header().Set(sessionHeader, "minted")
					streamFor(time.Hour)(w, r)
				}
			}))))
			c.requireStatus(503, "POST", "", "")
		})
	}
}
