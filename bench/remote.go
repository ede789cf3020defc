package main

import (
	"context"
	"fmt"

	"github.com/seed34611480/session"
)

// remoteRow is what an operation takes that has to go to Redis, with two goroutines.
type remoteRow struct {
	Name   string
	NS     series
	Allocs series
}

const (
	nameBareGetex  = "bare GETEX + JSON decode"
	nameMiss       = "miss of a RoutingStorage"
	nameBareSet    = "bare SET PX of an encoded session"
	nameRemote     = "load from a RedisStorage"
	nameStore      = "store in a RoutingStorage"
	nameStoreRedis = "store in a RedisStorage"
)

func measureRemote(ctx context.Context, c config, s *server, keys *fixture) ([]remoteRow, error) {
	e := env{server: s, keys: keys, speed: 1}
	if err := keys.seed(ctx, s.admin); err != nil {
		return nil, err
	}
	client := s.client()
	defer client.Close()
	redis := session.NewRedisStorage(client, ttl)
	// Far fewer entries than sessions: each is evicted long before it is asked for again.
	missing, closeMissing, err := e.routing(len(keys.ids) / 20)
	if err != nil {
		return nil, err
	}
	defer closeMissing()
	storing, closeStoring, err := e.routing(localEntries)
	if err != nil {
		return nil, err
	}
	defer closeStoring()
	bare, err := openGetex(ctx, e)
	if err != nil {
		return nil, err
	}
	defer bare.close()

	operations := []struct {
		name   string
		loader func() loader
	}{
		{nameBareGetex, bare.loader},
		{nameRemote, func() loader { return loadFrom(ctx, redis, keys) }},
		{nameMiss, func() loader { return loadFrom(ctx, missing, keys) }},
		{nameBareSet, func() loader {
			return func(i int) error { return client.Set(ctx, keys.keys[i], keys.json[i], ttl).Err() }
		}},
		{nameStoreRedis, func() loader { return storeIn(ctx, redis, keys) }},
		{nameStore, func() loader { return storeIn(ctx, storing, keys) }},
	}
	// Each goroutine has its own half of the sessions: none finds what the other has just loaded.
	all := order(len(keys.ids), 0)
	orders := [][]int{all[:len(all)/2], all[len(all)/2:]}
	rows := make([]remoteRow, len(operations))
	for range c.rounds {
		for i, o := range operations {
			ns, allocs, err := slot(ctx, []loader{o.loader(), o.loader()}, orders, c.slot)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", o.name, err)
			}
			rows[i].Name = o.name
			rows[i].NS, rows[i].Allocs = append(rows[i].NS, ns), append(rows[i].Allocs, allocs)
		}
	}
	if hits := missing.Stats().Hits; hits > 0 {
		return nil, fmt.Errorf("%d loads that should have missed were hits", hits)
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

// storeIn overwrites: sessions with a revision would conflict with those of the other storage that is measured.
func storeIn(ctx context.Context, storage session.Storage, keys *fixture) loader {
	return func(i int) error { return storage.Store(ctx, keys.sessions[i].Detached()) }
}
