package mcphttp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
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
	refused  = dialError(os.NewSyscallError("connect", syscall.ECONNREFUSED))
	timedOut = dialError(context.DeadlineExceeded)
)

func TestWhatProvesThatAHostIsDead(t *testing.T) {
	t.Parallel()
	const d = time.Second
	for name, c := range map[string]struct {
		at   []time.Duration // when it is dialled
		err  []error         // nil: it takes the connection
		dead bool
	}{
		"refuses for long":       {at: []time.Duration{0, d, 2 * d}, err: []error{refused, refused, refused}, dead: true},
		"refuses for a moment":   {at: []time.Duration{0, 1, 2*d - 1}, err: []error{refused, refused, refused}},
		"refuses twice":          {at: []time.Duration{0, 2 * d}, err: []error{refused, refused}},
		"takes one between":      {at: []time.Duration{0, d, d + 1, 2 * d, 2*d + 1}, err: []error{refused, refused, nil, refused, refused}},
		"times out":              {at: []time.Duration{0, d, 2 * d, 3 * d}, err: []error{timedOut, timedOut, timedOut, timedOut}},
		"times out once between": {at: []time.Duration{0, d, d + 1, 2 * d}, err: []error{refused, refused, timedOut, refused}},
		"was not asked for long": {at: []time.Duration{0, 1, 17 * d}, err: []error{refused, refused, refused}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := newHealth(0, slog.New(slog.DiscardHandler))
				begin, dead := time.Now(), false
				for i, at := range c.at {
					time.Sleep(at - time.Since(begin))
					if c.err[i] == nil {
						h.taken("host")
						continue
					}
					dead = h.failed("host", c.err[i])
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
			h.failed("host", refused)
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

func TestTroublesAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHealth(time.Second, slog.New(slog.DiscardHandler))
		for i := range 2 * maxTroubles {
			h.failed(fmt.Sprint(i), refused)
		}
		require.Len(t, h.hosts, maxTroubles)
		time.Sleep(9 * time.Second)
		h.failed("new", refused)
		require.Len(t, h.hosts, 1, "old ones have gone")
	})
}

func TestWhatHasSentNothing(t *testing.T) {
	t.Parallel()
	require.True(t, isDial(refused))
	require.True(t, isDial(timedOut))
	require.False(t, isDial(&net.OpError{Op: "read", Err: syscall.ECONNRESET}))
	require.False(t, isDial(errors.New("EOF")))
}
