// Package netfault puts a TCP proxy between a client and a server. Its faults can be switched while connections are
// open: a black hole in one or both directions, latency, bytes one at a time, connections that are reset or refused.
package netfault

import (
	"fmt"
	"net"
	"sync"
	"testing"
	"time"
)

// Direction is one of the two directions in which bytes travel.
type Direction int

// The directions. Each has its own faults.
const (
	ToServer Direction = iota
	ToClient
)

// Fault is what happens to the bytes of a direction. The zero value lets them pass.
type Fault struct {
	// Hold keeps bytes, and the end of a stream, until it is switched off. It is like a link that is down for a while,
	// after which TCP retransmits. Connections stay open.
	Hold bool
	// Drop discards bytes, and the end of a stream. A connection that has lost bytes never passes any again in that
	// direction, because its stream would make no sense. New connections do. It is like a half-open connection, whose
	// other end is gone without a notice.
	Drop bool
	// Latency delays each byte by that much, without limiting how many are on their way.
	Latency time.Duration
	// OneByte passes bytes one at a time.
	OneByte bool
}

// Proxy forwards connections on a port of the loopback interface to a server. Its methods are safe for concurrent use.
type Proxy struct {
	target string
	addr   string
	valves [2]*valve      // by Direction
	wg     sync.WaitGroup // serve and forward

	mu       sync.Mutex       // protects following fields
	listener *net.TCPListener // nil while refusing
	conns    map[*conn]struct{}
	accepted int
	closed   bool
}

// Start is [New] for a test, which also closes the proxy.
func Start(t testing.TB, target string) *Proxy {
	t.Helper()
	p, err := New(target)
	if err != nil {
		t.Fatalf("netfault: %v", err)
	}
	t.Cleanup(p.Close)
	return p
}

// New starts a proxy for a server's address. The server may start later: until then, connections are reset.
func New(target string) (*Proxy, error) {
	p := &Proxy{
		target: target,
		addr:   "127.0.0.1:0",
		valves: [2]*valve{newValve(), newValve()},
		conns:  make(map[*conn]struct{}),
	}
	if err := p.Accept(); err != nil {
		return nil, err
	}
	p.addr = p.listener.Addr().String()
	return p, nil
}

// Addr is the address for clients to connect to.
func (p *Proxy) Addr() string { return p.addr }

// Set switches the faults of a direction, for open and new connections. Set(d, Fault{}) heals it.
func (p *Proxy) Set(d Direction, f Fault) { p.valves[d].set(f) }

// SetBoth is Set for both directions.
func (p *Proxy) SetBoth(f Fault) {
	p.Set(ToServer, f)
	p.Set(ToClient, f)
}

// Refuse makes the kernel refuse new connections, until Accept. Open ones are not affected.
func (p *Proxy) Refuse() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener != nil {
		_ = p.listener.Close()
		p.listener = nil
	}
}

// Accept ends Refuse. The port is the same as before.
func (p *Proxy) Accept() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.listener != nil {
		return nil
	}
	l, err := net.Listen("tcp", p.addr)
	if err != nil {
		return fmt.Errorf("netfault: %w", err)
	}
	listener := l.(*net.TCPListener)
	p.listener = listener
	p.wg.Go(func() { p.serve(listener) })
	return nil
}

// Reset ends all open connections with a TCP reset on both sides.
func (p *Proxy) Reset() {
	for _, c := range p.open() {
		c.reset()
	}
}

// Accepted returns the number of connections so far.
func (p *Proxy) Accepted() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.accepted
}

// Open returns the number of open connections.
func (p *Proxy) Open() int { return len(p.open()) }

// Close resets all connections, stops the proxy and waits for it.
func (p *Proxy) Close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.Refuse()
	p.Reset()
	p.wg.Wait()
}

func (p *Proxy) open() []*conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	conns := make([]*conn, 0, len(p.conns))
	for c := range p.conns {
		conns = append(conns, c)
	}
	return conns
}
