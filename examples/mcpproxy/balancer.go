package main

import (
	"context"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"sync"
	"time"
)

// balancer gives each request to the next replica. It knows nothing of sessions, so two consecutive requests of a
// session rarely reach the same replica.
type balancer struct {
	url    *url.URL
	server *http.Server

	mu      sync.Mutex // guards following fields
	targets []*target
	next    int
}

type target struct {
	url       *url.URL
	transport *http.Transport
	calls     sync.WaitGroup // calls in progress; streams do not count
}

func startBalancer(ctx context.Context) (*balancer, error) {
	b := new(balancer)
	var err error
	b.server = &http.Server{Handler: b, ReadHeaderTimeout: 5 * time.Second}
	b.url, err = serve(ctx, b.server)
	return b, err
}

func (b *balancer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// Without this, an answer that begins before the request's body was read is cut short now and then.
	_ = http.NewResponseController(w).EnableFullDuplex()
	t := b.pick()
	if t == nil {
		http.Error(w, "no replica", http.StatusServiceUnavailable)
		return
	}
	if r.Method == http.MethodGet {
		t.calls.Done()
	} else {
		defer t.calls.Done()
	}
	reverse := httputil.ReverseProxy{
		Rewrite:       func(out *httputil.ProxyRequest) { out.SetURL(t.url); out.SetXForwarded() },
		Transport:     t.transport,
		FlushInterval: -1,
		ErrorLog:      quiet,
	}
	reverse.ServeHTTP(w, r)
}

// pick returns the next replica, and counts one more call in progress on it.
func (b *balancer) pick() *target {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.targets) == 0 {
		return nil
	}
	t := b.targets[b.next%len(b.targets)]
	b.next++
	t.calls.Add(1)
	return t
}

func (b *balancer) add(replica *url.URL) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.targets = append(b.targets, &target{url: replica, transport: newTransport()})
}

// remove stops sending requests to a replica, waits until its calls are answered, and closes the idle connections.
// After that the replica can be stopped without harm to any client.
func (b *balancer) remove(replica *url.URL) {
	b.mu.Lock()
	i := slices.IndexFunc(b.targets, func(t *target) bool { return t.url == replica })
	if i < 0 {
		b.mu.Unlock()
		return
	}
	t := b.targets[i]
	b.targets = slices.Delete(b.targets, i, i+1)
	b.mu.Unlock()
	t.calls.Wait()
	t.transport.CloseIdleConnections()
}

// without runs do while a replica receives no requests.
func (b *balancer) without(replica *url.URL, do func()) {
	b.mu.Lock()
	all := b.targets
	b.targets = slices.DeleteFunc(slices.Clone(all), func(t *target) bool { return t.url == replica })
	b.mu.Unlock()
	do()
	b.mu.Lock()
	b.targets = all
	b.mu.Unlock()
}

func (b *balancer) stop() {
	_ = b.server.Close()
}
