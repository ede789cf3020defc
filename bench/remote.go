package main

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"

	"github.com/seed34611480/session"
)

// remoteRow is the cost of an operation that has to ask Redis, with two goroutines.
type remoteRow struct {
	Name   string
	NS     series
	Over   series // relative to go-redis without this library
	Allocs series
}

const (
	nameBareGetex  = "bare GETEX + JSON decode"
	nameRemote     = "load from a RedisStorage"
	nameMiss       = "miss of a RoutingStorage"
	nameBareSet    = "bare SET PX of an encoded session"
	nameLeastStore = "a script of only the four commands of a store, with one subscriber"
	nameStoreRedis = "store in a RedisStorage, without subscribers"
	nameStore      = "store in a RoutingStorage, which subscribes"
	nameStoreAgain = "store in a RoutingStorage, of a loaded session"
)

// operation is one row, and the one that it is compared with.
type operation struct {
	name   string
	over   string
	loader func() loader
}

func measureRemote(ctx context.Context, c config, s *server, keys *fixture) ([]remoteRow, error) {
	e := env{server: s, keys: keys, speed: 1}
	if err := keys.seed(ctx, s.admin); err != nil {
		return nil, err
	}
	client := s.client()
	defer client.Close()
	bare, err := openGetex(ctx, e)
	if err != nil {
		return nil, err
	}
	defer bare.close()
	// Far fewer entries than sessions: each is evicted long before it is asked for again.
	missing, closeMissing, err := e.routing(len(keys.ids) / 20)
	if err != nil {
		return nil, err
	}
	defer closeMissing()
	// Separate prefixes keep events apart: a store costs more with each subscriber.
	alone := session.NewRedisStorage(client, ttl, session.WithKeyPrefix("alone:"))
	heard, closeHeard, err := e.routingOn("heard:", localEntries)
	if err != nil {
		return nil, err
	}
	defer closeHeard()
	again, closeAgain, err := e.routingOn("again:", localEntries)
	if err != nil {
		return nil, err
	}
	defer closeAgain()
	least, closeLeast, err := leastStore(ctx, client, keys)
	if err != nil {
		return nil, err
	}
	defer closeLeast()

	operations := []operation{
		{nameBareGetex, nameBareGetex, bare.loader},
		{nameRemote, nameBareGetex, func() loader { return loadFrom(ctx, session.NewRedisStorage(client, ttl), keys) }},
		{nameMiss, nameBareGetex, func() loader { return loadFrom(ctx, missing, keys) }},
		{nameBareSet, nameBareSet, func() loader {
			return func(i int) error { return client.Set(ctx, keys.keys[i], keys.json[i], ttl).Err() }
		}},
		{nameLeastStore, nameBareSet, func() loader { return least }},
		{nameStoreRedis, nameBareSet, func() loader { return storeIn(ctx, alone, keys) }},
		{nameStore, nameBareSet, func() loader { return storeIn(ctx, heard, keys) }},
		{nameStoreAgain, nameBareSet, storeAgainIn(ctx, again, keys)},
	}
	rows, err := measureOperations(ctx, c, keys, operations)
	if hits := missing.Stats().Hits; err == nil && hits > 0 {
		err = fmt.Errorf("%d loads that should have missed were hits", hits)
	}
	return rows, err
}

func measureOperations(ctx context.Context, c config, keys *fixture, operations []operation) ([]remoteRow, error) {
	// Each goroutine has its own half of the sessions, so that none finds what the other has just loaded.
	all := order(len(keys.ids), 0)
	orders := [][]int{all[:len(all)/2], all[len(all)/2:]}
	ns, allocs, err := c.inTurns(len(operations), func(i int) (ns, allocs float64, err error) {
		o := operations[i]
		ns, allocs, err = slot(ctx, []loader{o.loader(), o.loader()}, orders, c.slot)
		if err != nil {
			err = fmt.Errorf("%s: %w", o.name, err)
		}
		return ns, allocs, err
	})
	if err != nil {
		return nil, err
	}
	times := make(map[string]series, len(operations))
	rows := make([]remoteRow, len(operations))
	for i, o := range operations {
		times[o.name] = ns[i]
		rows[i] = remoteRow{Name: o.name, NS: ns[i], Over: ns[i].over(times[o.over]), Allocs: allocs[i]}
	}
	return rows, nil
}

func loadFrom(ctx context.Context, storage session.Storage, keys *fixture) loader {
	return func(i int) error {
		s, err := storage.Load(ctx, keys.ids[i])
		if err != nil {
			return err
		}
		want, _ := keys.sessions[i].Get(backendKey)
		if got, _ := s.Get(backendKey); s.ID() != keys.ids[i] || got != want {
			return errWrong
		}
		return nil
	}
}

// storeIn creates or overwrites.
func storeIn(ctx context.Context, storage session.Storage, keys *fixture) loader {
	return func(i int) error { return storage.Store(ctx, keys.sessions[i].Detached()) }
}

// storeAgainIn compares and sets, after the first time.
func storeAgainIn(ctx context.Context, storage session.Storage, keys *fixture) func() loader {
	own := make([]*session.Session, len(keys.sessions))
	for i, s := range keys.sessions {
		own[i] = s.Detached()
	}
	return func() loader {
		return func(i int) error { return storage.Store(ctx, own[i]) }
	}
}

// leastStore executes the commands that every store needs: read the revision, read the time, publish, write. It leaves
// out the store's own work: it compares and computes nothing, and its subscriber ignores what it receives.
func leastStore(ctx context.Context, client *redis.Client, keys *fixture) (loader, func(), error) {
	const channel = "least:!events"
	script := redis.NewScript(`
		redis.call('GETRANGE', KEYS[1], 0, 16)
		redis.call('TIME')
		redis.call('PUBLISH', ARGV[3], ARGV[4])
		return redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])`)
	if err := script.Load(ctx, client).Err(); err != nil {
		return nil, nil, err
	}
	subscription := client.Subscribe(ctx, channel)
	if _, err := subscription.Receive(ctx); err != nil {
		return nil, nil, err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			if _, err := subscription.Receive(ctx); err != nil {
				return
			}
		}
	}()
	store := func(i int) error {
		arguments := []any{keys.json[i], ttl.Milliseconds(), channel, keys.ids[i]}
		return script.EvalSha(ctx, client, []string{keys.keys[i]}, arguments...).Err()
	}
	return store, func() {
		_ = subscription.Close()
		<-done
	}, nil
}
