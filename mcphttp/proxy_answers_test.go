package mcphttp

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/internal/logtest"
	"github.com/seed34611480/session/internal/realtest"
)

// stream is a backend whose GETs are answered with an event, and then with nothing more until its client leaves.
type stream struct {
	*peer

	left chan struct{}
}

func startStream(t testing.TB) stream {
	s := stream{left: make(chan struct{}, 16)}
	s.peer = &peer{name: "a", sessions: make(map[string]bool), handle: func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			w.Header().Set(sessionHeader, session.NewID())
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: first\n\n")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		s.left <- struct{}{}
	}}
	s.Server = httptest.NewServer(s.peer)
	t.Cleanup(s.Close)
	return s
}

// listen opens a stream, and reads its first event.
func listen(t testing.TB, proxy, id string) (rest io.Reader, hangUp context.CancelFunc) {
	ctx, cancel := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, proxy, nil)
	require.NoError(t, err)
	r.Header.Set(sessionHeader, id)
	answer, err := http.DefaultTransport.RoundTrip(r)
	require.NoError(t, err)
	t.Cleanup(func() { _ = answer.Body.Close() })
	line, err := bufio.NewReaderSize(answer.Body, 16).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "data: first\n", line)
	return answer.Body, cancel
}

func TestHangUpIsPassedOn(t *testing.T) {
	t.Parallel()
	s := startStream(t)
	_, proxy := startProxy(t, startStorage(), []*peer{s.peer})
	id, _ := begin(t, proxy)
	_, hangUp := listen(t, proxy, id)
	hangUp()
	<-s.left
}

func TestStreamEndsWithItsSession(t *testing.T) {
	t.Parallel()
	s, st := startStream(t), startStorage()
	_, one := startProxy(t, st, []*peer{s.peer})
	_, two := startProxy(t, st, []*peer{s.peer})
	id, _ := begin(t, one)
	rest, hangUp := listen(t, one, id)
	defer hangUp()
	require.Equal(t, http.StatusNoContent, send(t, http.MethodDelete, two, "", sessionHeader, id).status)
	_, err := io.ReadAll(rest)
	require.NoError(t, err, "it ends, and does not break")
	<-s.left
}

func TestProxyShutdown(t *testing.T) {
	t.Parallel()
	s := startStream(t)
	p, proxy := startProxy(t, startStorage(), []*peer{s.peer})
	id, _ := begin(t, proxy)
	rest, hangUp := listen(t, proxy, id)
	defer hangUp()
	require.NoError(t, p.Shutdown(t.Context()))
	_, err := io.ReadAll(rest)
	require.NoError(t, err)
	got := send(t, http.MethodPost, proxy, "{}", sessionHeader, id)
	require.Equal(t, http.StatusServiceUnavailable, got.status)
	require.Equal(t, "1", got.header.Get("Retry-After"))
}

// The server of the handler reads what is left of a body, and must not wait for it either.
func TestShutdownDoesNotWaitForABody(t *testing.T) {
	t.Parallel()
	const grace = 50 * time.Millisecond
	proxy := func() (http.Handler, *answers) {
		p := NewProxy(startStorage(), []*url.URL{startPeer(t, "a").parsed(t)}, WithGrace(grace))
		return p, p.sessions.answers
	}
	sessions := func() (http.Handler, *answers) {
		s := NewSessions(startStorage(), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if _, err := io.ReadAll(r.Body); err != nil {
				w.WriteHeader(http.StatusBadRequest)
			}
		}), WithGrace(grace))
		return s, s.answers
	}
	for name, start := range map[string]func() (http.Handler, *answers){"Proxy": proxy, "Sessions": sessions} {
		for _, expect := range []string{"", "Expect: 100-continue\r\n"} {
			t.Run(name+expect, func(t *testing.T) {
				t.Parallel()
				handler, answers := start()
				front := httptest.NewServer(handler)
				defer front.Close()
				conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", front.Listener.Addr().String())
				require.NoError(t, err)
				defer conn.Close()
				require.NoError(t, conn.SetDeadline(time.Now().Add(realtest.Patience)))
				_, err = io.WriteString(conn, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n"+expect+"\r\n")
				require.NoError(t, err)
				realtest.Await(t, "the request", func() bool {
					answers.mu.Lock()
					defer answers.mu.Unlock()
					return answers.open == 1
				})
				ctx, cancel := context.WithTimeout(t.Context(), realtest.Patience)
				defer cancel()
				require.NoError(t, answers.shutdown(ctx))
				answer, err := io.ReadAll(conn)
				require.NoError(t, err)
				require.Contains(t, string(answer), "HTTP/1.1 503 Service Unavailable\r\n")
				require.NoError(t, front.Config.Shutdown(ctx))
			})
		}
	}
}

func TestStreamsOutliveTimeoutsOfTheServer(t *testing.T) {
	t.Parallel()
	const limit = time.Second // a busy machine needs some of it to send the request
	last := make(chan struct{})
	backend := &peer{handle: func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_ = http.NewResponseController(w).Flush()
		<-last
		_, _ = io.WriteString(w, "data: last\n\n")
	}}
	backend.Server = httptest.NewServer(backend)
	defer backend.Close()
	p := NewProxy(startStorage(), []*url.URL{backend.parsed(t)})
	front := httptest.NewUnstartedServer(p)
	front.Config.WriteTimeout, front.Config.ReadTimeout = limit, limit
	front.Start()
	defer front.Close()
	defer func() { require.NoError(t, p.Shutdown(context.Background())) }()
	time.AfterFunc(2*limit, func() { close(last) })
	got := send(t, http.MethodPost, front.URL, "{}")
	require.NoError(t, got.err)
	require.Equal(t, "data: last\n\n", got.body)
}

func TestUpgradeIsNotPassedOn(t *testing.T) {
	t.Parallel()
	peers := startPeers(t, 1)
	_, proxy := startProxy(t, startStorage(), peers)
	// Java's client sends this with its first request, and goes on without.
	got := send(t, http.MethodPost, proxy, initialize, "Connection", "Upgrade, HTTP2-Settings", "Upgrade", "h2c",
		"Http2-Settings", "AAEAAEAA")
	require.Equal(t, http.StatusOK, got.status)
	header := peers[0].lastRequest().Header
	require.Empty(t, header["Upgrade"])
	require.Empty(t, header["Connection"])
	require.Empty(t, header["Http2-Settings"])
}

func TestConnectIsNotPassedOn(t *testing.T) {
	t.Parallel()
	peers := startPeers(t, 1)
	p, _ := startProxy(t, startStorage(), peers)
	for _, version := range []string{"2025-11-25", modernSince} {
		answer := answerOf(p, requestWith(http.MethodConnect, http.Header{versionHeader: {version}}, ""))
		require.Equal(t, http.StatusMethodNotAllowed, answer.Code)
	}
	require.Nil(t, peers[0].lastRequest())
}

func TestSwitchOfProtocolIsRefused(t *testing.T) {
	t.Parallel()
	backend := &peer{handle: func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Upgrade", "websocket")
		w.WriteHeader(http.StatusSwitchingProtocols)
	}}
	backend.Server = httptest.NewServer(backend)
	defer backend.Close()
	_, proxy := startProxy(t, startStorage(), []*peer{backend})
	got := send(t, http.MethodGet, proxy, "", "Connection", "Upgrade", "Upgrade", "websocket", versionHeader, modernSince)
	require.Equal(t, http.StatusBadGateway, got.status)
}

// The body has been read, and a backend that does not know Expect would hold it up for a second.
func TestExpectIsNotPassedOn(t *testing.T) {
	t.Parallel()
	peers := startPeers(t, 1)
	_, proxy := startProxy(t, startStorage(), peers)
	got := send(t, http.MethodPost, proxy, initialize, "Expect", "100-continue")
	require.Equal(t, http.StatusOK, got.status)
	require.Empty(t, peers[0].lastRequest().Header["Expect"])
}

func TestRequestIsPassedOnWhole(t *testing.T) {
	t.Parallel()
	bodies := make(chan string, 2)
	backend := &peer{}
	backend.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		bodies <- fmt.Sprint(r.ContentLength, r.TransferEncoding, r.URL, string(b))
		bodies <- fmt.Sprint(r.Header["X-Forwarded-For"], r.Host)
	}))
	defer backend.Close()
	p := NewProxy(startStorage(), []*url.URL{backend.parsed(t)}, WithMaxBody(8))
	p.backends.list[0].url.Path, p.backends.list[0].url.RawQuery = "/mcp", "k=v"
	front := httptest.NewServer(p)
	defer front.Close()
	defer func() { require.NoError(t, p.Shutdown(t.Context())) }()
	got := send(t, http.MethodPost, front.URL+"/x?y=z", "12345678", "X-Forwarded-For", "1.2.3.4")
	require.Equal(t, http.StatusOK, got.status)
	require.Equal(t, "8 [] /mcp/x?k=v&y=z12345678", <-bodies)
	require.Equal(t, "[127.0.0.1]"+backend.Listener.Addr().String(), <-bodies, "the host is its own")
	require.Equal(t, http.StatusRequestEntityTooLarge, send(t, http.MethodPost, front.URL, "123456789").status)
}

// TestEarlyAnswerIsNotCut makes the transport slow to see that the request's body has ended, which is rare otherwise.
// See readWhole.
func TestEarlyAnswerIsNotCut(t *testing.T) {
	t.Parallel()
	goOn := make(chan struct{})
	backend := &peer{handle: func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "first")
		_ = http.NewResponseController(w).Flush()
		select {
		case <-r.Context().Done(): // the connection was closed
		case <-goOn:
			_, _ = io.WriteString(w, " last")
		}
	}}
	backend.Server = httptest.NewServer(backend)
	defer backend.Close()
	p, proxy := startProxy(t, startStorage(), []*peer{backend})

	ended := make(chan struct{})
	plain := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(p.backends.list[0].url) },
		Transport: slow{http.DefaultTransport, ended},
		ErrorLog:  quiet,
	})
	defer plain.Close()
	_, err := readAfter(t, plain.URL, func() { close(ended) })
	require.Error(t, err, "a plain ReverseProxy has the race that readWhole avoids")

	ended = make(chan struct{})
	p.reverse.Transport = slow{p.reverse.Transport, ended}
	got, err := readAfter(t, proxy, func() {
		close(ended)
		close(goOn)
	})
	require.NoError(t, err)
	require.Equal(t, "first last", got)
}

// readAfter sends a request, and calls then when the header of the answer has come.
func readAfter(t testing.TB, to string, then func()) (string, error) {
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, to, strings.NewReader("body"))
	require.NoError(t, err)
	answer, err := http.DefaultTransport.RoundTrip(r)
	require.NoError(t, err)
	defer answer.Body.Close()
	then()
	body, err := io.ReadAll(answer.Body)
	return string(body), err
}

// slow is a transport that waits after the last byte of a body, before it looks for its end.
type slow struct {
	http.RoundTripper

	ended <-chan struct{}
}

func (s slow) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Body = &slowBody{r.Body, r.ContentLength, s.ended}
	return s.RoundTripper.RoundTrip(r)
}

type slowBody struct {
	io.ReadCloser

	left  int64
	ended <-chan struct{}
}

func (s *slowBody) Read(p []byte) (int, error) {
	if s.left == 0 {
		<-s.ended
		return s.ReadCloser.Read(p)
	}
	n, err := s.ReadCloser.Read(p[:min(int64(len(p)), s.left)])
	s.left -= int64(n)
	return n, err
}

func TestProxyLogsNoIDs(t *testing.T) {
	t.Parallel()
	var logs logtest.Log
	st, peers := newBroken(), startPeers(t, 1)
	peers[0].events = true
	_, proxy := startProxy(t, st, peers, WithLogger(slog.New(slog.NewTextHandler(&logs, nil))),
		WithDeadAfter(20*time.Millisecond), noKeepAlive())
	id, _ := begin(t, proxy)
	failure := errors.New("secret-id in a foreign error")
	st.creates.Store(&failure)
	call(t, proxy, callMethod, `{"task":"secret-task"}`)
	peers[0].Close()
	eventually(t, http.StatusNotFound, func() outcome {
		return send(t, http.MethodPost, proxy, "{}", sessionHeader, id)
	})
	require.Contains(t, logs.String(), "a task could not be stored")
	require.Contains(t, logs.String(), "a backend is dead")
	for _, secret := range []string{id, "secret"} {
		require.NotContains(t, logs.String(), secret)
	}
}
