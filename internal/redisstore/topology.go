package redisstore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed34611480/session/internal/errs"
)

// master is one server that accepts writes.
type master struct {
	client *redis.Client
	key    string // for heartbeats: one in a slot of this master
}

var (
	errNoMasters       = errs.SafeError("the Cluster has no masters with slots")
	errTopologyChanged = errs.SafeError("the Cluster's masters have changed")
)

// masters returns all servers that accept writes.
func (s *Store) masters(ctx context.Context, timeout time.Duration) ([]master, error) {
	// The key is another one each time: while its slot moves, perhaps no master answers for it. No id has a space, so it
	// is no value's key.
	key := s.prefix + "!hb " + rand.Text()
	switch client := s.client.(type) {
	case *redis.Client: // also behind Sentinel: the client follows the master
		return []master{{client, key}}, nil
	case *redis.ClusterClient:
		nodes, err := clusterMasters(ctx, client, timeout)
		if err != nil {
			return nil, err
		}
		return assignKeys(ctx, client, nodes, key)
	}
	return nil, errs.Because(fmt.Sprintf("watching through a %T", s.client), errors.ErrUnsupported)
}

// clusterMasters asks the Cluster for its masters that have slots, of which there is at least one.
func clusterMasters(
	ctx context.Context, cluster *redis.ClusterClient, timeout time.Duration,
) ([]*redis.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var mu sync.Mutex
	var nodes []*redis.Client
	err := cluster.ForEachMaster(ctx, func(_ context.Context, node *redis.Client) error {
		mu.Lock()
		defer mu.Unlock()
		nodes = append(nodes, node)
		return nil
	})
	if err == nil && len(nodes) == 0 {
		err = errNoMasters
	}
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
			return nil, errTopologyChanged // since clusterMasters asked; or a master has next to no slots
		}
	}
	masters := make([]master, len(nodes))
	for i, node := range nodes {
		masters[i] = master{node, keys[node]}
	}
	return masters, nil
}

// followTopology proves, like a heartbeat, that the watched masters are all there are. It asks the masters themselves,
// in turn: an idle client would answer from its memory.
func (w *watch) followTopology(ctx context.Context, watched []master) error {
	var known []string
	ticker := time.NewTicker(w.heartbeat)
	defer ticker.Stop()
	for turn := 0; ; turn++ {
		asOf := time.Now()
		present, err := masterAddresses(ctx, watched[turn%len(watched)].client, w.timeout())
		if err != nil {
			return err
		}
		if known == nil {
			known = present
		}
		// The answers are compared with each other, not with the client's addresses, which may differ. That the first
		// answer names the watched masters follows from their number: each of these accepts a heartbeat for its own slots.
		if len(present) != len(watched) || !slices.Equal(present, known) {
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

// masterAddresses returns the masters that have slots, as a node of the Cluster knows them, in order.
func masterAddresses(ctx context.Context, node *redis.Client, timeout time.Duration) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	slots, err := node.ClusterSlots(ctx).Result() //nolint:staticcheck // what replaces it needs Redis 7
	if err != nil {
		return nil, err
	}
	var addresses []string
	for _, slot := range slots {
		if len(slot.Nodes) > 0 {
			addresses = append(addresses, slot.Nodes[0].Addr) // the first one is the master
		}
	}
	slices.Sort(addresses)
	return slices.Compact(addresses), nil
}
