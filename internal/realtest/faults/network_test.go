package faults

import (
	"bytes"
	"context"
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session/internal/netfault"
)

// network is the way from one replica to Redis. Each connection has its own link, so that connections for commands and
// connections for events can have different faults.
type network struct {
	server string
	closed string // an address without a listener

	mu                sync.Mutex // protects following fields
	refused           int        // how many of the next dials fail
	withoutHeartbeats bool       // new subscriptions get no heartbeats
	faults            map[connKind]*[2]netfault.Fault
	conns             map[*networkConn]connKind
}

// connKind says what a connection is for.
type connKind string

const (
	commands connKind = "commands"
	events   connKind = "events"
)

func newNetwork(t testing.TB, server string) *network {
	t.Helper()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, closed.Close())
	return &network{
		server: server, closed: closed.Addr().String(),
		faults: map[connKind]*[2]netfault.Fault{commands: {}, events: {}},
		conns:  make(map[*networkConn]connKind),
	}
}

// set changes the fault of all open and new connections of a kind, in one direction.
func (n *network) set(kind connKind, d netfault.Direction, f netfault.Fault) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.faults[kind][d] = f
	for c, k := range n.conns {
		if k == kind {
			c.link.Set(d, f)
		}
	}
}

func (n *network) setBoth(kind connKind, f netfault.Fault) {
	n.set(kind, netfault.ToServer, f)
	n.set(kind, netfault.ToClient, f)
}

func (n *network) heal() {
	n.setBoth(commands, netfault.Fault{})
	n.setBoth(events, netfault.Fault{})
	n.refuse(0)
	n.setWithoutHeartbeats(false)
}

// reset breaks the open connections of a kind.
func (n *network) reset(kind connKind) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for c, k := range n.conns {
		if k == kind {
			c.link.Reset()
		}
	}
}

// refuse makes the next dials fail.
func (n *network) refuse(dials int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.refused = dials
}

// setWithoutHeartbeats makes new subscriptions subscribe to another channel instead of the heartbeats. Events still
// arrive.
func (n *network) setWithoutHeartbeats(without bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.withoutHeartbeats = without
}

func (n *network) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	if n.refuses() {
		return new(net.Dialer).DialContext(ctx, "tcp", n.closed)
	}
	link, err := netfault.New(n.server)
	if err != nil {
		return nil, err
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", link.Addr())
	if err != nil {
		link.Close()
		return nil, err
	}
	c := &networkConn{TCPConn: conn.(*net.TCPConn), network: n, link: link}
	n.register(c, commands)
	return c, nil
}

func (n *network) refuses() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.refused == 0 {
		return false
	}
	n.refused--
	return true
}

// register notes what a connection is for, and gives it the faults of its kind.
func (n *network) register(c *networkConn, kind connKind) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.conns[c] = kind
	for d, fault := range n.faults[kind] {
		c.link.Set(netfault.Direction(d), fault)
	}
}

// networkConn is the client's end of a connection.
type networkConn struct {
	*net.TCPConn
	network *network
	link    *netfault.Proxy
}

// Write recognizes a connection for events by its SUBSCRIBE.
func (c *networkConn) Write(b []byte) (int, error) {
	if !bytes.Contains(b, []byte("\r\nsubscribe\r\n")) {
		return c.TCPConn.Write(b)
	}
	c.network.register(c, events)
	c.network.mu.Lock()
	without := c.network.withoutHeartbeats
	c.network.mu.Unlock()
	if without {
		b = bytes.ReplaceAll(b, []byte("!hb:"), []byte("!no:"))
	}
	return c.TCPConn.Write(b)
}

func (c *networkConn) Close() error {
	c.network.mu.Lock()
	delete(c.network.conns, c)
	c.network.mu.Unlock()
	err := c.TCPConn.Close()
	c.link.Close()
	return err
}
