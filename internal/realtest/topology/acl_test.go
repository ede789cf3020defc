package topology

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/internal/realtest"
	"github.com/seed34611480/session/internal/redistest"
)

func requireNothingDenied(t *testing.T, server *redistest.Server) {
	t.Helper()
	denied, err := server.Client(t).ACLLog(t.Context(), 10).Result()
	require.NoError(t, err)
	for _, entry := range denied {
		t.Errorf("denied: %s %s, %s", entry.Reason, entry.Object, entry.Context)
	}
}

func TestDocumentedPermissions(t *testing.T) {
	t.Parallel()
	server, node, sentinel := realtest.DocumentedPermissions(t)
	t.Run("Standalone", func(t *testing.T) {
		t.Parallel()
		redis := redistest.Start(t, redistest.WithConfig(server.Config()))
		requireServed(t, clientAs(t, redis, server), redis.Client(t))
		requireNothingDenied(t, redis)
	})
	t.Run("Sentinel", func(t *testing.T) {
		t.Parallel()
		servers := redistest.StartSentinel(t, redistest.WithConfig(server.Config()))
		for _, s := range servers.Sentinels {
			sentinel.Grant(t, s)
		}
		client := realtest.SentinelClient(t, servers, func(o *redis.FailoverOptions) {
			o.Username, o.Password = server.User, server.Password(t)
			o.SentinelUsername, o.SentinelPassword = sentinel.User, sentinel.Password(t)
			o.DisableIdentity = true
		})
		requireServed(t, client, servers.Client(t))
		for _, s := range slices.Concat(servers.Data, servers.Sentinels) {
			requireNothingDenied(t, s)
		}
	})
	t.Run("Cluster", func(t *testing.T) {
		t.Parallel()
		cluster := redistest.StartCluster(t, 3, 0, redistest.WithConfig(node.Config()))
		client := realtest.ClusterClient(t, cluster, func(o *redis.ClusterOptions) {
			o.Username, o.Password, o.DisableIdentity = node.User, node.Password(t), true
		})
		requireServed(t, client, cluster.Client(t))
		realtest.RequireShards(t, realtest.IDsOnAllMasters(t, cluster, 1),
			realtest.Replica(t, client), realtest.Replica(t, client))
		// While half of a slot has moved, the old master redirects clients to the new one.
		st := session.NewRedisStorage(client, time.Minute)
		first, second := session.New("a"), session.New(realtest.SameSlot("a", "b"))
		require.NoError(t, errors.Join(st.Store(t.Context(), first), st.Store(t.Context(), second)))
		from := cluster.Master(t, realtest.KeyOf("a"))
		to := cluster.Nodes[slices.IndexFunc(cluster.Nodes, func(s *redistest.Server) bool { return s != from })]
		realtest.MigrateSlot(t, cluster, from, to, realtest.KeyOf("a"), func() {
			for _, s := range []*session.Session{first, second} {
				require.NoError(t, st.Store(t.Context(), s))
				_, err := st.Load(t.Context(), s.ID())
				require.NoError(t, err)
			}
		})
		for _, s := range cluster.Nodes {
			requireNothingDenied(t, s)
		}
	})
}

// TestOtherKeyPatterns tries the patterns that the documentation has for special prefixes.
func TestOtherKeyPatterns(t *testing.T) {
	t.Parallel()
	server, node, _ := realtest.DocumentedPermissions(t)
	t.Run("one prefix begins the other", func(t *testing.T) {
		t.Parallel()
		strict := server.Without("~session:*")
		strict.Rules = append(strict.Rules, "~session:[^!-~]*")
		redis := redistest.Start(t, redistest.WithConfig(strict.Config()))
		client := clientAs(t, redis, strict)
		requireServed(t, client, redis.Client(t))
		requireNothingDenied(t, redis)
		other := session.NewRedisStorage(client, time.Minute, session.WithKeyPrefix("session:admin:"))
		err := other.Store(t.Context(), session.New("id"))
		require.ErrorIs(t, err, session.ErrUnavailable)
		require.Regexp(t, "NOPERM no permissions to access (one of the keys|a key)", err.Error())
	})
	t.Run("hash tag", func(t *testing.T) {
		t.Parallel()
		tagged := node.Without("~session:*").Without("&session:!*")
		tagged.Rules = append(tagged.Rules, "~{session}:*", "~!hb?*", "&{session}:!*")
		cluster := redistest.StartCluster(t, 3, 0, redistest.WithConfig(tagged.Config()))
		client := realtest.ClusterClient(t, cluster, func(o *redis.ClusterOptions) {
			o.Username, o.Password, o.DisableIdentity = tagged.User, tagged.Password(t), true
		})
		st := session.NewRoutingStorage(
			session.NewRedisStorage(client, time.Minute, session.WithKeyPrefix("{session}:")), 10)
		defer func() { require.NoError(t, st.Close()) }()
		realtest.Await(t, "a lease", func() bool { return st.Stats().Mode == session.ModeLeased })
		require.NoError(t, st.Store(t.Context(), session.New("id")))
		for _, s := range cluster.Nodes {
			requireNothingDenied(t, s)
		}
	})
}

func TestEachDocumentedPermissionIsNeeded(t *testing.T) {
	t.Parallel()
	all, _, _ := realtest.DocumentedPermissions(t)
	server := redistest.Start(t, redistest.WithConfig(all.Config()))
	admin := server.Client(t)
	for _, rule := range all.Rules {
		switch { // TestNoSubscribePermissionMeansBoundedAge and TestWithoutInfo test these two
		case rule[0] != '+', rule == "+subscribe", rule == "+info":
			continue
		}
		all.Without(rule).Grant(t, server)
		require.NoError(t, admin.ScriptFlush(t.Context()).Err())
		err := useAll(t.Context(), clientAs(t, server, all), admin)
		if err == nil {
			err = useFences(t.Context(), clientAs(t, server, all))
		}
		if err == nil {
			err = useOwners(t.Context(), clientAs(t, server, all), admin)
		}
		require.Error(t, err, "without "+rule)
	}
	all.Grant(t, server)
	require.NoError(t, useAll(t.Context(), clientAs(t, server, all), admin))
	requireFences(t, clientAs(t, server, all))
	require.NoError(t, useOwners(t.Context(), clientAs(t, server, all), admin))
}

// useOwners stores sessions with an owner, and returns an error when that fails, or leaves something in the index.
func useOwners(ctx context.Context, client, admin redis.UniversalClient) error {
	st := session.NewRedisStorage(client, time.Minute, session.WithOwnerIndex())
	const owner = "https://issuer.example user"
	hash := sha256.Sum256([]byte(owner))
	index := fmt.Sprintf("session: !owner %x", hash[:16])
	create := func() (*session.Session, error) {
		for _, key := range []string{realtest.KeyOf("owned"), index} {
			if err := admin.Del(ctx, key).Err(); err != nil {
				return nil, err
			}
		}
		s := session.New("owned").WithPrincipal(owner)
		return s, st.Create(ctx, s)
	}
	s, err := create()
	if err != nil {
		return err
	}
	if err := st.Create(ctx, s.Detached()); !errors.Is(err, session.ErrExists) {
		return fmt.Errorf("create of what exists: %w", err)
	}
	// As if the session had been listed earlier: the next load lists it anew.
	const stampAt = 105
	earlier := fmt.Sprintf("%016x", time.Now().Add(90*time.Second).UnixMicro())
	if err := admin.SetRange(ctx, realtest.KeyOf("owned"), stampAt, earlier).Err(); err != nil {
		return err
	}
	if _, err := st.Load(ctx, "owned"); err != nil {
		return err
	}
	if admin.GetRange(ctx, realtest.KeyOf("owned"), stampAt, stampAt+15).Val() == earlier {
		return errors.New("a load does not list its session anew")
	}
	if err := st.Delete(ctx, "owned"); err != nil {
		return err
	}
	if admin.Exists(ctx, index).Val() != 0 {
		return errors.New("the index is not empty")
	}
	if _, err = create(); err != nil {
		return err
	}
	for _, err := range st.Sessions(ctx, owner) {
		if err != nil {
			return err
		}
	}
	if ended, err := st.Revoke(ctx, owner); err != nil || ended != 1 {
		return fmt.Errorf("%d sessions were revoked: %w", ended, err)
	}
	return nil
}

// TestWithoutInfo: all works. What is missing then, TestMasterThatComesBack of package redisstore shows.
func TestWithoutInfo(t *testing.T) {
	t.Parallel()
	all, _, _ := realtest.DocumentedPermissions(t)
	limited := all.Without("+info")
	server := redistest.Start(t, redistest.WithConfig(limited.Config()))
	client := clientAs(t, server, limited)
	requireServed(t, client, server.Client(t))
	requireFences(t, client)
	denied, err := server.Client(t).ACLLog(t.Context(), 10).Result()
	require.NoError(t, err)
	for _, entry := range denied {
		require.Equal(t, "info", entry.Object)
	}
}

// requireFences waits until fences return early. On a busy machine a lease as short as theirs does not always last.
func requireFences(t *testing.T, client redis.UniversalClient) {
	t.Helper()
	realtest.Await(t, "a fence that returns early", func() bool { return useFences(t.Context(), client) == nil })
}

// useFences watches, and returns an error when that fails, or a fence does not return early.
func useFences(ctx context.Context, client redis.UniversalClient) (err error) {
	const lease = 300 * time.Millisecond
	holder := session.NewRedisStorage(client, time.Minute).Hold(lease)
	ctx, cancel := context.WithCancel(ctx)
	proven, ended := make(chan struct{}), make(chan error, 1)
	first := sync.OnceFunc(func() { close(proven) })
	go func() {
		ended <- holder.Watch(ctx, lease/4, func(e session.Event) {
			if _, ok := e.(session.Alive); ok {
				first()
			}
		})
	}()
	select {
	case err := <-ended:
		cancel()
		return err
	case <-proven:
	}
	defer func() {
		cancel()
		if end := <-ended; !errors.Is(end, context.Canceled) {
			err = errors.Join(err, end)
		}
	}()
	for range 4 { // until the epoch is old
		start := time.Now()
		if err := holder.Fence(ctx); err != nil {
			return err
		}
		if time.Since(start) < lease/2 {
			return nil
		}
	}
	return errors.New("no fence returned early")
}

func TestNoPublishPermissionMeansNoWrite(t *testing.T) {
	t.Parallel()
	all, _, _ := realtest.DocumentedPermissions(t)
	for _, rule := range []string{"+publish", "&session:!*"} {
		t.Run(rule, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t, redistest.WithConfig(all.Config()))
			admin, st := server.Client(t), session.NewRedisStorage(clientAs(t, server, all), time.Minute)
			kept := session.New("kept")
			require.NoError(t, st.Store(t.Context(), kept))
			value := admin.Get(t.Context(), realtest.KeyOf("kept")).Val()
			all.Without(rule).Grant(t, server)

			created := session.New("new")
			require.ErrorIs(t, st.Store(t.Context(), created), session.ErrUnavailable)
			require.ErrorIs(t, st.Create(t.Context(), created), session.ErrUnavailable)
			require.ErrorIs(t, st.Store(t.Context(), kept.With("changed", "yes")), session.ErrUnavailable)
			require.ErrorIs(t, st.Delete(t.Context(), "kept"), session.ErrUnavailable)
			_, err := st.Take(t.Context(), "kept")
			require.ErrorIs(t, err, session.ErrUnavailable)
			require.Zero(t, created.Revision())
			require.Equal(t, []string{realtest.KeyOf("kept")}, admin.Keys(t.Context(), "*").Val())
			require.Equal(t, value, admin.Get(t.Context(), realtest.KeyOf("kept")).Val())
			_, err = st.Load(t.Context(), "kept")
			require.NoError(t, err)
		})
	}
}

func TestNoSubscribePermissionMeansBoundedAge(t *testing.T) {
	t.Parallel()
	all, _, _ := realtest.DocumentedPermissions(t)
	limited := all.Without("+subscribe")
	server := redistest.Start(t, redistest.WithConfig(limited.Config()))
	client := clientAs(t, server, limited)
	a, b := realtest.Replica(t, client), realtest.Replica(t, client)
	s := session.New("id")
	require.NoError(t, a.Store(t.Context(), s))
	for range 3 {
		_, err := b.Load(t.Context(), s.ID())
		require.NoError(t, err)
		require.NoError(t, a.Store(t.Context(), s.With("changed", "yes").Detached()))
		newest, err := a.Load(t.Context(), s.ID())
		require.NoError(t, err)
		for stored := time.Now(); ; time.Sleep(time.Millisecond) {
			began := time.Now()
			seen, err := b.Load(t.Context(), s.ID())
			require.NoError(t, err)
			if seen.Revision() == newest.Revision() {
				break
			}
			require.LessOrEqual(t, began.Sub(stored), realtest.Staleness)
		}
	}
	require.Equal(t, session.ModeBoundedAge, b.Stats().Mode)
	require.Positive(t, b.Stats().Hits)

	all.Grant(t, server)
	realtest.RequireEventsFlow(t, []string{"id"}, a, b)
}

func clientAs(t *testing.T, server *redistest.Server, p realtest.Permissions) *redis.Client {
	t.Helper()
	return server.Client(t, func(o *redis.Options) {
		o.Username, o.Password = p.User, p.Password(t)
		o.ContextTimeoutEnabled = true
		o.DisableIdentity = true
		o.MaintNotificationsConfig = realtest.NoMaintNotifications()
	})
}

// requireServed uses every operation of a storage, and waits for events to flow.
func requireServed(t *testing.T, client, admin redis.UniversalClient) {
	t.Helper()
	require.NoError(t, useAll(t.Context(), client, admin))
	require.NoError(t, useOwners(t.Context(), client, admin))
	a, b := realtest.Replica(t, client), realtest.Replica(t, client)
	realtest.RequireEventsFlow(t, []string{"one", "two", "three"}, a, b)
}

func useAll(ctx context.Context, client, admin redis.UniversalClient) error {
	if err := admin.Del(ctx, realtest.KeyOf("all")).Err(); err != nil {
		return err
	}
	st, s := session.NewRedisStorage(client, time.Minute), session.New("all")
	if err := st.Create(ctx, s); err != nil {
		return err
	}
	if err := st.Store(ctx, s.WithExpiresAt(time.Now().Add(30*time.Second))); err != nil {
		return err
	}
	s, err := st.Load(ctx, "all")
	if err != nil {
		return err
	}
	if _, err := st.Peek(ctx, "all"); err != nil {
		return err
	}
	unchanged, err := st.Revalidate(ctx, []session.Use{{ID: "all", Revision: s.Revision(), At: time.Now()}})
	if err != nil {
		return err
	}
	if !unchanged[0] {
		return errors.New("revalidate: a session is unchanged")
	}
	if _, err := st.Take(ctx, "all"); err != nil {
		return err
	}
	if err := st.Delete(ctx, "all"); err != nil {
		return err
	}
	// Take puts back a value that is not a session.
	if err := admin.Set(ctx, realtest.KeyOf("all"), fmt.Sprintf("2%016x%0104x{", 1, 0), time.Minute).Err(); err != nil {
		return err
	}
	if _, err := st.Take(ctx, "all"); !errors.Is(err, session.ErrCorrupt) {
		return fmt.Errorf("take: %w", err)
	}
	if admin.Exists(ctx, realtest.KeyOf("all")).Val() != 1 {
		return errors.New("a foreign value was lost")
	}
	return nil
}
