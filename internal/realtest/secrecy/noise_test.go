package secrecy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/internal/errs"
	"github.com/seed34611480/session/internal/logtest"
	"github.com/seed34611480/session/internal/realtest"
)

// TestNothingIsShownInANoisyRun has every operation fail in many ways, and looks for ids, principals, contents and keys
// in all errors, log lines, statistics and panics. The errors of servers and clients are full of them.
func TestNothingIsShownInANoisyRun(t *testing.T) {
	n := &noise{kinds: make(map[error]int)}
	ring, key := newRing(t)
	n.workload.secrets.add("key", key)
	sealed := session.WithCodec(session.NewSealedCodec(ring, nil))
	t.Run("all", func(t *testing.T) {
		for name, opts := range map[string][]session.RedisOption{
			"plain": nil, "sealed": {sealed}, "hashed": {sealed, session.WithHashedIDs()},
		} {
			for trouble, server := range troubles {
				t.Run(name+", "+trouble, func(t *testing.T) {
					t.Parallel()
					n.service(t, server, append(slices.Clone(opts), session.WithOwnerIndex()))
				})
			}
		}
	})
	n.panics(t, ring)
	for _, kind := range append(kinds, nil) {
		require.Positive(t, n.kinds[kind], "%v has not occurred", kind)
	}
	found := n.workload.secrets.find
	require.NotEmpty(t, found(n.causes.String()), "what the errors hide has secrets")
	for _, line := range []string{"no change events", "go-redis: ", "panic"} {
		require.Contains(t, logged.String()+n.shown.String(), line)
	}
	texts := map[string]string{"an error, a panic or a statistic": n.shown.String(), "the log": logged.String()}
	for what, text := range texts {
		for line := range strings.Lines(text) {
			if names := found(line); len(names) > 0 {
				t.Fatalf("%s shows %v: %.500s", what, names, line)
			}
		}
	}
}

// noise collects what is shown.
type noise struct {
	workload workload
	shown    logtest.Log
	causes   logtest.Log // of the errors, which may have secrets

	mu    sync.Mutex // protects following fields, and the secrets
	kinds map[error]int
}

func (n *noise) session() *session.Session {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.workload.session()
}

// show takes in an error in every form in which a program may show it.
func (n *noise) show(op string, err error) {
	n.mu.Lock()
	n.kinds[kindOf(err)]++
	n.mu.Unlock()
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%T"} {
		_, _ = fmt.Fprintf(&n.shown, op+": "+verb+"\n", err)
	}
	slog.New(slog.NewJSONHandler(&n.shown, nil)).Error(op, "error", err)
	slog.New(slog.NewTextHandler(&n.shown, nil)).Error(op, "error", fmt.Errorf("request failed: %w", err))
	for cause := range errs.All(err) {
		_, _ = fmt.Fprintln(&n.causes, cause)
		if reply, ok := errors.AsType[redis.Error](cause); ok {
			_, _ = fmt.Fprintln(&n.causes, reply)
		}
	}
}

// kinds are the errors that callers match. Each of them has to occur.
var kinds = []error{
	session.ErrNotFound, session.ErrExists, session.ErrConflict, session.ErrInvalidID, session.ErrTooLarge,
	session.ErrCorrupt, session.ErrEncode, session.ErrUnavailable, session.ErrClosed, session.ErrLifetime,
	session.ErrTooMany, context.Canceled, errors.ErrUnsupported,
}

func kindOf(err error) error {
	for _, kind := range kinds {
		if errors.Is(err, kind) {
			return kind
		}
	}
	return err
}

// service uses every operation of two storages over a server that is in trouble.
func (n *noise) service(t *testing.T, trouble func(*testing.T, *session.Session) trouble, opts []session.RedisOption) {
	t.Helper()
	s := n.session()
	in := trouble(t, s)
	client := redis.NewClient(&redis.Options{
		Addr: in.addr, DialTimeout: time.Second, DialerRetries: 1, MaxRetries: 1, ContextTimeoutEnabled: true,
		ReadTimeout: 30 * time.Millisecond, WriteTimeout: 30 * time.Millisecond,
		Protocol: 2, DisableIdentity: true, MaintNotificationsConfig: realtest.NoMaintNotifications(),
	})
	defer func() { require.NoError(t, client.Close()) }()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	remote := session.NewRedisStorage(client, time.Minute, append(slices.Clone(opts), session.WithMaxSize(4096))...)
	_ = remote.Store(ctx, s)
	if in.begin != nil {
		in.begin(client, s)
	}
	st := session.NewRoutingStorage(remote, 10, session.WithLoadTimeout(50*time.Millisecond),
		session.WithMaxStaleness(100*time.Millisecond), session.WithRefreshAfter(time.Millisecond), session.WithFencing())
	for _, storage := range []session.Storage{st, remote} {
		n.operations(ctx, storage, s)
	}
	failing := session.NewRedisStorage(client, time.Minute, session.WithCodec(failing{}))
	n.show("store with a codec that fails", failing.Store(ctx, n.session()))
	limited := session.NewRedisStorage(client, time.Minute,
		append(slices.Clone(opts), session.WithOwnerLimit(1, session.RefuseNew))...)
	for range 2 {
		n.show("store, one too many", limited.Store(ctx, n.session().WithPrincipal(s.Principal())))
	}
	n.foreign(ctx, s)
	_, _ = fmt.Fprintf(&n.shown, "%v %+v %#v\n", st.Stats(), st.Stats(), st.Stats())
	_, _ = fmt.Fprintf(&n.shown, "%v %+v %#v %s\n", s, s, s, slog.AnyValue(s))
	require.NoError(t, st.Close())
	n.operations(ctx, st, s)
}

func (n *noise) operations(ctx context.Context, st session.Storage, s *session.Session) {
	id, other := s.ID(), n.session()
	watch, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	cancelled, end := context.WithCancel(ctx)
	end()
	change := func(s *session.Session) (*session.Session, error) { return s.WithType(session.TypeSSE), nil }
	stale := other.Detached()
	session.Stamp(stale, 7)
	big := s.Detached().WithData(make([]byte, 1<<20))
	late := s.Detached().WithExpiresAt(time.Now().Add(-time.Hour))
	for op, call := range map[string]func() error{
		"store":             func() error { return st.Store(ctx, s.Detached()) },
		"store, stale":      func() error { session.Stamp(s, 7); return st.Store(ctx, s.With("a", "b")) },
		"store, unknown":    func() error { return st.Store(ctx, stale) },
		"store, too large":  func() error { return st.Store(ctx, big) },
		"store, too late":   func() error { return st.Store(ctx, late) },
		"store, cancelled":  func() error { return st.Store(cancelled, s.Detached()) },
		"store, nil":        func() error { return st.Store(ctx, nil) },
		"create":            func() error { return session.Create(ctx, st, s.Detached()) },
		"load":              func() error { _, err := st.Load(ctx, id); return err },
		"load, again":       func() error { _, err := st.Load(ctx, id); return err },
		"load, unknown":     func() error { _, err := st.Load(ctx, other.ID()); return err },
		"load, cancelled":   func() error { _, err := st.Load(cancelled, other.ID()); return err },
		"load, bad id":      func() error { _, err := st.Load(ctx, id+"\r\n"+id); return err },
		"load, long id":     func() error { _, err := st.Load(ctx, strings.Repeat(id, 1000)); return err },
		"load owned":        func() error { _, err := session.LoadOwned(ctx, st, id, s.Principal()); return err },
		"load owned, wrong": func() error { _, err := session.LoadOwned(ctx, st, id, other.Principal()); return err },
		"peek":              func() error { _, err := st.(session.Peeker).Peek(ctx, id); return err },
		"update":            func() error { _, err := session.Update(ctx, st, id, change); return err },
		"update, wrong id": func() error {
			_, err := session.Update(ctx, st, id, func(*session.Session) (*session.Session, error) { return other, nil })
			return err
		},
		"renew": func() error { _, err := session.Renew(ctx, st, s); return err },
		"watch": func() error {
			return st.(session.Watcher).Watch(watch, 10*time.Millisecond, func(session.Event) {})
		},
		"decode": func() error {
			return s.WithData(strconv.AppendQuote(nil, string(s.Data()))).Decode(new(time.Time))
		},
		"delete expired": func() error { return st.DeleteExpired(ctx, time.Now().Add(-time.Hour)) },
	} {
		n.show(op, call())
	}
	switch st := st.(type) {
	case *session.RoutingStorage:
		_, err := st.LoadFresh(ctx, id)
		n.show("load fresh", err)
		n.show("fence", st.Fence(watch))
	case *session.RedisStorage:
		_, err := st.Revalidate(ctx, []session.Use{{ID: id, Revision: 7, At: time.Now()}, {ID: other.ID(), Revision: 7}})
		n.show("revalidate", err)
		_, err = st.Revalidate(ctx, []session.Use{{ID: id + " "}})
		n.show("revalidate, bad id", err)
	}
	if revoker, ok := st.(session.Revoker); ok {
		_, err := revoker.Revoke(ctx, s.Principal())
		n.show("revoke", err)
	}
	if lister, ok := st.(session.Lister); ok {
		for _, err := range lister.Sessions(ctx, s.Principal()) {
			n.show("sessions", err)
		}
	}
	_, err := session.Take(ctx, st, id)
	n.show("take", err)
	n.show("delete", st.Delete(ctx, id))
}

// foreign uses storages of other authors, whose errors and panics have secrets.
func (n *noise) foreign(ctx context.Context, s *session.Session) {
	secret := fmt.Sprintf("%s %d %v", s.Principal(), s.Data(), s.Record())
	for _, remote := range []other{
		{err: errors.New(secret)},
		{err: fmt.Errorf("%s: %w", secret, session.ErrConflict)},
		{err: fmt.Errorf("%s: %w", secret, errors.ErrUnsupported)},
		{panics: secret},
		{},
	} {
		st := session.NewRoutingStorage(remote, 10, session.WithLoadTimeout(time.Second))
		_, err := st.Load(ctx, s.ID())
		n.show("load of another author", err)
		if remote.panics == "" {
			n.show("store of another author", st.Store(ctx, s.Detached()))
			n.show("delete of another author", st.Delete(ctx, s.ID()))
		}
		n.show("create of another author", session.Create(ctx, st, s.Detached()))
		_, err = session.Take(ctx, st, s.ID())
		n.show("take of another author", err)
		_ = st.Close()
	}
}

// other is a storage of another author: its methods fail, panic, or return the wrong session.
type other struct {
	err    error
	panics string
}

func (o other) Load(context.Context, string) (*session.Session, error) {
	if o.panics != "" {
		panic(o.panics)
	}
	return session.New("another"), o.err
}

func (o other) Store(context.Context, *session.Session) error          { return o.err }
func (o other) Delete(context.Context, string) error                   { return o.err }
func (o other) DeleteExpired(context.Context, time.Time) error         { return o.err }
func (o other) Take(context.Context, string) (*session.Session, error) { return nil, o.err }

// failing is a codec that fails, and tells everything.
type failing struct{}

func (failing) Encode(s *session.Session) ([]byte, error) {
	return nil, fmt.Errorf("cannot encode %+v", s.Record())
}

func (failing) Decode(data []byte) (*session.Session, error) {
	return nil, fmt.Errorf("cannot decode %s", data)
}

// panics provokes all panics of the package that are about arguments.
func (n *noise) panics(t *testing.T, ring *session.KeyRing) {
	t.Helper()
	client := redis.NewClient(&redis.Options{Addr: "localhost:1"})
	defer func() { require.NoError(t, client.Close()) }()
	shards := redis.NewRing(&redis.RingOptions{Addrs: map[string]string{"shard": "localhost:1"}})
	defer func() { require.NoError(t, shards.Close()) }()
	codec := session.NewSealedCodec(ring, nil)
	memory, st := session.NewMemoryStorage(time.Hour), session.NewRedisStorage(client, time.Minute)
	for _, call := range []func(){
		func() { session.NewMemoryStorage(-1) },
		func() { session.NewRedisStorage(client, 0) },
		func() { session.NewRedisStorage(nil, time.Minute, session.WithCodec(codec)) },
		func() { session.NewRedisStorage(shards, time.Minute, session.WithCodec(codec)) },
		func() { session.NewRedisStorage(client, time.Minute, session.WithHashedIDs()) },
		func() { session.NewRoutingStorage(nil, 1) },
		func() { session.NewRoutingStorage(st, 0) },
		func() { session.NewRoutingStorage(other{}, 1, session.WithFencing()) },
		func() { session.NewRoutingStorage(memory, 1, session.WithFencing(), session.WithStaleIfError(1)) },
		func() { session.NewSealedCodec(nil, nil) },
		func() { session.WithCodec(nil) },
		func() { session.WithMaxSize(-1) },
		func() { session.WithMaxLifetime(-1) },
		func() { session.WithOwnerLimit(0, session.RefuseNew) },
		func() { session.WithMinReplicas(-1, 0) },
		func() { session.WithMaxStaleness(-1) },
		func() { session.WithLoadConcurrency(-1) },
		func() { _ = st.Watch(t.Context(), 0, nil) },
	} {
		func() {
			defer func() {
				reason := recover()
				require.NotNil(t, reason)
				_, _ = fmt.Fprintf(&n.shown, "panic: %v\n", reason)
			}()
			call()
		}()
	}
	_, key := newRing(t)
	n.workload.secrets.add("key", key)
	for _, keys := range [][]session.Key{
		nil, {{ID: string(key), Secret: key}}, {{ID: "a", Secret: key[1:]}}, {{ID: "a", Secret: key}, {ID: "b", Secret: key}},
	} {
		_, err := session.NewKeyRing(keys...)
		_, _ = fmt.Fprintf(&n.shown, "%v %+v %#v %v %+v %#v\n", err, err, err, keys, keys, keys)
	}
	_, err := ring.Sealer("test").Open(key, key)
	n.show("open", err)
	_, _ = fmt.Fprintf(&n.shown, "%v %+v %#v %v %+v %#v\n", ring, ring, ring, codec, codec, codec)
}
