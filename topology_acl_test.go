package session_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/internal/redistest"
)

// What docs/operations.md says that a Redis user has to be allowed is taken from there, word by word.

// permissions is a rule set as it stands after "ACL SETUSER <name> reset", or in redis.conf after "user <name>".
type permissions struct {
	user  string
	rules []string
}

// documentedPermissions returns the rule sets for one server, for the nodes of a Cluster, and for sentinels.
func documentedPermissions(t *testing.T) (server, clusterNode, sentinel permissions) {
	t.Helper()
	text, err := os.ReadFile("docs/operations.md")
	require.NoError(t, err)
	commands := regexp.MustCompile(`(?m)^redis-cli ACL SETUSER (\S+) reset ((?:.*\\\n)*.*)`)
	matches := commands.FindAllStringSubmatch(string(text), -1)
	require.Len(t, matches, 3)
	var all [3]permissions
	unquoted := strings.NewReplacer("'", "", "\\\n", "") // as the shell does
	for i, match := range matches {
		all[i] = permissions{user: match[1], rules: strings.Fields(unquoted.Replace(match[2]))}
	}
	return all[0], all[1], all[2]
}

func (p permissions) password(t *testing.T) string {
	t.Helper()
	i := slices.IndexFunc(p.rules, func(rule string) bool { return rule[0] == '>' })
	require.NotEqual(t, -1, i)
	return p.rules[i][1:]
}

func (p permissions) line() string { return "user " + p.user + " " + strings.Join(p.rules, " ") }

func (p permissions) without(rule string) permissions {
	rules := slices.DeleteFunc(slices.Clone(p.rules), func(r string) bool { return r == rule })
	return permissions{p.user, rules}
}

// grant gives these permissions, and no other, on a server that runs.
func (p permissions) grant(t *testing.T, server *redistest.Server) {
	t.Helper()
	command := []any{"ACL", "SETUSER", p.user, "reset"}
	for _, rule := range p.rules {
		command = append(command, rule)
	}
	admin := server.Client(t)
	require.NoError(t, admin.Do(t.Context(), command...).Err())
	require.NoError(t, admin.Do(t.Context(), "ACL", "LOG", "RESET").Err())
}

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
	server, node, sentinel := documentedPermissions(t)
	t.Run("Standalone", func(t *testing.T) {
		t.Parallel()
		redis := redistest.Start(t, redistest.WithConfig(server.line()))
		requireServed(t, clientAs(t, redis, server), redis.Client(t))
		requireNothingDenied(t, redis)
	})
	t.Run("Sentinel", func(t *testing.T) {
		t.Parallel()
		servers := redistest.StartSentinel(t, redistest.WithConfig(server.line()))
		for _, s := range servers.Sentinels {
			sentinel.grant(t, s)
		}
		client := sentinelClient(t, servers, func(o *redis.FailoverOptions) {
			o.Username, o.Password = server.user, server.password(t)
			o.SentinelUsername, o.SentinelPassword = sentinel.user, sentinel.password(t)
			o.DisableIdentity = true
		})
		requireServed(t, client, servers.Client(t))
		for _, s := range slices.Concat(servers.Data, servers.Sentinels) {
			requireNothingDenied(t, s)
		}
	})
	t.Run("Cluster", func(t *testing.T) {
		t.Parallel()
		cluster := redistest.StartCluster(t, 3, 0, redistest.WithConfig(node.line()))
		client := clusterClient(t, cluster, func(o *redis.ClusterOptions) {
			o.Username, o.Password, o.DisableIdentity = node.user, node.password(t), true
		})
		requireServed(t, client, cluster.Client(t))
		// Half of a slot has moved: whoever asks here is sent there.
		st := session.NewRedisStorage(client, time.Minute)
		first, second := session.New("a"), session.New(neighbor("a", "b"))
		require.NoError(t, errors.Join(st.Store(t.Context(), first), st.Store(t.Context(), second)))
		from := cluster.Master(t, keyOf("a"))
		to := cluster.Nodes[slices.IndexFunc(cluster.Nodes, func(s *redistest.Server) bool { return s != from })]
		migrateSlot(t, cluster, from, to, keyOf("a"), func() {
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

func TestEachDocumentedPermissionIsNeeded(t *testing.T) {
	t.Parallel()
	all, _, _ := documentedPermissions(t)
	server := redistest.Start(t, redistest.WithConfig(all.line()))
	admin := server.Client(t)
	for _, rule := range all.rules {
		if rule[0] != '+' || rule == "+subscribe" { // see below
			continue
		}
		all.without(rule).grant(t, server)
		require.NoError(t, admin.ScriptFlush(t.Context()).Err())
		require.Error(t, useAll(t.Context(), clientAs(t, server, all), admin), "without "+rule)
	}
	all.grant(t, server)
	require.NoError(t, useAll(t.Context(), clientAs(t, server, all), admin))
}

func TestWithoutPermissionToPublishNothingIsWritten(t *testing.T) {
	t.Parallel()
	all, _, _ := documentedPermissions(t)
	for _, rule := range []string{"+publish", "&session:!*"} {
		t.Run(rule, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t, redistest.WithConfig(all.line()))
			admin, st := server.Client(t), session.NewRedisStorage(clientAs(t, server, all), time.Minute)
			kept := session.New("kept")
			require.NoError(t, st.Store(t.Context(), kept))
			value := admin.Get(t.Context(), keyOf("kept")).Val()
			all.without(rule).grant(t, server)

			created := session.New("new")
			require.ErrorIs(t, st.Store(t.Context(), created), session.ErrUnavailable)
			require.ErrorIs(t, st.Create(t.Context(), created), session.ErrUnavailable)
			require.ErrorIs(t, st.Store(t.Context(), kept.With("changed", "yes")), session.ErrUnavailable)
			require.ErrorIs(t, st.Delete(t.Context(), "kept"), session.ErrUnavailable)
			_, err := st.Take(t.Context(), "kept")
			require.ErrorIs(t, err, session.ErrUnavailable)
			require.Zero(t, created.Revision())
			require.Equal(t, []string{keyOf("kept")}, admin.Keys(t.Context(), "*").Val())
			require.Equal(t, value, admin.Get(t.Context(), keyOf("kept")).Val())
			_, err = st.Load(t.Context(), "kept")
			require.NoError(t, err)
		})
	}
}

func TestWithoutPermissionToSubscribeAgeIsBounded(t *testing.T) {
	t.Parallel()
	all, _, _ := documentedPermissions(t)
	limited := all.without("+subscribe")
	server := redistest.Start(t, redistest.WithConfig(limited.line()))
	client := clientAs(t, server, limited)
	a, b := replicaOn(t, client), replicaOn(t, client)
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
			require.LessOrEqual(t, began.Sub(stored), topologyStaleness)
		}
	}
	require.Equal(t, session.ModeBoundedAge, b.Stats().Mode)
	require.Positive(t, b.Stats().Hits)

	all.grant(t, server)
	requireFlowing(t, []string{"id"}, a, b)
}

func clientAs(t *testing.T, server *redistest.Server, p permissions) *redis.Client {
	t.Helper()
	return server.Client(t, func(o *redis.Options) {
		o.Username, o.Password = p.user, p.password(t)
		o.ContextTimeoutEnabled = true
		o.DisableIdentity = true
	})
}

// requireServed uses all that a storage can do, and waits for events to flow.
func requireServed(t *testing.T, client, admin redis.UniversalClient) {
	t.Helper()
	require.NoError(t, useAll(t.Context(), client, admin))
	requireFlowing(t, []string{"one", "two", "three"}, replicaOn(t, client), replicaOn(t, client))
}

func useAll(ctx context.Context, client, admin redis.UniversalClient) error {
	if err := admin.Del(ctx, keyOf("all")).Err(); err != nil {
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
	if _, err := st.Revalidate(ctx, []*session.Session{s}); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	if _, err := st.Take(ctx, "all"); err != nil {
		return err
	}
	if err := st.Delete(ctx, "all"); err != nil {
		return err
	}
	// What looks like a session, and is none, is put back.
	if err := admin.Set(ctx, keyOf("all"), fmt.Sprintf("1%016x{", 1), time.Minute).Err(); err != nil {
		return err
	}
	if _, err := st.Take(ctx, "all"); !errors.Is(err, session.ErrCorrupt) {
		return fmt.Errorf("take: %w", err)
	}
	if admin.Exists(ctx, keyOf("all")).Val() != 1 {
		return errors.New("a foreign value was lost")
	}
	return nil
}
