package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/internal/netfault"
)

// proxyRow is a proxy with one way to find the backend. Its clients first send as fast as they are answered, and then
// at a pace that every proxy can keep: without the second, a proxy that answers more requests also has fuller queues.
type proxyRow struct {
	Latency time.Duration // added to each answer of Redis
	Name    string
	Rate    series // requests per second, as fast as they are answered
	Busy    series // ns, the 99th percentile at that rate
	Paced   series // ns, the 99th percentile at the fixed pace
}

const (
	proxyClients   = 8
	proxyPace      = 500 // requests per second, of all clients
	sessionHeader  = "Mcp-Session-Id"
	namePlainProxy = "RedisStorage, asked for each request"
	nameProxyOurs  = "RoutingStorage"
)

var latencies = []time.Duration{0, 500 * time.Microsecond, 2 * time.Millisecond}

func measureProxy(ctx context.Context, c config, s *server, keys *fixture) ([]proxyRow, error) {
	backend, err := serve(ctx, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, `{"jsonrpc":"2.0","id":1,"result":{}}`)
	}))
	if err != nil {
		return nil, err
	}
	defer backend.close()
	ids, err := proxySessions(ctx, s, len(keys.ids), backend.url)
	if err != nil {
		return nil, err
	}

	var rows []proxyRow
	for _, latency := range latencies {
		pair, err := measureLatency(ctx, c, s, ids, latency)
		if err != nil {
			return nil, fmt.Errorf("with %v: %w", latency, err)
		}
		rows = append(rows, pair...)
	}
	return rows, nil
}

// proxySessions stores sessions that lead to the backend.
func proxySessions(ctx context.Context, s *server, n int, backend string) ([]string, error) {
	storage := session.NewRedisStorage(s.admin, ttl)
	ids := make([]string, n)
	for i := range ids {
		ids[i] = session.NewID()
		if err := storage.Store(ctx, newSession(ids[i]).With(backendKey, backend)); err != nil {
			return nil, err
		}
	}
	return ids, nil
}

func measureLatency(ctx context.Context, c config, s *server, ids []string, latency time.Duration) ([]proxyRow, error) {
	line, err := netfault.New(s.addr)
	if err != nil {
		return nil, err
	}
	defer line.Close()
	line.Set(netfault.ToClient, netfault.Fault{Latency: latency})
	address := line.Addr()
	if latency == 0 {
		address = s.addr // a proxy that adds no latency still adds work
	}
	client := redis.NewClient(&redis.Options{Addr: address})
	defer client.Close()
	remote := session.NewRedisStorage(client, ttl)
	routing := session.NewRoutingStorage(remote, localEntries, quiet())
	defer routing.Close()

	rows := []proxyRow{{Latency: latency, Name: namePlainProxy}, {Latency: latency, Name: nameProxyOurs}}
	var proxies []*listening
	for _, storage := range []session.Storage{remote, routing} {
		p, err := serve(ctx, newProxy(storage))
		if err != nil {
			return nil, err
		}
		defer p.close()
		proxies = append(proxies, p)
		if _, _, err := request(ctx, p.url, ids, c.requests/4, 0); err != nil { // to warm up
			return nil, err
		}
	}
	for range c.rounds {
		for i, p := range proxies {
			rate, busy, err := request(ctx, p.url, ids, c.requests, 0)
			if err != nil {
				return nil, err
			}
			_, paced, err := request(ctx, p.url, ids, c.requests, proxyClients*time.Second/proxyPace)
			if err != nil {
				return nil, err
			}
			rows[i].Rate, rows[i].Busy = append(rows[i].Rate, rate), append(rows[i].Busy, busy)
			rows[i].Paced = append(rows[i].Paced, paced)
		}
	}
	return rows, nil
}

// proxy does for a request with a session what a small proxy does: a load, and a ReverseProxy.
type proxy struct {
	sessions  session.Storage
	transport http.RoundTripper
}

func newProxy(sessions session.Storage) *proxy {
	return &proxy{sessions: sessions, transport: &http.Transport{MaxIdleConnsPerHost: proxyClients}}
}

func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s, err := p.sessions.Load(r.Context(), r.Header.Get(sessionHeader))
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	address, _ := s.Get(backendKey)
	backend, err := url.Parse(address)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	reverse := httputil.ReverseProxy{
		Rewrite:       func(out *httputil.ProxyRequest) { out.SetURL(backend); out.SetXForwarded() },
		Transport:     p.transport,
		FlushInterval: -1,
	}
	reverse.ServeHTTP(w, r)
}

type listening struct {
	url    string
	server *http.Server
}

func serve(ctx context.Context, handler http.Handler) (*listening, error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}
	go func() { _ = s.Serve(listener) }()
	return &listening{url: "http://" + listener.Addr().String(), server: s}, nil
}

func (l *listening) close() { _ = l.server.Close() }

// request runs the clients for d, and returns requests per second and the 99th percentile of their duration. Each
// client sends a request at fixed intervals, or later if the previous one is not answered yet. The duration of a late
// request counts from when it was due.
func request(
	ctx context.Context, address string, ids []string, d, every time.Duration,
) (rate, p99 float64, err error) {
	transport := &http.Transport{MaxIdleConnsPerHost: proxyClients}
	defer transport.CloseIdleConnections()
	var (
		wg    sync.WaitGroup
		took  = make([][]float64, proxyClients)
		errs  = make([]error, proxyClients)
		start = time.Now()
	)
	for g := range proxyClients {
		wg.Go(func() {
			sequence := order(len(ids), g)
			for n := 0; time.Since(start) < d && errs[g] == nil; n++ {
				sent := time.Now()
				if every > 0 {
					sent = start.Add(time.Duration(n)*every + time.Duration(g)*every/proxyClients)
					time.Sleep(time.Until(sent))
				}
				errs[g] = post(ctx, transport, address, ids[sequence[n%len(sequence)]])
				took[g] = append(took[g], float64(time.Since(sent)))
			}
		})
	}
	wg.Wait()
	elapsed := time.Since(start)
	for _, err := range errs {
		if err != nil {
			return 0, 0, err
		}
	}
	all := slices.Concat(took...)
	slices.Sort(all)
	return float64(len(all)) / elapsed.Seconds(), all[len(all)*99/100], nil
}

func post(ctx context.Context, transport http.RoundTripper, address, id string) error {
	body := strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"ping"}`)
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, address, body)
	if err != nil {
		return err
	}
	r.Header.Set(sessionHeader, id)
	answer, err := transport.RoundTrip(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err == nil && (answer.StatusCode != http.StatusOK || !strings.Contains(string(text), `"result"`)) {
		err = fmt.Errorf("status %d: %s", answer.StatusCode, text)
	}
	return err
}
