package scsstore

import (
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/internal/redistest"
)

// fleet is three replicas of the app, with a RoutingStorage each, on one Redis. A browser gets from one to the next.
type fleet struct {
	redis    *redistest.Server
	replicas [3]*httptest.Server
	next     int
}

func startFleet(t *testing.T, idle time.Duration) *fleet {
	f := &fleet{redis: redistest.Start(t, redistest.WithConfig("appendonly yes", "appendfsync always"))}
	for i := range f.replicas {
		c := f.redis.Client(t, func(o *redis.Options) { o.DialTimeout, o.ReadTimeout = time.Second, time.Second })
		remote := session.NewRedisStorage(c, time.Hour)
		st := session.NewRoutingStorage(remote, 1000, session.WithMaxStaleness(200*time.Millisecond))
		f.replicas[i] = httptest.NewServer(newApp(newManager(st, idle, 12*time.Hour), nil, nil))
		t.Cleanup(func() {
			f.replicas[i].Close()
			require.NoError(t, st.Close())
		})
	}
	return f
}

// RoundTrip sends each request to the next replica. To the browser they are one site.
func (f *fleet) RoundTrip(r *http.Request) (*http.Response, error) {
	f.next++
	r = r.Clone(r.Context())
	r.URL.Host = f.replicas[f.next%3].Listener.Addr().String()
	return http.DefaultTransport.RoundTrip(r)
}

func (f *fleet) newBrowser(t *testing.T) *http.Client {
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	return &http.Client{Transport: f, Jar: jar}
}

const site = "http://app.example"

func get(t *testing.T, browser *http.Client, path string) (int, string) {
	t.Helper()
	response, err := browser.Get(site + path)
	require.NoError(t, err)
	defer response.Body.Close()
	page, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, string(page)
}

func cookieOf(t *testing.T, browser *http.Client) string {
	t.Helper()
	u, err := url.Parse(site)
	require.NoError(t, err)
	cookies := browser.Jar.Cookies(u)
	require.Len(t, cookies, 1)
	return cookies[0].Value
}

// TestUnchangedSessionOnRedis sends 1,000 requests for longer than the idle time-out, and counts Redis' commands.
func TestUnchangedSessionOnRedis(t *testing.T) {
	t.Parallel()
	const idle = 3 * time.Second
	f := startFleet(t, idle)
	alice := f.newBrowser(t)
	get(t, alice, "/login?user=alice")
	cookie := cookieOf(t, alice)
	monitor := f.redis.Monitor(t)
	pace := time.NewTicker(5 * time.Millisecond)
	defer pace.Stop()
	begun := time.Now()
	for range 1000 {
		status, user := get(t, alice, "/")
		require.Equal(t, 200, status)
		require.Equal(t, "alice", user)
		<-pace.C
	}
	took := time.Since(begun)
	require.Greater(t, took, idle+time.Second, "the session has outlived its first end")
	require.Equal(t, cookie, cookieOf(t, alice))

	counts := make(map[string]int)
	for line := range strings.Lines(monitor.Seen()) {
		if strings.Contains(line, "scs:"+cookie) {
			_, command, _ := strings.Cut(line, `] "`)
			name, _, _ := strings.Cut(command, `"`)
			counts[strings.ToLower(name)]++
		}
	}
	t.Logf("in %v: %v", took.Round(time.Millisecond), counts)
	for command := range strings.FieldsSeq("set setrange setex psetex getset del unlink publish spublish") {
		require.Zero(t, counts[command], command)
	}
	// Each replica tells of its uses once in a quarter of the idle time, or a little earlier.
	require.Less(t, counts["eval"]+counts["evalsha"], 10+3*int(took/(idle/8)))
}

func TestThreeReplicas(t *testing.T) {
	t.Parallel()
	f := startFleet(t, 20*time.Minute)
	alice := f.newBrowser(t)
	get(t, alice, "/login?user=alice")
	for i := range 30 {
		_, seen := get(t, alice, "/count")
		require.Equal(t, strconv.Itoa(i+1), seen, "each replica sees the others' changes")
		require.Eventually(t, func() bool { // events are quick, but not at once
			for range 3 {
				if _, now := get(t, alice, "/seen"); now != seen {
					return false
				}
			}
			return true
		}, 5*time.Second, time.Millisecond)
	}
	old := cookieOf(t, alice)
	get(t, alice, "/logout")
	u, err := url.Parse(site)
	require.NoError(t, err)
	require.Empty(t, alice.Jar.Cookies(u))

	thief := f.newBrowser(t)
	thief.Jar.SetCookies(u, []*http.Cookie{{Name: "session", Value: old}})
	require.Eventually(t, func() bool {
		for range 3 {
			if _, user := get(t, thief, "/"); user != "" {
				return false
			}
		}
		return true
	}, 5*time.Second, time.Millisecond)
	get(t, thief, "/count") // commits a session, under a token of its own
	require.NotEqual(t, old, cookieOf(t, thief))
}

func TestRedisIsAway(t *testing.T) {
	t.Parallel()
	f := startFleet(t, 20*time.Minute)
	alice := f.newBrowser(t)
	get(t, alice, "/login?user=alice")
	cookie := cookieOf(t, alice)
	f.redis.Stop()
	failed := 0
	require.Eventually(t, func() bool {
		if status, _ := get(t, alice, "/"); status == 503 {
			failed++
		} else {
			failed = 0
		}
		return failed == 6
	}, 10*time.Second, time.Millisecond, "local copies are served for a while")
	for _, path := range []string{"/", "/count", "/logout", "/"} {
		status, _ := get(t, alice, path)
		require.Equal(t, 503, status)
		require.Equal(t, cookie, cookieOf(t, alice))
	}
	f.redis.Restart()
	for range 3 {
		require.Eventually(t, func() bool {
			status, user := get(t, alice, "/")
			require.Contains(t, []int{200, 503}, status)
			if status == 200 {
				require.Equal(t, "alice", user, "never a new session")
			}
			return status == 200
		}, 10*time.Second, 10*time.Millisecond)
	}
}
