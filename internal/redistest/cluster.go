package redistest

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

const slots = 16384

// Cluster is a Redis Cluster. Its first nodes start as the masters.
type Cluster struct {
	Nodes []*Server

	masters, replicas int // replicas of each master
	opts              []Option
}

// StartCluster runs a Cluster and returns once every node sees it as complete, with the replicas in sync. If a master
// dies, its replica takes over within about two seconds.
func StartCluster(t testing.TB, masters, replicasPerMaster int, opts ...Option) *Cluster {
	t.Helper()
	opts = append([]Option{WithConfig(
		"cluster-enabled yes",
		"cluster-node-timeout 1000",
		"cluster-announce-ip "+host,
		"cluster-replica-validity-factor 0", // a replica may stand for election however old its data is
	)}, opts...)

	c := &Cluster{masters: masters, replicas: replicasPerMaster, opts: opts}
	for range masters * (1 + replicasPerMaster) {
		c.Nodes = append(c.Nodes, Start(t, opts...))
	}
	ids := c.meet(t)
	for i, node := range c.Nodes {
		node.do(t, func(ctx context.Context, client *redis.Client) error {
			if i < masters {
				return client.ClusterAddSlotsRange(ctx, i*slots/masters, (i+1)*slots/masters-1).Err()
			}
			return client.ClusterReplicate(ctx, ids[i%masters]).Err()
		})
	}
	c.Await(t)
	return c
}

// meet introduces all nodes to each other, and returns their ids.
func (c *Cluster) meet(t testing.TB) []string {
	t.Helper()
	ids := make([]string, len(c.Nodes))
	for i, node := range c.Nodes {
		node.do(t, func(ctx context.Context, client *redis.Client) error {
			// Distinct epochs from the start spare each pair of nodes a conflict and its resolution.
			if err := client.Do(ctx, "CLUSTER", "SET-CONFIG-EPOCH", i+1).Err(); err != nil {
				return err
			}
			for _, other := range c.Nodes[:i] {
				if err := client.ClusterMeet(ctx, host, strconv.Itoa(other.port)).Err(); err != nil {
					return err
				}
			}
			id, err := client.ClusterMyID(ctx).Result()
			ids[i] = id
			return err
		})
	}
	c.awaitMet(t)
	return ids
}

func (c *Cluster) awaitMet(t testing.TB) {
	t.Helper()
	await(t, "waiting for the nodes to meet", func() error {
		return each(c.Nodes, func(ctx context.Context, node *redis.Client) error {
			return expect(node.ClusterInfo(ctx), "cluster_known_nodes:"+strconv.Itoa(len(c.Nodes)))
		})
	})
}

// AddMaster starts a master more, which has no slots yet, in a Cluster without replicas.
func (c *Cluster) AddMaster(t testing.TB) *Server {
	t.Helper()
	added := Start(t, c.opts...)
	added.do(t, func(ctx context.Context, client *redis.Client) error {
		if err := client.Do(ctx, "CLUSTER", "SET-CONFIG-EPOCH", len(c.Nodes)+1).Err(); err != nil {
			return err
		}
		return client.ClusterMeet(ctx, host, strconv.Itoa(c.Nodes[0].port)).Err()
	})
	c.Nodes = append(c.Nodes, added)
	c.awaitMet(t)
	c.Await(t)
	return added
}

// Await waits until every running node sees the Cluster as complete: all slots served, all replicas in sync.
func (c *Cluster) Await(t testing.TB) {
	t.Helper()
	await(t, "cluster", func() error { return each(c.Nodes, c.complete) })
}

func (c *Cluster) complete(ctx context.Context, node *redis.Client) error {
	if err := expect(node.ClusterInfo(ctx), "cluster_state:ok"); err != nil {
		return err
	}
	ranges, err := slotRanges(ctx, node)
	if err != nil {
		return err
	}
	for _, r := range ranges {
		if len(r.Nodes) != 1+c.replicas {
			return fmt.Errorf("slots from %d are on %d nodes", r.Start, len(r.Nodes))
		}
	}
	if master, err := isMaster(ctx, node); master || err != nil {
		return err
	}
	return expect(node.Info(ctx, "replication"), "master_link_status:up")
}

// Client returns a client that is closed with the test; the functions change its options. It often refreshes its map of
// the Cluster. By default a client does so once a minute, and keeps talking to a dead master that long.
func (c *Cluster) Client(t testing.TB, change ...func(*redis.ClusterOptions)) *redis.ClusterClient {
	t.Helper()
	opts := &redis.ClusterOptions{ClusterStateReloadInterval: 100 * time.Millisecond}
	for _, node := range c.Nodes {
		opts.Addrs = append(opts.Addrs, node.Addr())
	}
	for _, f := range change {
		f(opts)
	}
	client := redis.NewClusterClient(opts)
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// Master returns the server that serves a key, according to the first node that runs.
func (c *Cluster) Master(t testing.TB, key string) *Server {
	t.Helper()
	var master *Server
	for _, node := range c.Nodes {
		if node.running() {
			node.do(t, func(ctx context.Context, client *redis.Client) (err error) {
				master, err = c.owner(ctx, client, key)
				return err
			})
			break
		}
	}
	return master
}

func (c *Cluster) owner(ctx context.Context, client *redis.Client, key string) (*Server, error) {
	slot, err := client.ClusterKeySlot(ctx, key).Result()
	if err != nil {
		return nil, err
	}
	ranges, err := slotRanges(ctx, client)
	if err != nil {
		return nil, err
	}
	for _, r := range ranges {
		if int64(r.Start) <= slot && slot <= int64(r.End) {
			return find(c.Nodes, r.Nodes[0].Addr)
		}
	}
	return nil, fmt.Errorf("no node serves slot %d", slot)
}

func slotRanges(ctx context.Context, client *redis.Client) ([]redis.ClusterSlot, error) {
	return client.ClusterSlots(ctx).Result() //nolint:staticcheck // its successor is not in Redis 6.2
}

// FailOver kills the master of a key, and waits until every other node sees the replica as the new master. It returns
// the killed server, which is a replica after its Restart.
func (c *Cluster) FailOver(t testing.TB, key string) *Server {
	t.Helper()
	old := c.Master(t, key)
	old.Kill()
	await(t, "failover", func() error {
		return each(c.Nodes, func(ctx context.Context, node *redis.Client) error {
			now, err := c.owner(ctx, node, key)
			if err == nil && now == old {
				err = errors.New("the old master is still in place")
			}
			if err != nil {
				return err
			}
			return expect(node.ClusterInfo(ctx), "cluster_state:ok")
		})
	})
	return old
}

// Shift is [Server.Shift] on all masters, which pass it on to their replicas.
func (c *Cluster) Shift(t testing.TB, d time.Duration) {
	t.Helper()
	err := each(c.Nodes, func(ctx context.Context, node *redis.Client) error {
		if master, err := isMaster(ctx, node); !master || err != nil {
			return err
		}
		return shift(ctx, node, d)
	})
	if err != nil {
		t.Fatalf("redistest: shift: %v", err)
	}
}
