package session

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// master is one server that accepts writes.
type master struct {
	client *redis.Client
	key    string // for heartbeats: one whose writes this master is responsible for
}

var errTopologyChanged = errors.New("the Cluster's masters have changed")

// masters returns all servers that accept writes.
func (r *RedisStorage) masters(ctx context.Context) ([]master, error) {
	key := r.prefix + "!hb"
	switch client := r.client.(type) {
	case *redis.Client: // also behind Sentinel: the client follows the master
		return []master{{client, key}}, nil
	case *redis.ClusterClient:
		nodes, err := clusterMasters(ctx, client)
		if err != nil {
			return nil, err
		}
		return assignKeys(ctx, client, nodes, key)
	}
	return nil, fmt.Errorf("watching through a %T: %w", r.client, errors.ErrUnsupported)
}

// clusterMasters asks the Cluster for its masters that have slots, in a fixed order.
func clusterMasters(ctx context.Context, cluster *redis.ClusterClient) ([]*redis.Client, error) {
	var mu sync.Mutex
	var nodes []*redis.Client
	err := cluster.ForEachMaster(ctx, func(_ context.Context, node *redis.Client) error {
		mu.Lock()
		defer mu.Unlock()
		nodes = append(nodes, node)
		return nil
	})
	slices.SortFunc(nodes, func(a, b *redis.Client) int {
		return strings.Compare(a.Options().Addr, b.Options().Addr)
	})
	return nodes, err
}

// assignKeys finds a key for each master by trying: keys fall on the masters at random.
func assignKeys(
	ctx context.Context, cluster *redis.ClusterClient, nodes []*redis.Client, prefix string,
) ([]master, error) {
	keys := make(map[*redis.Client]string)
	for i := 0; len(keys) < len(nodes); i++ {
		key := fmt.Sprint(prefix, i)
		node, err := cluster.MasterForKey(ctx, key)
		if err != nil {
			return nil, err
		}
		keys[node] = key
		if i > 1000*len(nodes) || !slices.Contains(nodes, node) {
			return nil, errTopologyChanged // between the two questions; or a master has next to no slots
		}
	}
	masters := make([]master, len(nodes))
	for i, node := range nodes {
		masters[i] = master{node, keys[node]}
	}
	return masters, nil
}

// followTopology proves, like a heartbeat, that the masters that are watched are all there are.
func (w *redisWatch) followTopology(ctx context.Context, watched []master) error {
	cluster, _ := w.storage.client.(*redis.ClusterClient)
	ticker := time.NewTicker(w.heartbeat)
	defer ticker.Stop()
	for {
		asOf := time.Now()
		nodes, err := clusterMasters(ctx, cluster)
		if err != nil {
			return err
		}
		if !slices.EqualFunc(nodes, watched, func(node *redis.Client, m master) bool { return node == m.client }) {
			return errTopologyChanged
		}
		w.prove(len(watched), asOf)
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
