package redistest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// MasterName is the master's name in Sentinel.
const MasterName = "main"

// Sentinel is a master and its replica, watched by three sentinels.
type Sentinel struct {
	Data      []*Server // the first starts as the master
	Sentinels []*Server
}

// StartSentinel runs them and returns once all know each other and the replica is in sync. The options are for the
// master and the replica. If the master dies, the replica takes over within about two seconds.
func StartSentinel(t testing.TB, opts ...Option) *Sentinel {
	t.Helper()
	master := Start(t, opts...)
	replicaOf := WithConfig(fmt.Sprintf("replicaof %s %d", host, master.port))
	replica := Start(t, append(slices.Clip(opts), replicaOf)...)
	// Sentinels look for replicas when they start, and then only every ten seconds.
	await(t, "replica", func() error {
		return master.admin(func(ctx context.Context, client *redis.Client) error {
			return expect(client.Info(ctx, "replication"), "connected_slaves:1")
		})
	})

	s := &Sentinel{Data: []*Server{master, replica}}
	for range 3 {
		s.Sentinels = append(s.Sentinels, Start(t, asSentinel(master)))
	}
	s.Await(t)
	return s
}

func asSentinel(master *Server) Option {
	return func(c *config) {
		c.mode = []string{"--sentinel"}
		c.lines = []string{
			fmt.Sprintf("sentinel monitor %s %s %d 2", MasterName, host, master.port),
			fmt.Sprintf("sentinel down-after-milliseconds %s 1000", MasterName),
			fmt.Sprintf("sentinel failover-timeout %s 3000", MasterName), // and twice that between two failovers
		}
	}
}

// Await waits until the sentinels know each other and agree on a master, and the other server is its replica, in sync.
// After the restart of a former master, sentinels take up to 20 seconds to make it a replica.
func (s *Sentinel) Await(t testing.TB) {
	t.Helper()
	await(t, "sentinels", func() error {
		master, err := s.master()
		if err != nil {
			return err
		}
		for _, server := range s.Data {
			expected := []string{"role:slave", "master_link_status:up"}
			if server == master {
				expected = []string{"role:master"}
			}
			err := server.admin(func(ctx context.Context, client *redis.Client) error {
				return expect(client.Info(ctx, "replication"), expected...)
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// master returns the master that all sentinels agree on.
func (s *Sentinel) master() (master *Server, err error) {
	for _, server := range s.Data {
		state := fmt.Sprintf("master0:name=%s,status=ok,address=%s,slaves=%d,sentinels=%d",
			MasterName, server.Addr(), len(s.Data)-1, len(s.Sentinels))
		err = each(s.Sentinels, func(ctx context.Context, client *redis.Client) error {
			return expect(client.Info(ctx, "sentinel"), state)
		})
		if err == nil {
			return server, nil
		}
	}
	return nil, err
}

// Master returns the current master.
func (s *Sentinel) Master(t testing.TB) (master *Server) {
	t.Helper()
	await(t, "master", func() (err error) {
		master, err = s.master()
		return err
	})
	return master
}

// FailOver kills the master, waits until the sentinels have promoted the replica, and returns the killed server.
func (s *Sentinel) FailOver(t testing.TB) *Server {
	t.Helper()
	old := s.Master(t)
	old.Kill()
	await(t, "failover", func() error {
		now, err := s.master()
		if err == nil && now == old {
			err = errors.New("the old master is still in place")
		}
		return err
	})
	return old
}

// Client returns a client that is closed with the test; the functions change its options.
func (s *Sentinel) Client(t testing.TB, change ...func(*redis.FailoverOptions)) *redis.Client {
	t.Helper()
	client := redis.NewFailoverClient(s.options(change))
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// RoutingClient returns a client that may send reads to the replica. It is closed with the test; the functions change
// its options.
func (s *Sentinel) RoutingClient(t testing.TB, change ...func(*redis.FailoverOptions)) *redis.ClusterClient {
	t.Helper()
	opts := s.options(change)
	opts.RouteRandomly = true
	client := redis.NewFailoverClusterClient(opts)
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func (s *Sentinel) options(change []func(*redis.FailoverOptions)) *redis.FailoverOptions {
	opts := &redis.FailoverOptions{MasterName: MasterName}
	for _, sentinel := range s.Sentinels {
		opts.SentinelAddrs = append(opts.SentinelAddrs, sentinel.Addr())
	}
	for _, f := range change {
		f(opts)
	}
	return opts
}

// Shift is [Server.Shift] on the master, which passes it on to the replica.
func (s *Sentinel) Shift(t testing.TB, d time.Duration) {
	t.Helper()
	s.Master(t).Shift(t, d)
}
