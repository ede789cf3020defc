package redisstore

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed34611480/session/internal/errs"
)

// master is one server that accepts writes.
type master struct {
	client  *redis.Client // for the subscription
	control *redis.Client // for everything else, see controlClient
	number  string        // of the link to it; the key of the link's heartbeats is in a slot of this master
}

var (
	errNoMasters       = errs.SafeError("the Cluster has no masters with slots")
	errSeveralMasters  = errs.SafeError("ClusterSlots of the client's options names several masters, which are no Cluster")
	errTopologyChanged = errs.SafeError("the Cluster's masters have changed")
	errMasterChanged   = errs.SafeError("another master was named, by Sentinel for one")
)

// masters returns all servers that accept writes, without the clients for control.
func (w *watch) masters(ctx context.Context) ([]master, error) {
	cluster, ok := w.store.base.(*redis.ClusterClient)
	if !ok {
		client, _ := w.store.base.(*redis.Client) // also behind Sentinel: the client follows the master
		return []master{{client: client, number: "0"}}, nil
	}
	nodes, err := clusterMasters(ctx, cluster, w.heartbeat)
	if err != nil {
		nodes, err = clusterMasters(ctx, cluster, w.timeout())
	}
	if err != nil {
		return nil, err
	}
	return assignNumbers(ctx, cluster, nodes, func(number string) string { return w.store.heartbeatKey(w.name, number) })
}

// hasHashTag reports whether the keys with a prefix are all in the slot of a tag in it.
func hasHashTag(prefix string) bool {
	_, tail, ok := strings.Cut(prefix, "{")
	return ok && strings.Index(tail, "}") > 0
}

// clusterMasters asks the Cluster for its masters that have slots, of which there is at least one. The question goes
// through the client's own pool. When that takes too long, the client answers from its memory if it can: followTopology
// finds out whether that was right.
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

// assignNumbers finds a number for each master by trying: the keys that belong to the numbers fall on the slots at
// random. A master with a single one of the 16384 slots is missed once in e^20 times. Trying all takes a tenth of a
// second.
func assignNumbers(
	ctx context.Context, cluster *redis.ClusterClient, nodes []*redis.Client, key func(number string) string,
) ([]master, error) {
	const tries = 20 * 16384
	numbers := make(map[*redis.Client]string)
	for i := 0; len(numbers) < len(nodes); i++ {
		number := strconv.Itoa(i)
		node, err := cluster.MasterForKey(ctx, key(number))
		if err != nil {
			return nil, err
		}
		if i > tries || !slices.Contains(nodes, node) {
			return nil, errTopologyChanged // since clusterMasters asked: another master, or one without slots
		}
		if numbers[node] == "" {
			numbers[node] = number
		}
	}
	masters := make([]master, len(nodes))
	for i, node := range nodes {
		masters[i] = master{client: node, number: numbers[node]}
	}
	return masters, nil
}

// followTopology proves, like a heartbeat, that the watched masters are all there are. It asks the masters themselves,
// in turn: an idle client would answer from its memory.
func (w *watch) followTopology(ctx context.Context, watched []master) error {
	ticker := time.NewTicker(w.heartbeat)
	defer ticker.Stop()
	for turn := 0; ; turn++ {
		asOf := time.Now()
		slots, err := w.clusterSlots(ctx, watched[turn%len(watched)].control)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && !mayPass(err):
			return err
		case err != nil:
			w.store.trouble.Store(&err)
		default:
			present := mastersOf(slots)
			known := w.knows(present, slots)
			// The answers are compared with each other, not with the client's addresses, which may differ. That the first
			// answer names the watched masters follows from their number: each of these accepts a heartbeat for its own
			// slots.
			if len(present) != len(watched) || !slices.Equal(present, known) {
				return errTopologyChanged
			}
			w.prove(len(watched), asOf)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// knows returns the first answer about the masters, and notes the latest one about slots.
func (w *watch) knows(present []string, slots []redis.ClusterSlot) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.slots = slots
	if w.known == nil {
		w.known = present
	}
	return w.known
}

// isKnownTo asks a master, and reports whether it names those that are watched.
func (w *watch) isKnownTo(ctx context.Context, master *redis.Client) (bool, error) {
	slots, err := w.clusterSlots(ctx, master)
	if err != nil {
		return false, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Equal(mastersOf(slots), w.known), nil
}

// followNaming ends the watch when the client would send writes to another master than at first. The old one may go on
// for a while, if only the sentinels cannot reach it, and its connections too. What fails says nothing: heartbeats do.
func (w *watch) followNaming(
	ctx context.Context, first string, naming func(ctx context.Context) (string, error),
) error {
	ticker := time.NewTicker(w.timeout())
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		if now, err := w.named(ctx, naming); err == nil && now != first {
			return errMasterChanged
		}
	}
}

// named asks where writes go, for as long as a single step may take.
func (w *watch) named(ctx context.Context, naming func(ctx context.Context) (string, error)) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, w.timeout())
	defer cancel()
	return naming(ctx)
}

// clusterSlots asks a node of the Cluster which masters have which slots.
func (w *watch) clusterSlots(ctx context.Context, node *redis.Client) ([]redis.ClusterSlot, error) {
	ctx, cancel := context.WithTimeout(ctx, w.timeout())
	defer cancel()
	return node.ClusterSlots(ctx).Result() //nolint:staticcheck // what replaces it needs Redis 7
}

// mastersOf returns the addresses of the masters that have slots, in order.
func mastersOf(slots []redis.ClusterSlot) (addresses []string) {
	for _, slot := range slots {
		if len(slot.Nodes) > 0 {
			addresses = append(addresses, slot.Nodes[0].Addr) // the first one is the master
		}
	}
	slices.Sort(addresses)
	return slices.Compact(addresses)
}
