package mcphttp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func dialError(cause error) error {
	return fmt.Errorf("get: %w", &net.OpError{Op: "dial", Net: "tcp", Err: cause})
}

var (
	errRefused  = dialError(os.NewSyscallError("connect", syscall.ECONNREFUSED))
	errTimedOut = dialError(context.DeadlineExceeded)
)

func TestWhatProvesThatAHostIsDead(t *testing.T) {
	t.Parallel()
	const d = time.Second
	type dial struct {
		at  time.Duration
		err error // nil: it takes the connection
	}
	for name, c := range map[string]struct {
		dials []dial
		dead  bool
	}{
		"refuses for long":     {[]dial{{0, errRefused}, {d, errRefused}, {2 * d, errRefused}}, true},
		"refuses for a moment": {[]dial{{0, errRefused}, {1, errRefused}, {2*d - 1, errRefused}}, false},
		"refuses twice":        {[]dial{{0, errRefused}, {2 * d, errRefused}}, false},
		"takes one between": {
			[]dial{{0, errRefused}, {d, errRefused}, {d, nil}, {2 * d, errRefused}, {3 * d, errRefused}}, false,
		},
		"times out": {[]dial{{0, errTimedOut}, {d, errTimedOut}, {2 * d, errTimedOut}, {3 * d, errTimedOut}}, false},
		"times out once between": {
			[]dial{{0, errRefused}, {d, errRefused}, {d, errTimedOut}, {2 * d, errRefused}}, false,
		},
		"is asked now and then": {[]dial{{0, errRefused}, {17 * d, errRefused}, {34 * d, errRefused}}, true},
		"takes one now and then": {
			[]dial{{0, errRefused}, {17 * d, errRefused}, {20 * d, nil}, {34 * d, errRefused}}, false,
		},
		"is cut off now and then": {
			[]dial{{0, errRefused}, {17 * d, errTimedOut}, {34 * d, errRefused}, {51 * d, errRefused}}, false,
		},
		"was not asked for long": {[]dial{{0, errRefused}, {1, errRefused}, {17 * d, errRefused}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := newHealth(0, slog.New(slog.DiscardHandler))
				begin, dead := time.Now(), false
				for _, dial := range c.dials {
					time.Sleep(dial.at - time.Since(begin))
					if dial.err == nil {
						h.taken("host")
						continue
					}
					dead = h.failed("host", dial.err)
				}
				require.Equal(t, c.dead, dead)
				require.Equal(t, c.dead, h.isDead("host"))
				require.False(t, h.isDead("another"))
			})
		})
	}
}

func TestTrialsOfADeadHost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHealth(4*time.Second, slog.New(slog.DiscardHandler))
		for range 3 {
			h.failed("host", errRefused)
			time.Sleep(2 * time.Second)
		}
		require.False(t, h.isDead("host"), "a trial is due")
		require.True(t, h.isDead("host"), "which one caller makes")
		require.False(t, h.mayDial("host"))
		time.Sleep(time.Second)
		require.True(t, h.mayDial("host"), "the next one")
		require.False(t, h.mayDial("host"))
		require.True(t, h.isDead("host"))
		h.taken("host")
		require.False(t, h.isDead("host"))
		require.True(t, h.mayDial("host"))
		require.True(t, h.mayDial("host"))
		require.Zero(t, h.some.Load())
	})
}

// TestTroubleIsLoggedSeldom has an hour of requests to two hosts, each of which fails.
func TestTroubleIsLoggedSeldom(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		h := newHealth(time.Second, slog.New(slog.NewTextHandler(&log, nil)))
		for range 3600 {
			h.failed("a", errTimedOut)
			h.taken("a")
			h.unanswered("b", fmt.Errorf("secret: %w", io.ErrUnexpectedEOF))
			time.Sleep(time.Second)
		}
		require.Equal(t, 60, strings.Count(log.String(), `a backend cannot be reached" host=a error="dial tcp`))
		require.Equal(t, 60, strings.Count(log.String(), `a backend does not answer" host=b error="unexpected EOF"`))
		require.NotContains(t, log.String(), "secret")
	})
}

func TestTroublesAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHealth(time.Second, slog.New(slog.DiscardHandler))
		for i := range 2 * maxTroubles {
			h.failed(strconv.Itoa(i), errRefused)
		}
		require.Len(t, h.hosts, maxTroubles)
		time.Sleep(9 * time.Second)
		h.failed("new", errRefused)
		require.Len(t, h.hosts, 1, "old ones have gone")
	})
}

func TestWhatHasSentNothing(t *testing.T) {
	t.Parallel()
	require.True(t, isDial(errRefused))
	require.True(t, isDial(errTimedOut))
	require.False(t, isDial(&net.OpError{Op: "read", Err: syscall.ECONNRESET}))
	require.False(t, isDial(errors.New("EOF")))
}
