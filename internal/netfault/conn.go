package netfault

import (
	"bytes"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

const (
	dialTimeout = 5 * time.Second
	readSize    = 32 << 10
	inFlight    = 1024                  // number of reads that may wait for their latency to pass
	bytePause   = 50 * time.Microsecond // gives the reader time to see each byte alone
)

// conn is a client's connection and the one that it is forwarded to.
type conn struct {
	client, server *net.TCPConn
	once           sync.Once
	done           chan struct{} // closed together with the connections
}

// serve forwards the connections that a listener accepts, until it is closed.
func (p *Proxy) serve(listener *net.TCPListener) {
	for {
		client, err := listener.AcceptTCP()
		if err != nil {
			return
		}
		p.mu.Lock()
		p.accepted++
		p.mu.Unlock()
		p.wg.Go(func() { p.forward(client) })
	}
}

func (p *Proxy) forward(client *net.TCPConn) {
	server, err := net.DialTimeout("tcp", p.target, dialTimeout)
	if err != nil {
		reset(client)
		return
	}
	c := &conn{client: client, server: server.(*net.TCPConn), done: make(chan struct{})}
	if !p.add(c) {
		c.reset()
		return
	}
	defer p.remove(c)

	var pumps sync.WaitGroup
	pumps.Go(func() { c.pump(c.server, c.client, p.valves[ToServer]) })
	pumps.Go(func() { c.pump(c.client, c.server, p.valves[ToClient]) })
	pumps.Wait()
	c.close()
}

// add reports false if the proxy was closed meanwhile.
func (p *Proxy) add(c *conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	p.conns[c] = struct{}{}
	return true
}

func (p *Proxy) remove(c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
}

type chunk struct {
	data    []byte
	arrived time.Time
}

// pump moves the bytes of one direction, and then the end of the stream. It keeps reading while bytes wait for their
// latency to pass.
func (c *conn) pump(dst, src *net.TCPConn, v *valve) {
	queue := make(chan chunk, inFlight)
	var end error // why reading ended; written before queue is closed
	go func() {
		defer close(queue)
		end = c.read(src, queue)
	}()

	lost := false
	for part := range queue {
		lost = lost || !c.deliver(dst, part, v)
	}
	if lost {
		return
	}
	switch fault, ok := v.wait(c.done, time.Time{}); {
	case !ok, fault.Drop:
	case errors.Is(end, io.EOF):
		_ = dst.CloseWrite()
	default:
		c.reset()
	}
}

func (c *conn) read(src *net.TCPConn, queue chan<- chunk) error {
	buf := make([]byte, readSize)
	for {
		n, err := src.Read(buf)
		if err != nil { // the end of the stream has no bytes
			return err
		}
		select {
		case queue <- chunk{bytes.Clone(buf[:n]), time.Now()}:
		case <-c.done:
			return net.ErrClosed
		}
	}
}

// deliver reports false if the bytes were lost, and with them the rest of the stream.
func (c *conn) deliver(dst *net.TCPConn, part chunk, v *valve) bool {
	for data := part.data; len(data) > 0; {
		fault, ok := v.wait(c.done, part.arrived)
		if !ok {
			return false
		}
		if fault.Drop {
			v.dropped.Add(1)
			return false
		}
		n := len(data)
		if fault.OneByte {
			n = 1
			time.Sleep(bytePause)
		}
		if _, err := dst.Write(data[:n]); err != nil {
			c.reset()
			return false
		}
		data = data[n:]
	}
	return true
}

// reset ends the connection with a TCP reset on both sides.
func (c *conn) reset() {
	reset(c.client)
	reset(c.server)
	c.close()
}

func (c *conn) close() {
	c.once.Do(func() { close(c.done) })
	_ = c.client.Close()
	_ = c.server.Close()
}

func reset(end *net.TCPConn) {
	_ = end.SetLinger(0)
	_ = end.Close()
}
