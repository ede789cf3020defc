package session_test

import (
	"bytes"
	"context"
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session/internal/netfault"
)

// network is what one replica reaches Redis through. Each connection has a link of its own, so that the faults of those
// that carry commands and of those that carry events are switched apart.
type network struct {
	server string
	closed string // an address at which nobody listens

	mu      sync.Mutex // protects following fields
	refused int        // dials that are still to be refused
	deaf    bool       // new subscriptions are not to the heartbeats
	faults  map[cargo]*[2]netfault.Fault
	conns   map[*networkConn]cargo
}

// cargo is what a connection carries.
type cargo string

const (
	commands cargo = "commands"
	events   cargo = "events"
)

func newNetwork(t testing.TB, server string) *network {
	t.Helper()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, closed.Close())
	return &network{
		server: server, closed: closed.Addr().String(),
		faults: map[cargo]*[2]netfault.Fault{commands: {}, events: {}},
		conns:  make(map[*networkConn]cargo),
	}
}

// set switches a fault for open connections and new ones.
func (n *network) set(carried cargo, d netfault.Direction, f netfault.Fault) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.faults[carried][d] = f
	for c, carries := range n.conns {
		if carries == carried {
			c.link.Set(d, f)
		}
	}
}

func (n *network) setBoth(carried cargo, f netfault.Fault) {
	n.set(carried, netfault.ToServer, f)
	n.set(carried, netfault.ToClient, f)
}

func (n *network) heal() {
	n.setBoth(commands, netfault.Fault{})
	n.setBoth(events, netfault.Fault{})
	n.refuse(0)
	n.setDeaf(false)
}

// reset breaks the open connections.
func (n *network) reset(carried cargo) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for c, carries := range n.conns {
		if carries == carried {
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

// setDeaf makes new subscriptions ask for another channel in place of the heartbeats'. Events do arrive.
func (n *network) setDeaf(deaf bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.deaf = deaf
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
	n.carries(c, commands)
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

func (n *network) carries(c *networkConn, carried cargo) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.conns[c] = carried
	for d, fault := range n.faults[carried] {
		c.link.Set(netfault.Direction(d), fault)
	}
}

// networkConn is the client's end of a connection.
type networkConn struct {
	*net.TCPConn
	network *network
	link    *netfault.Proxy
}

// Write finds out what the connection carries: a client tells by the first SUBSCRIBE.
func (c *networkConn) Write(b []byte) (int, error) {
	if !bytes.Contains(b, []byte("\r\nsubscribe\r\n")) {
		return c.TCPConn.Write(b)
	}
	c.network.carries(c, events)
	c.network.mu.Lock()
	deaf := c.network.deaf
	c.network.mu.Unlock()
	if deaf {
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
