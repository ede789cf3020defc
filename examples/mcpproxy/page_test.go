package main

import (
	"bufio"
	"context"
	"flag"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var screenshot = flag.String("page.screenshot", "", "write pictures of the page to this `FILE`.light.png and .dark.png")

// startUntold starts a demo with an embedded Redis, and without the story. TestDemo has a redis-server if there is one.
func startUntold(t *testing.T, out io.Writer) *demo {
	t.Helper()
	redis.SetLogger(&logging.VoidLogger{})
	path := os.Getenv("PATH")
	t.Setenv("PATH", t.TempDir())
	d, err := startDemo(t.Context(), "", &report{out: out})
	t.Setenv("PATH", path)
	require.NoError(t, err)
	require.Equal(t, "embedded", d.store.name)
	t.Cleanup(func() { d.stop(t.Context()) })
	return d
}

func startLive(t *testing.T) *live {
	t.Helper()
	d := startUntold(t, io.Discard)
	l, err := d.goLive(t.Context())
	require.NoError(t, err)
	t.Cleanup(l.stop)
	return l
}

// served returns for how long a replica has served a session that has ended.
func (l *live) served(session string, replica int) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.sessions {
		if strconv.Itoa(s.number) == session {
			return s.answers[replica-1].served
		}
	}
	return 0
}

func is(wanted string) func(string) bool {
	return func(text string) bool { return text == wanted }
}

func has(wanted string) func(string) bool {
	return func(text string) bool { return strings.Contains(text, wanted) }
}

// A newcomer presses each button, and sees a lease run out and heal, and an outage.
func TestPage(t *testing.T) {
	l := startLive(t)
	server, at, err := l.page(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { _ = server.Close() })
	b := openBrowser(t, at.String())

	mode := func(replica string) string { return "#replica-" + replica + " .pill" }
	cell := func(session, replica string) string {
		return "#session-" + session + " td:nth-of-type(" + replica + ")"
	}
	for _, n := range []string{"1", "2", "3"} {
		b.await(mode(n), is("✓ leased"))
		b.await(cell("1", n), is("serves"))
		b.await("#replica-"+n+" figure:nth-of-type(2) b", func(text string) bool { return text != "0 /s" && text != "" })
	}

	// The replica that is cut off serves its copy until its lease is over. A machine that is so slow that this comes
	// before the second click has two more chances.
	var served time.Duration
	seen := ""
	for _, n := range []string{"2", "4", "5"} {
		b.click("Cut events of replica 3", "Delete session "+n)
		seen = b.await(cell(n, "3"), func(text string) bool { return text == "old copy" || has("404 after")(text) })
		for _, replica := range []string{"1", "2", "3"} {
			b.await(cell(n, replica), has("404 after"))
		}
		served = l.served(n, 3)
		b.await(mode("3"), is("! bounded age"))
		b.await("#news", has("replica 3 is cut off from change events"))
		b.click("Restore events of replica 3")
		b.await(mode("3"), is("✓ leased"))
		if seen == "old copy" {
			break
		}
	}
	require.Equal(t, "old copy", seen)
	require.Positive(t, served)
	require.Less(t, served, livePace.maxStaleness)

	// Without Redis, copies are served until the leases are over. No session is lost.
	b.click("Stop Redis")
	b.await("#redis .pill", is("✗ stopped"))
	for _, n := range []string{"1", "2", "3"} {
		b.await(cell("1", n), is("503"))
		b.await(mode(n), is("✗ unavailable"))
	}
	b.click("Delete session 3")
	b.await("#news", has("session 3 could not be deleted"))
	if *screenshot != "" {
		b.screenshot(*screenshot+".dark.png", "dark")
	}
	b.click("Start Redis")
	for _, n := range []string{"1", "2", "3"} {
		b.await(cell("1", n), is("serves"))
		b.await(cell("3", n), is("serves"))
		b.await(mode(n), is("✓ leased"))
	}
	b.await("#sessions", has("7")) // one has taken the place of the one that was deleted

	b.requireReadable("light")
	b.requireReadable("dark")
	b.resize(400, 900) // of a phone
	b.requireReadable("light")
	if *screenshot != "" {
		b.screenshot(*screenshot+".narrow.png", "light")
	}
	b.resize(wide, high)
	if *screenshot != "" {
		time.Sleep(35 * time.Second) // so that the charts have something to show
		b.click("Cut events of replica 3", "Delete session 6")
		time.Sleep(1200 * time.Millisecond)
		b.screenshot(*screenshot+".light.png", "light")
	}

	var page string
	b.eval("document.documentElement.outerHTML", &page)
	require.False(t, secret.MatchString(page+get(t, at.String()+"/state")), "the page shows a session id")
	b.mu.Lock()
	defer b.mu.Unlock()
	require.Empty(t, b.errors, "errors in the browser")
}

func get(t *testing.T, url string) string {
	t.Helper()
	answer, err := http.Get(url)
	require.NoError(t, err)
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, answer.StatusCode)
	return string(body)
}

// With -serve the demo tells where the page is, and goes on until it is interrupted.
func TestServe(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	in, out := io.Pipe()
	d := startUntold(t, out)
	var serving sync.WaitGroup
	serving.Go(func() {
		assert.NoError(t, d.keepRunning(ctx))
		_ = out.Close()
	})
	told := bufio.NewScanner(in)
	page := ""
	for told.Scan() && !strings.Contains(told.Text(), "Ctrl-C") {
		if _, after, found := strings.Cut(told.Text(), "stop Redis:  "); found {
			page = after
		}
	}
	require.Contains(t, get(t, page), "<title>")
	interrupt()
	rest, err := io.ReadAll(in)
	require.NoError(t, err)
	serving.Wait()
	require.Contains(t, string(rest), "replica 3", "the table of what the requests took")
	require.False(t, secret.Match(rest))
}

// Pages of others, which a user's browser may show, can neither press a button nor read the state.
func TestPageIsForItsOwnButtons(t *testing.T) {
	l := startLive(t)
	h := l.handler()
	for name, c := range map[string]struct {
		method, path, host, origin string
		status                     int
	}{
		"page":              {"GET", "/", "127.0.0.1:80", "", http.StatusOK},
		"localhost":         {"GET", "/state", "localhost:80", "", http.StatusOK},
		"rebinding":         {"GET", "/state", "evil.example:80", "", http.StatusForbidden},
		"no port":           {"GET", "/state", "127.0.0.1", "", http.StatusForbidden},
		"button":            {"POST", "/redis/start", "127.0.0.1:80", "http://127.0.0.1:80", http.StatusNoContent},
		"other origin":      {"POST", "/redis/stop", "127.0.0.1:80", "http://evil.example", http.StatusForbidden},
		"other port":        {"POST", "/redis/stop", "127.0.0.1:80", "http://127.0.0.1:81", http.StatusForbidden},
		"other scheme":      {"POST", "/redis/stop", "127.0.0.1:80", "https://127.0.0.1:80", http.StatusForbidden},
		"opaque origin":     {"POST", "/redis/stop", "127.0.0.1:80", "null", http.StatusForbidden},
		"no origin":         {"POST", "/redis/stop", "127.0.0.1:80", "", http.StatusForbidden},
		"GET of a button":   {"GET", "/redis/stop", "127.0.0.1:80", "", http.StatusMethodNotAllowed},
		"no such action":    {"POST", "/redis/flush", "127.0.0.1:80", "http://127.0.0.1:80", http.StatusNotFound},
		"no such replica":   {"POST", "/replicas/4/events/cut", "127.0.0.1:80", "http://127.0.0.1:80", http.StatusNotFound},
		"replica 0":         {"POST", "/replicas/0/events/cut", "127.0.0.1:80", "http://127.0.0.1:80", http.StatusNotFound},
		"no such session":   {"POST", "/sessions/99/delete", "127.0.0.1:80", "http://127.0.0.1:80", http.StatusConflict},
		"no session number": {"POST", "/sessions/x/delete", "127.0.0.1:80", "http://127.0.0.1:80", http.StatusConflict},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequestWithContext(t.Context(), c.method, c.path, nil)
			r.Host = c.host
			if c.origin != "" {
				r.Header.Set("Origin", c.origin)
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			require.Equal(t, c.status, w.Code, w.Body)
		})
	}
	require.True(t, l.state().RedisUp, "nothing was stopped")
}
