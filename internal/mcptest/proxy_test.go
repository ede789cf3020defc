package mcptest

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/mcphttp"
)

// site is a number of replicas of a proxy, behind a balancer, in front of backends.
type site struct {
	url      string // of the balancer
	replicas []*mcphttp.Proxy
	backends []*backend
	servers  []*httptest.Server // of the backends

	up   atomic.Int64 // how many replicas the balancer sends to, from the first
	gone atomic.Int64 // requests to backends that were given up
}

// startSite starts two replicas and two backends of an SDK.
func startSite(t *testing.T, sdk string, st session.Storage, opts ...mcphttp.ProxyOption) *site {
	t.Helper()
	s := new(site)
	var urls []*url.URL
	for range 2 {
		b := newBackend[sdk](t)
		both := mcphttp.Era(b.modern, b.legacy)
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			defer context.AfterFunc(r.Context(), func() { s.gone.Add(1) })()
			both.ServeHTTP(w, r)
		}))
		t.Cleanup(server.Close)
		u, err := url.Parse(server.URL)
		require.NoError(t, err)
		urls = append(urls, u)
		s.backends, s.servers = append(s.backends, b), append(s.servers, server)
	}
	for range 2 {
		s.replicas = append(s.replicas, mcphttp.NewProxy(st, urls, opts...))
	}
	s.up.Store(2)
	var turn atomic.Int64
	s.url = serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.replicas[turn.Add(1)%s.up.Load()].ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		for _, p := range s.replicas {
			require.NoError(t, p.Shutdown(context.Background()))
		}
	})
	return s
}

// waiting returns how many calls wait on all backends.
func (s *site) waiting() (n int64) {
	for _, b := range s.backends {
		n += b.waiting.Load()
	}
	return n
}

func TestClientsThroughAProxy(t *testing.T) {
	for sdk := range newBackend {
		s := startSite(t, sdk, session.NewMemoryStorage(time.Minute))
		for name, connect := range connect {
			t.Run(sdk+", "+name, func(t *testing.T) {
				c, err := connect(t.Context(), t, s.url)
				require.NoError(t, err)
				for range 4 {
					got, err := c.call(t.Context(), "hello")
					require.NoError(t, err)
					require.Equal(t, "hello", got)
				}
				if strings.HasSuffix(name, "legacy") {
					require.NotEmpty(t, c.sessionID())
					got, err := c.call(t.Context(), "ask")
					require.NoError(t, err)
					require.Equal(t, "accept", got)
				}
				require.NoError(t, c.close())
			})
		}
	}
}

// number returns how often something is tried: a few times here, as often as the environment says by hand.
func number(t *testing.T, variable string, few int) int {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return few
	}
	n, err := strconv.Atoi(text)
	require.NoError(t, err)
	return n
}

// A plain httputil.ReverseProxy cuts 19 of 12,000: mcphttp's readWhole says why.
func TestStreamedAnswersAreWhole(t *testing.T) {
	const clients = 8
	n := number(t, "MCPTEST_ANSWERS", 1_200)
	s := startSite(t, "go-sdk", session.NewMemoryStorage(time.Minute))
	ctx, cancel := context.WithTimeout(t.Context(), time.Duration(n)*10*time.Millisecond+time.Minute)
	defer cancel()
	var whole atomic.Int64
	var all sync.WaitGroup
	for i := range clients {
		name := []string{"go-sdk modern", "go-sdk legacy", "mcp-go modern", "mcp-go legacy"}[i%4]
		c, err := connect[name](ctx, t, s.url)
		require.NoError(t, err)
		all.Go(func() {
			for range n / clients {
				if got, err := c.call(ctx, "hello"); err != nil || got != "hello" {
					t.Errorf("%s: %q, %v", name, got, err)
					return
				}
				whole.Add(1)
			}
		})
	}
	all.Wait()
	require.EqualValues(t, n, whole.Load())
}

func TestElicitationsDoNotHang(t *testing.T) {
	n := number(t, "MCPTEST_ELICITATIONS", 200)
	for sdk := range newBackend {
		s := startSite(t, sdk, session.NewMemoryStorage(time.Minute))
		for _, name := range []string{"go-sdk legacy", "mcp-go legacy"} {
			t.Run(sdk+", "+name, func(t *testing.T) {
				for i := range n / 4 {
					ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
					c, err := connect[name](ctx, t, s.url)
					require.NoError(t, err, i)
					got, err := c.call(ctx, "ask")
					require.NoError(t, err, i)
					require.Equal(t, "accept", got)
					require.NoError(t, c.close())
					cancel()
				}
			})
		}
	}
}
