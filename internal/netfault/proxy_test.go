package netfault

import (
	"bytes"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestBytesAndEndsPass(t *testing.T) {
	p := Start(t, echo(t))
	c := dial(t, p)
	say(t, c, "hello")
	hear(t, c, "hello")

	require.NoError(t, c.CloseWrite())
	rest, err := io.ReadAll(c)
	require.NoError(t, err, "an orderly end must come back as an orderly end")
	assert.Empty(t, rest)
	assert.Eventually(t, func() bool { return p.Open() == 0 }, patience, time.Millisecond)
	assert.Equal(t, 1, p.Accepted())
}

func TestHeldBytesArriveLater(t *testing.T) {
	for _, d := range []Direction{ToServer, ToClient} {
		p := Start(t, echo(t))
		c := dial(t, p)
		p.Set(d, Fault{Hold: true})
		say(t, c, "one ")
		say(t, c, "two")
		hearNothing(t, c)

		p.Set(d, Fault{})
		hear(t, c, "one two")
	}
}

func TestDroppedBytesEndTheirStreamOnly(t *testing.T) {
	for _, d := range []Direction{ToServer, ToClient} {
		p := Start(t, echo(t))
		c := dial(t, p)
		p.Set(d, Fault{Drop: true})
		say(t, c, "lost")
		require.Eventually(t, func() bool { return p.valves[d].dropped.Load() == 1 }, patience, time.Millisecond)
		hearNothing(t, c)

		p.Set(d, Fault{})
		say(t, c, "lost as well")
		hearNothing(t, c)
		other := dial(t, p)
		say(t, other, "passes")
		hear(t, other, "passes")
		assert.Equal(t, 2, p.Open(), "the half-open connection must stay open")
	}
}

func TestDroppedEndIsNotNoticed(t *testing.T) {
	p := Start(t, echo(t))
	c := dial(t, p)
	say(t, c, "hello")
	hear(t, c, "hello")
	p.SetBoth(Fault{Drop: true})
	require.NoError(t, c.CloseWrite())
	hearNothing(t, c)
}

func TestLatencyDelaysButDoesNotLimit(t *testing.T) {
	const latency, messages = 20 * time.Millisecond, 50
	p := Start(t, echo(t))
	c := dial(t, p)
	p.SetBoth(Fault{Latency: latency})

	start := time.Now()
	go func() {
		for range messages {
			_, _ = c.Write([]byte("x"))
			time.Sleep(time.Millisecond) // so that each travels alone
		}
	}()
	hear(t, c, "x")
	assert.GreaterOrEqual(t, time.Since(start), 2*latency)
	hear(t, c, string(bytes.Repeat([]byte("x"), messages-1)))
	assert.Less(t, time.Since(start), messages*latency)
}

func TestOneByteAtATime(t *testing.T) {
	p := Start(t, echo(t))
	c := dial(t, p)
	p.Set(ToClient, Fault{OneByte: true})
	say(t, c, "hello, world")

	var got []byte
	reads := 0
	for buf := make([]byte, 100); len(got) < len("hello, world"); reads++ {
		n, err := c.Read(buf)
		require.NoError(t, err)
		got = append(got, buf[:n]...)
	}
	assert.Equal(t, "hello, world", string(got))
	assert.Greater(t, reads, 1)
}

func TestReset(t *testing.T) {
	p := Start(t, echo(t))
	c := dial(t, p)
	say(t, c, "hello")
	hear(t, c, "hello")
	p.SetBoth(Fault{Hold: true}) // a reset gets through every other fault

	p.Reset()
	_, err := c.Read(make([]byte, 1))
	require.ErrorIs(t, err, syscall.ECONNRESET)
	assert.Eventually(t, func() bool { return p.Open() == 0 }, patience, time.Millisecond)
}

func TestRefuse(t *testing.T) {
	p := Start(t, echo(t))
	c := dial(t, p)
	say(t, c, "hello")
	hear(t, c, "hello")

	p.Refuse()
	_, err := net.Dial("tcp", p.Addr())
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	say(t, c, "still here")
	hear(t, c, "still here")

	require.NoError(t, p.Accept())
	other := dial(t, p)
	say(t, other, "hello again")
	hear(t, other, "hello again")
}

func TestServerThatDoesNotListen(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, listener.Close())

	c, err := net.Dial("tcp", Start(t, listener.Addr().String()).Addr())
	if err == nil { // otherwise the reset came before Dial returned
		defer c.Close()
		_, err = c.Read(make([]byte, 1))
	}
	assert.ErrorIs(t, err, syscall.ECONNRESET)
}

func TestCloseEndsHeldStreams(t *testing.T) {
	p := Start(t, echo(t))
	c := dial(t, p)
	p.SetBoth(Fault{Hold: true})
	say(t, c, "hello")
	p.Close()
	p.Close()
	_, err := c.Read(make([]byte, 1))
	assert.Error(t, err)
	assert.NoError(t, p.Accept(), "nothing happens")
}
