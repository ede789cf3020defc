package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/go-redis/cache/v9"
	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/redis/go-redis/v9"
	"github.com/redis/rueidis"

	"github.com/seed34611480/session"
)

func openGetex(ctx context.Context, e env) (*opened, error) {
	client := e.server.client()
	return &opened{close: closing(client), loader: func() loader {
		return func(i int) error {
			data, err := client.GetEx(ctx, e.keys.keys[i], ttl).Bytes()
			if err != nil {
				return err
			}
			return e.keys.checkJSON(i, data)
		}
	}}, nil
}

func openExpire(ctx context.Context, e env) (*opened, error) {
	client := e.server.client()
	local, err := lru.New[string, *session.Session](localEntries)
	if err != nil {
		return nil, err
	}
	for i, id := range e.keys.ids {
		local.Add(id, e.keys.sessions[i])
	}
	return &opened{close: closing(client), loader: func() loader {
		checker := e.keys.checker()
		return func(i int) error {
			s, _ := local.Get(e.keys.ids[i])
			if err := client.Expire(ctx, e.keys.keys[i], ttl).Err(); err != nil {
				return err
			}
			return checker.check(i, s)
		}
	}}, nil
}

func openGoRedis(ctx context.Context, e env) (*opened, error) {
	client := redis.NewClient(&redis.Options{
		Addr: e.server.addr, Protocol: 3,
		ClientSideCacheConfig: &redis.ClientSideCacheConfig{MaxEntries: localEntries},
	})
	return &opened{close: closing(client), loader: func() loader {
		return func(i int) error {
			data, err := client.Get(ctx, e.keys.keys[i]).Bytes()
			if err != nil {
				return err
			}
			return e.keys.checkJSON(i, data)
		}
	}}, nil
}

// openCache fills the cache through the library, which has its own encoding.
func openCache(ctx context.Context, e env) (*opened, error) {
	client := e.server.client()
	cached := cache.New(&cache.Options{
		Redis: client, LocalCache: cache.NewTinyLFU(localEntries, e.scaled(time.Minute)),
	})
	keys := make([]string, len(e.keys.ids))
	for i, s := range e.keys.sessions {
		keys[i] = "cache:" + s.ID()
		record := s.Record()
		if err := cached.Set(&cache.Item{Ctx: ctx, Key: keys[i], Value: &record, TTL: ttl}); err != nil {
			return nil, err
		}
	}
	return &opened{close: closing(client), loader: func() loader {
		return func(i int) error {
			var r session.Record
			if err := cached.Get(ctx, keys[i], &r); err != nil {
				return err
			}
			return e.keys.checkRecord(i, &r)
		}
	}}, nil
}

func openRueidis(ctx context.Context, e env) (*opened, error) {
	return openDoCache(e, func(client rueidis.Client, i int) error {
		var r session.Record
		get := client.B().Get().Key(e.keys.keys[i]).Cache()
		if err := client.DoCache(ctx, get, e.scaled(time.Minute)).DecodeJSON(&r); err != nil {
			return err
		}
		return e.keys.checkRecord(i, &r)
	})
}

func openRueidisPlain(ctx context.Context, e env) (*opened, error) {
	return openDoCache(e, func(client rueidis.Client, i int) error {
		get := client.B().Get().Key(e.keys.keys[i]).Cache()
		text, err := client.DoCache(ctx, get, e.scaled(time.Minute)).ToString()
		if err != nil {
			return err
		}
		return e.keys.checkText(i, text)
	})
}

func openDoCache(e env, load func(client rueidis.Client, i int) error) (*opened, error) {
	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{e.server.addr}})
	if err != nil {
		return nil, fmt.Errorf("rueidis: %w", err)
	}
	return &opened{close: client.Close, loader: func() loader {
		return func(i int) error { return load(client, i) }
	}}, nil
}

func (f *fixture) checkJSON(i int, data []byte) error {
	var r session.Record
	if err := json.Unmarshal(data, &r); err != nil {
		return err
	}
	return f.checkRecord(i, &r)
}

func closing(client *redis.Client) func() { return func() { _ = client.Close() } }
