package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
)

// quiet discards what servers and proxies would log about the connections that the demo breaks on purpose.
var quiet = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)

// demo is everything that runs: clients, a balancer, replicas, backends, and a Redis.
type demo struct {
	*report

	store    *store
	backends []*backend
	balancer *balancer
	replicas []*replica // including those that were stopped
	clients  []*client
	prober   prober
	basket   demoBasket
	round    int // number of the latest announcement
}

func startDemo(ctx context.Context, redisURL string, r *report) (d *demo, err error) {
	d = &demo{report: r, prober: prober{transport: newTransport()}}
	defer func() {
		if err != nil {
			d.stop(ctx)
		}
	}()
	if d.store, err = startStore(ctx, redisURL); err != nil {
		return d, fmt.Errorf("redis: %w", err)
	}
	for _, name := range []string{"A", "B"} {
		b, err := startBackend(ctx, name, d.store)
		if err != nil {
			return d, err
		}
		d.backends = append(d.backends, b)
	}
	if d.balancer, err = startBalancer(ctx); err != nil {
		return d, err
	}
	for range 3 {
		if _, err := d.addReplica(ctx, demoPace); err != nil {
			return d, err
		}
	}
	return d, nil
}

func (d *demo) addReplica(ctx context.Context, at pace) (*replica, error) {
	backends := make([]*url.URL, 0, len(d.backends))
	for _, b := range d.backends {
		backends = append(backends, b.url)
	}
	r, err := startReplica(ctx, fmt.Sprintf("replica %d", len(d.replicas)+1), d.store, backends, at)
	if err != nil {
		return nil, err
	}
	d.replicas = append(d.replicas, r)
	// The replica could serve at once. Waiting for the lease makes its numbers predictable.
	if !eventually(ctx, r.leased) {
		return nil, fmt.Errorf("%s receives no change events", r.name)
	}
	d.balancer.add(r.url)
	return r, nil
}

// retire takes a replica out of service like a rolling update: it leaves the rotation first, and is stopped then.
func (d *demo) retire(ctx context.Context, r *replica) error {
	d.balancer.remove(r.url)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
	defer cancel()
	return r.stop(ctx)
}

func (d *demo) running() []*replica {
	var running []*replica
	for _, r := range d.replicas {
		if !r.stopped {
			running = append(running, r)
		}
	}
	return running
}

// stop ends everything, from the clients down to Redis.
func (d *demo) stop(ctx context.Context) {
	for _, c := range d.clients {
		_ = c.close()
	}
	for _, r := range d.running() {
		_ = d.retire(ctx, r)
	}
	if d.balancer != nil {
		d.balancer.stop()
	}
	for _, b := range d.backends {
		_ = b.stop(ctx)
	}
	if d.store != nil {
		d.store.stop()
	}
	d.prober.transport.CloseIdleConnections()
}

// serve starts an HTTP server on a free loopback port.
func serve(ctx context.Context, server *http.Server) (*url.URL, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	server.ErrorLog = quiet
	go func() { _ = server.Serve(l) }() // ends with the server
	return &url.URL{Scheme: "http", Host: l.Addr().String()}, nil
}

// newTransport keeps enough connections open for all clients at once.
func newTransport() *http.Transport {
	return &http.Transport{MaxIdleConnsPerHost: 64}
}
