package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/seed34611480/session"
)

const localEntries = 10_000 // size of every local tier, large enough for all sessions

// loader loads the i-th session and checks it. It belongs to one goroutine.
type loader func(i int) error

// design is one way to get a session for a request.
type design struct {
	name  string
	setUp string // why it is configured this way
	open  func(ctx context.Context, e env) (*opened, error)
}

// env is the environment of a design.
type env struct {
	server *server
	keys   *fixture
	speed  int // how many times faster than the clock time passes, so that a test takes seconds instead of minutes
}

func (e env) scaled(d time.Duration) time.Duration { return d / time.Duration(e.speed) }

type opened struct {
	loader func() loader
	close  func()
}

// Names of the designs that others are compared with.
const (
	nameOurs         = "this library, RoutingStorage hit"
	nameOursSmall    = "this library, at most 1,024 entries"
	nameGetex        = "GETEX + JSON decode per request"
	nameExpire       = "LRU + EXPIRE per hit"
	nameGoRedis      = "go-redis client-side cache + JSON decode"
	nameRueidis      = "rueidis DoCache + JSON decode"
	nameRueidisPlain = "rueidis DoCache, not decoded"
	nameCache        = "go-redis/cache with TinyLFU"
	nameLRU          = "golang-lru Get alone"
	nameOtter        = "otter v2 GetIfPresent alone"
	nameClock        = "reading the monotonic clock"
	nameNothing      = "nothing: the loop that measures"
)

func designs() []design {
	return []design{
		{nameGetex, "what a store without a local tier does; a plain struct is decoded", openGetex},
		{nameExpire, "the cache spares the decoding, the round trip remains", openExpire},
		{nameGoRedis, "`Protocol: 3`, `ClientSideCacheConfig{MaxEntries: 10_000}`, as its README", openGoRedis},
		{nameCache, "`cache.NewTinyLFU(10_000, time.Minute)`; its README has 1,000, too few for all sessions", openCache},
		{nameRueidis, "client TTL of a minute, as its README; `DecodeJSON`", openRueidis},
		{nameRueidisPlain, "the same; the text is compared", openRueidisPlain},
		{nameLRU, "`lru.New(10_000)`", openLRU},
		{nameOtter, "`MaximumSize: 10_000`, no expiry", openOtter},
		{nameClock, "`time.Since`, which every hit of ours needs once", openClock},
		{nameOurs, "defaults, on a RedisStorage with its defaults; leased", openOurs},
		{nameOursSmall, "the same, with hardly more room than the sessions need", openOursSmall},
		{nameNothing, "contained in each of the above", openNothing},
	}
}

// warm loads every session once, so that the loads that follow are hits if the design has hits.
func warm(loaders []loader, keys *fixture) error {
	for _, load := range loaders {
		for i := range keys.ids {
			if err := load(i); err != nil {
				return err
			}
		}
	}
	return nil
}

// routing makes a RoutingStorage with its own client, and waits until it has a lease.
func (e env) routing(maxEntries int, opts ...session.RoutingOption) (*session.RoutingStorage, func(), error) {
	return e.routingOn("session:", maxEntries, opts...)
}

// routingOn is routing with another key prefix.
func (e env) routingOn(
	prefix string, maxEntries int, opts ...session.RoutingOption,
) (*session.RoutingStorage, func(), error) {
	client := e.server.client()
	opts = append(opts, session.WithMaxStaleness(e.scaled(2*time.Second)), quiet())
	remote := session.NewRedisStorage(client, e.scaled(ttl), session.WithKeyPrefix(prefix))
	r := session.NewRoutingStorage(remote, maxEntries, opts...)
	closeBoth := func() {
		_ = r.Close()
		_ = client.Close()
	}
	for range 1000 {
		if r.Stats().Mode == session.ModeLeased {
			return r, closeBoth, nil
		}
		time.Sleep(5 * time.Millisecond)
	}
	closeBoth()
	return nil, nil, errors.New("change events do not flow")
}

func openOurs(ctx context.Context, e env) (*opened, error) {
	return openRouting(ctx, e, localEntries, time.Minute)
}

func openOursSmall(ctx context.Context, e env) (*opened, error) {
	return openRouting(ctx, e, 1024, time.Minute)
}

func openRouting(ctx context.Context, e env, entries int, refreshAfter time.Duration) (*opened, error) {
	r, closeBoth, err := e.routing(entries, session.WithRefreshAfter(e.scaled(refreshAfter)))
	if err != nil {
		return nil, fmt.Errorf("routing storage: %w", err)
	}
	return &opened{close: closeBoth, loader: func() loader {
		checker, ids := e.keys.checker(), e.keys.ids
		return func(i int) error {
			s, err := r.Load(ctx, ids[i])
			if err != nil {
				return err
			}
			return checker.check(i, s)
		}
	}}, nil
}
