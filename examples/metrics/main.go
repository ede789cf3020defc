// Command metrics serves sessions, and what a Prometheus scrapes of them. It needs nothing installed: without -redis,
// the sessions are in its own memory. A client in it makes some traffic.
//
//	go run -C examples/metrics . &
//	curl localhost:9090/metrics
//
// docs/monitoring has a dashboard and alerts for these metrics.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/redis/go-redis/v9"

	"github.com/seed34611480/session"
	sessionprometheus "github.com/seed34611480/session/integrations/prometheus"
)

func main() {
	listen := flag.String("listen", "localhost:9090", "`host:port` to serve /metrics on")
	server := flag.String("redis", "", "`host:port` of a Redis server; empty: sessions are in memory")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", *listen)
	if err == nil {
		err = run(ctx, listener, *server)
	}
	if err != nil {
		log.Fatal(err) //nolint:gocritic // the process ends anyway
	}
}

// run serves until the context ends.
func run(ctx context.Context, listener net.Listener, redisAddr string) error {
	const ttl = 30 * time.Minute
	var remote session.Storage = session.NewMemoryStorage(ttl)
	system := "memory"
	if redisAddr != "" {
		client := redis.NewClient(&redis.Options{
			Addr: redisAddr, ContextTimeoutEnabled: true, DialerRetries: 1,
			DialTimeout: time.Second, ReadTimeout: time.Second, WriteTimeout: time.Second,
		})
		defer func() { _ = client.Close() }()
		remote, system = session.NewRedisStorage(client, ttl), "redis"
	}
	calls := sessionprometheus.NewRemote(system)
	sessions := session.NewRoutingStorage(remote, 10_000, session.WithRemoteHook(calls.Hook))
	defer func() { _ = sessions.Close() }()
	registry := prometheus.NewRegistry()
	registry.MustRegister(calls, sessionprometheus.NewCollector(sessions))

	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		ready, cancel := context.WithTimeout(r.Context(), time.Second)
		defer cancel()
		if err := errors.Join(ctx.Err(), sessions.Ready(ready)); err != nil {
			http.Error(w, "not ready", http.StatusServiceUnavailable)
		}
	})
	web := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	served := make(chan error, 1)
	go func() { served <- web.Serve(listener) }()
	fmt.Printf("metrics: http://%s/metrics\n", listener.Addr())

	use(ctx, sessions)
	ended, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	err := web.Shutdown(ended)
	if failure := <-served; !errors.Is(failure, http.ErrServerClosed) {
		err = errors.Join(err, failure)
	}
	return err
}

// use is a client: most loads find their session, some ids are unknown.
func use(ctx context.Context, sessions *session.RoutingStorage) {
	var ids []string
	for tick := time.NewTicker(10 * time.Millisecond); ; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			tick.Stop()
			return
		}
		if len(ids) < 100 {
			s := session.New(session.NewID()).WithPrincipal("alice")
			if sessions.Create(ctx, s) == nil {
				ids = append(ids, s.ID())
			}
		}
		id := session.NewID()
		if len(ids) > 0 && rand.IntN(10) > 0 { //nolint:gosec // any of them will do
			id = ids[rand.IntN(len(ids))] //nolint:gosec // as above
		}
		_, _ = sessions.Load(ctx, id) // the metrics tell of errors
	}
}
