package session

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

const keepTTL = time.Hour

// keepStorages are the storages that share a keeper, and a foreign one.
func keepStorages(remote *flaky) map[string]Storage {
	return map[string]Storage{
		"memory":  remote.MemoryStorage,
		"routing": NewRoutingStorage(remote, 10),
		"foreign": struct{ Storage }{remote},
	}
}

// inKeepBubble runs a test for each of the storages, with a session.
func inKeepBubble(t *testing.T, test func(t *testing.T, st Storage, remote *flaky)) {
	t.Helper()
	for _, name := range []string{"memory", "routing", "foreign"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				remote := newFlaky()
				all := keepStorages(remote)
				require.NoError(t, remote.Store(t.Context(), New(testID)))
				test(t, all[name], remote)
				require.NoError(t, all["routing"].(*RoutingStorage).Close())
			})
		})
	}
}

func requireGoesOn(t *testing.T, ctx context.Context) { //nolint:revive // as require's functions
	t.Helper()
	synctest.Wait()
	require.NoError(t, context.Cause(ctx))
}

func TestKeepAliveKeepsAlive(t *testing.T) {
	t.Parallel()
	inKeepBubble(t, func(t *testing.T, st Storage, remote *flaky) {
		ctx, stop := KeepAlive(t.Context(), st, testID)
		time.Sleep(50*keepTTL + time.Second)
		requireGoesOn(t, ctx)
		stop()
		stop()
		require.Equal(t, context.Canceled, context.Cause(ctx))
		_, err := remote.MemoryStorage.Peek(t.Context(), testID)
		require.NoError(t, err)
		time.Sleep(keepTTL)
		_, err = remote.MemoryStorage.Peek(t.Context(), testID)
		require.ErrorIs(t, err, ErrNotFound, "it is kept no longer")
	})
}

// TestKeepAliveEnds has what ends a session. Where events tell, that is noticed at once.
func TestKeepAliveEnds(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(t *testing.T, st Storage, remote *flaky){
		"deleted":   func(t *testing.T, st Storage, _ *flaky) { require.NoError(t, st.Delete(t.Context(), testID)) },
		"elsewhere": func(t *testing.T, _ Storage, r *flaky) { require.NoError(t, r.Delete(t.Context(), testID)) },
		"taken": func(t *testing.T, _ Storage, r *flaky) {
			_, err := r.Take(t.Context(), testID)
			require.NoError(t, err)
		},
		"renewed": func(t *testing.T, _ Storage, r *flaky) {
			s, err := r.Load(t.Context(), testID)
			require.NoError(t, err)
			_, err = Renew(t.Context(), r, s)
			require.NoError(t, err)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inKeepBubble(t, func(t *testing.T, st Storage, remote *flaky) {
				ctx, stop := KeepAlive(t.Context(), st, testID)
				defer stop()
				time.Sleep(keepTTL)
				requireGoesOn(t, ctx)
				start := time.Now()
				end(t, st, remote)
				<-ctx.Done()
				require.ErrorIs(t, context.Cause(ctx), ErrNotFound)
				if _, foreign := st.(struct{ Storage }); foreign {
					require.LessOrEqual(t, time.Since(start), keepTTL/4+time.Minute)
				} else {
					require.Less(t, time.Since(start), time.Second)
				}
			})
		})
	}
}

func TestKeepAliveOfNothing(t *testing.T) {
	t.Parallel()
	inKeepBubble(t, func(t *testing.T, st Storage, _ *flaky) {
		for id, want := range map[string]error{"never": ErrNotFound, "": ErrInvalidID, "a b": ErrInvalidID} {
			ctx, stop := KeepAlive(t.Context(), st, id)
			require.Error(t, ctx.Err(), "it has ended already")
			require.ErrorIs(t, context.Cause(ctx), want)
			stop()
		}
		cause := errors.New("the client has gone")
		parent, end := context.WithCancelCause(t.Context())
		ctx, stop := KeepAlive(parent, st, testID)
		defer stop()
		end(cause)
		require.Equal(t, cause, context.Cause(ctx))
	})
}

func TestKeepAliveUntilExpiresAt(t *testing.T) {
	t.Parallel()
	inKeepBubble(t, func(t *testing.T, st Storage, remote *flaky) {
		change := func(lifetime time.Duration) {
			_, err := Update(t.Context(), remote.MemoryStorage, testID, func(s *Session) (*Session, error) {
				return s.WithExpiresAt(time.Now().Add(lifetime)), nil
			})
			require.NoError(t, err)
		}
		change(5 * keepTTL)
		ctx, stop := KeepAlive(t.Context(), st, testID)
		defer stop()
		time.Sleep(4 * keepTTL)
		change(5 * keepTTL) // later
		time.Sleep(4 * keepTTL)
		requireGoesOn(t, ctx)
		change(keepTTL / 2) // sooner
		time.Sleep(keepTTL/2 - time.Millisecond)
		requireGoesOn(t, ctx)
		remote.down.Store(true) // an outage delays no end
		time.Sleep(2 * time.Millisecond)
		require.ErrorIs(t, context.Cause(ctx), ErrNotFound)
	})
}

func TestKeepAliveThroughOutages(t *testing.T) {
	t.Parallel()
	inKeepBubble(t, func(t *testing.T, st Storage, remote *flaky) {
		if st == Storage(remote.MemoryStorage) {
			return // it is never away
		}
		ctx, stop := KeepAlive(t.Context(), st, testID)
		defer stop()
		for range 10 {
			remote.down.Store(true)
			time.Sleep(keepTTL / 2)
			requireGoesOn(t, ctx)
			remote.down.Store(false)
			time.Sleep(keepTTL / 2)
			requireGoesOn(t, ctx)
		}
		remote.down.Store(true)
		ctx2, stop2 := KeepAlive(t.Context(), st, "never")
		defer stop2()
		time.Sleep(3 * keepTTL)
		requireGoesOn(t, ctx)
		requireGoesOn(t, ctx2)
		remote.down.Store(false)
		time.Sleep(time.Minute)
		require.ErrorIs(t, context.Cause(ctx), ErrNotFound, "it had not been kept alive")
		require.ErrorIs(t, context.Cause(ctx2), ErrNotFound)
	})
}

func TestKeepAliveSharesRenewals(t *testing.T) {
	t.Parallel()
	inKeepBubble(t, func(t *testing.T, st Storage, remote *flaky) {
		if _, shares := st.(*RoutingStorage); !shares {
			return
		}
		var contexts []context.Context
		var stops []context.CancelFunc
		for range 50 {
			ctx, stop := KeepAlive(t.Context(), st, testID)
			contexts, stops = append(contexts, ctx), append(stops, stop)
		}
		time.Sleep(time.Minute)
		before := remote.calls.Load()
		time.Sleep(keepTTL)
		require.LessOrEqual(t, remote.calls.Load()-before, int64(8), "one for all of them, every quarter to eighth")
		stops[0]()
		time.Sleep(2 * keepTTL)
		require.Error(t, contexts[0].Err())
		for _, ctx := range contexts[1:] {
			requireGoesOn(t, ctx)
		}
		require.NoError(t, st.Delete(t.Context(), testID))
		synctest.Wait()
		for i, ctx := range contexts[1:] {
			require.ErrorIs(t, context.Cause(ctx), ErrNotFound)
			stops[i+1]()
		}
		require.NoError(t, st.Store(t.Context(), New(testID)))
		ctx, stop := KeepAlive(t.Context(), st, testID) // after the goroutines have ended
		defer stop()
		time.Sleep(3 * keepTTL)
		requireGoesOn(t, ctx)
	})
}

func TestKeepAliveUntilClose(t *testing.T) {
	t.Parallel()
	for name, remote := range map[string]func() Storage{
		"with events":    func() Storage { return newFlaky() },
		"without events": func() Storage { return struct{ Storage }{newFlaky()} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				st := NewRoutingStorage(remote(), 10)
				require.NoError(t, st.Store(t.Context(), New(testID)))
				ctx, stop := KeepAlive(t.Context(), st, testID)
				defer stop()
				requireGoesOn(t, ctx)
				require.NoError(t, st.Close())
				require.ErrorIs(t, context.Cause(ctx), ErrClosed)
				ctx, stop = KeepAlive(t.Context(), st, testID)
				require.ErrorIs(t, context.Cause(ctx), ErrClosed)
				stop()
			})
		})
	}
}

// TestKeepAliveLeavesTheLocalTierAlone has more streams than the tier has room, and a remote that renews many with one
// command.
func TestKeepAliveLeavesTheLocalTierAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const streams = 1000
		remote := &together{flaky: newFlaky()}
		st := NewRoutingStorage(remote, 10)
		var contexts []context.Context
		for i := range streams {
			id := fmt.Sprintf("stream-%d", i)
			require.NoError(t, st.Store(t.Context(), New(id)))
			ctx, stop := KeepAlive(t.Context(), st, id)
			defer stop()
			contexts = append(contexts, ctx)
		}
		remote.poisoned.Store(true) // does no harm to the others
		synctest.Wait()
		before := st.Stats()
		const hours = 10
		time.Sleep(hours * keepTTL)
		after := st.Stats()
		require.Equal(t, before.Evictions, after.Evictions)
		require.Equal(t, before.RemoteLoads, after.RemoteLoads)
		for i, ctx := range contexts {
			require.NoError(t, context.Cause(ctx), i)
		}

		_, err := remote.MemoryStorage.Peek(t.Context(), poison)
		require.NoError(t, err, "it was renewed by itself")

		remote.poisoned.Store(false)
		calls, renewals := remote.calls.Load(), remote.renewals.Load()
		time.Sleep(hours * keepTTL)
		calls, renewals = remote.calls.Load()-calls, remote.renewals.Load()-renewals
		require.Less(t, renewals, int64(streams*hours*8+streams))
		require.Less(t, calls, renewals/30)

		remote.down.Store(true)
		calls = remote.calls.Load()
		time.Sleep(keepTTL / 2)
		const rounds = keepTTL / 2 / (keepMaxRetry / 2)
		require.Less(t, remote.calls.Load()-calls, int64(rounds*(1+2*keepConcurrency)), "not one for each session")
		require.NoError(t, st.Close())
	})
}

// flaky is a storage that can be away, and counts its calls.
type flaky struct {
	*MemoryStorage
	down  atomic.Bool
	calls atomic.Int64
}

func newFlaky() *flaky { return &flaky{MemoryStorage: NewMemoryStorage(keepTTL)} }

func (f *flaky) call() error {
	f.calls.Add(1)
	if f.down.Load() {
		return errors.New("connection refused")
	}
	return nil
}

func (f *flaky) Load(ctx context.Context, id string) (*Session, error) {
	if err := f.call(); err != nil {
		return nil, err
	}
	return f.MemoryStorage.Load(ctx, id)
}

func (f *flaky) Peek(ctx context.Context, id string) (*Session, error) {
	if err := f.call(); err != nil {
		return nil, err
	}
	return f.MemoryStorage.Peek(ctx, id)
}

// poison is a session with which a command for many fails.
const poison = "stream-7"

// together is flaky as a Revalidator.
type together struct {
	*flaky
	poisoned atomic.Bool
	renewals atomic.Int64
}

func (r *together) Revalidate(ctx context.Context, uses []Use) ([]bool, error) {
	if err := r.call(); err != nil {
		return nil, err
	}
	r.renewals.Add(int64(len(uses)))
	var unchanged []bool
	for _, u := range uses {
		if u.ID == poison && r.poisoned.Load() {
			return nil, errors.New("CLUSTERDOWN")
		}
		s, err := r.MemoryStorage.Peek(ctx, u.ID)
		same := err == nil && s.Revision() == u.Revision
		if same {
			_, err = r.MemoryStorage.Load(ctx, u.ID)
			same = err == nil
		}
		unchanged = append(unchanged, same)
	}
	return unchanged, nil
}

// TestKeepAliveForOwnLifetimes has sessions whose idle time is not the storage's.
func TestKeepAliveForOwnLifetimes(t *testing.T) {
	t.Parallel()
	for name, routing := range map[string]bool{"memory": false, "routing": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				remote := newFlaky()
				var st Storage = remote.MemoryStorage
				if routing {
					rt := NewRoutingStorage(remote, 10)
					defer func() { require.NoError(t, rt.Close()) }()
					st = rt
				}
				keep := func(s *Session) (context.Context, context.CancelFunc) {
					require.NoError(t, st.Store(t.Context(), s))
					return KeepAlive(t.Context(), st, s.ID())
				}
				short, stop := keep(New("short").WithIdleTimeout(keepTTL / 20))
				defer stop()
				long, stop := keep(New("long").WithIdleTimeout(20 * keepTTL))
				defer stop()
				none, stop := keep(New("none").WithIdleTimeout(NoIdleTimeout).WithExpiresAt(time.Now().Add(50 * keepTTL)))
				defer stop()
				changed, stop := keep(New("changed").WithIdleTimeout(20 * keepTTL))
				defer stop()
				time.Sleep(keepTTL)
				_, err := Update(t.Context(), remote, "changed", func(s *Session) (*Session, error) {
					return s.WithIdleTimeout(keepTTL / 20), nil
				})
				require.NoError(t, err)
				time.Sleep(49*keepTTL - time.Second)
				for _, ctx := range []context.Context{short, long, none, changed} {
					requireGoesOn(t, ctx)
				}
				time.Sleep(2 * time.Second)
				requireGoesOn(t, short)
				require.ErrorIs(t, context.Cause(none), ErrNotFound)
			})
		})
	}
}

// TestKeepAliveForAnIdleTimeThatChanges has one that is much shorter from then on.
func TestKeepAliveForAnIdleTimeThatChanges(t *testing.T) {
	t.Parallel()
	inKeepBubble(t, func(t *testing.T, st Storage, remote *flaky) {
		if _, foreign := st.(struct{ Storage }); foreign {
			return // no event tells of the change
		}
		ctx, stop := KeepAlive(t.Context(), st, testID)
		defer stop()
		time.Sleep(time.Second)
		_, err := Update(t.Context(), remote.MemoryStorage, testID, func(s *Session) (*Session, error) {
			return s.WithIdleTimeout(keepTTL / 60), nil
		})
		require.NoError(t, err)
		time.Sleep(keepTTL)
		requireGoesOn(t, ctx)
	})
}

// TestKeepAliveForAShortIdleTimeInOutages has a session that is renewed in time only if the storage is asked again
// soon.
func TestKeepAliveForAShortIdleTimeInOutages(t *testing.T) {
	t.Parallel()
	const idle = 4 * time.Second
	inKeepBubble(t, func(t *testing.T, st Storage, remote *flaky) {
		if st == Storage(remote.MemoryStorage) {
			return // it is never away
		}
		require.NoError(t, remote.Store(t.Context(), New("short").WithIdleTimeout(idle)))
		ctx, stop := KeepAlive(t.Context(), st, "short")
		defer stop()
		for i := range 50 {
			remote.down.Store(true)
			time.Sleep(idle*5/8 - time.Duration(i)*time.Millisecond)
			remote.down.Store(false)
			time.Sleep(idle)
			requireGoesOn(t, ctx)
		}
	})
}

// TestKeepAliveBesideOneThatFails has a session with a short idle time that joins while another one cannot be asked
// for.
func TestKeepAliveBesideOneThatFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		remote := &poisoned{newFlaky()}
		st := NewRoutingStorage(remote, 10)
		defer func() { require.NoError(t, st.Close()) }()
		_, stop := KeepAlive(t.Context(), st, poison)
		defer stop()
		time.Sleep(time.Minute)
		for range 20 {
			time.Sleep(777 * time.Millisecond)
			id := NewID()
			require.NoError(t, remote.Store(t.Context(), New(id).WithIdleTimeout(time.Second)))
			ctx, stop := KeepAlive(t.Context(), st, id)
			time.Sleep(10 * time.Second)
			requireGoesOn(t, ctx)
			stop()
		}
	})
}

// poisoned cannot be asked for one session.
type poisoned struct{ *flaky }

func (p *poisoned) Load(ctx context.Context, id string) (*Session, error) {
	if id == poison {
		return nil, errors.New("CLUSTERDOWN")
	}
	return p.flaky.Load(ctx, id)
}
