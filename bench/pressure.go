package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/internal/netfault"
)

// The load is a multiple of the critical one: the number of sessions that the connections to Redis can ask for once per
// MaxStaleness, as they have to while no change events flow.
const (
	pressureStaleness = time.Second
	pressureRoundTrip = 10 * time.Millisecond
	pressurePool      = 2
	criticalSessions  = int(pressureStaleness/pressureRoundTrip) * pressurePool
	pressureFactor    = 5
	pressureSessions  = pressureFactor * criticalSessions
	pressureInterval  = 500 * time.Millisecond // between two loads of a session
)

// pressureTimes says how often and how long to measure.
type pressureTimes struct {
	rounds             int
	early, late, pause time.Duration
}

// pressureRow is what loads meet after an event. Times count from its end.
type pressureRow struct {
	Name, Event string
	Leased      series // ns, until the replica is leased again; empty for a storage without leases
	Early, Late series // share of the loads that fail
	Asked       series // number of loads that asked Redis, from the beginning of the event
}

var errNeverLeased = errors.New("the replica is not leased again")

// pressureEvents are what happens to the replica. The last one happens to a proxy that asks Redis for each request.
var pressureEvents = []struct {
	name, event string
	plain       bool
	do          func(ctx context.Context, p *pressured) error
}{
	{nameProxyOurs, "the subscription is lost", false, func(ctx context.Context, p *pressured) error {
		return p.server.admin.Do(ctx, "CLIENT", "KILL", "TYPE", "pubsub").Err()
	}},
	{nameProxyOurs, "a replica starts cold", false, func(context.Context, *pressured) error { return nil }},
	{nameProxyOurs, "Redis restarts", false, func(ctx context.Context, p *pressured) error {
		return p.server.restart(ctx)
	}},
	{nameProxyOurs, "Redis pauses", false, func(_ context.Context, p *pressured) error {
		return p.server.pause(p.times.pause)
	}},
	{namePlainProxy, "none", true, func(context.Context, *pressured) error { return nil }},
}

// coldStart is the event before which a replica has loaded nothing.
const coldStart = 1

func measurePressure(ctx context.Context, c config) ([]pressureRow, error) {
	rows := make([]pressureRow, len(pressureEvents))
	for range c.pressure.rounds {
		for i, e := range pressureEvents {
			rows[i].Name, rows[i].Event = e.name, e.event
			if err := measureEvent(ctx, c.pressure, i, &rows[i]); err != nil {
				return nil, fmt.Errorf("%s: %w", e.event, err)
			}
		}
	}
	return rows, nil
}

// pressured is a storage under load.
type pressured struct {
	times         pressureTimes
	server        *server
	storage       session.Storage
	loads, failed atomic.Uint64
}

func measureEvent(ctx context.Context, times pressureTimes, i int, row *pressureRow) error {
	server, err := startRedis(ctx, "--appendonly", "yes")
	if err != nil {
		return err
	}
	defer server.close()
	ids, err := proxySessions(ctx, server, pressureSessions, "")
	if err != nil {
		return err
	}
	link, err := netfault.New(server.addr)
	if err != nil {
		return err
	}
	defer link.Close()
	client := redis.NewClient(&redis.Options{
		Addr: link.Addr(), ContextTimeoutEnabled: true, PoolSize: pressurePool,
		DialTimeout: time.Second, ReadTimeout: time.Second, WriteTimeout: time.Second, DialerRetries: 1, MaxRetries: 1,
	})
	defer client.Close()
	remote := session.NewRedisStorage(client, ttl)
	p := &pressured{times: times, server: server, storage: remote}
	var replica *session.RoutingStorage
	if !pressureEvents[i].plain {
		replica = session.NewRoutingStorage(remote, 2*len(ids), session.WithMaxStaleness(pressureStaleness), quiet())
		defer replica.Close()
		p.storage = replica
	}
	if i != coldStart && replica != nil {
		for _, id := range ids {
			if _, err := replica.Load(ctx, id); err != nil {
				return err
			}
		}
		if _, err := leasedAfter(ctx, replica, time.Now()); err != nil {
			return err
		}
	}
	link.SetBoth(netfault.Fault{Latency: pressureRoundTrip / 2})
	defer p.load(ctx, ids)()
	if i != coldStart {
		time.Sleep(pressureInterval) // until all users have begun
	}
	return p.observe(ctx, pressureEvents[i].do, replica, row)
}

// load has each session loaded at an interval until stop is called.
func (p *pressured) load(ctx context.Context, ids []string) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var users sync.WaitGroup
	for i, id := range ids {
		users.Go(func() {
			begin := time.NewTimer(pressureInterval * time.Duration(i) / time.Duration(len(ids)))
			defer begin.Stop()
			select {
			case <-begin.C:
			case <-ctx.Done():
				return
			}
			ticker := time.NewTicker(pressureInterval)
			defer ticker.Stop()
			for {
				_, err := p.storage.Load(ctx, id)
				if ctx.Err() != nil {
					return
				}
				p.loads.Add(1)
				if err != nil {
					p.failed.Add(1)
				}
				select {
				case <-ticker.C:
				case <-ctx.Done():
					return
				}
			}
		})
	}
	return func() {
		cancel()
		users.Wait()
	}
}

// observe lets the event happen, and counts what fails after it.
func (p *pressured) observe(
	ctx context.Context, do func(context.Context, *pressured) error, replica *session.RoutingStorage, row *pressureRow,
) error {
	var asked uint64
	if replica != nil {
		asked = replica.Stats().RemoteLoads
	}
	if err := do(ctx, p); err != nil {
		return err
	}
	ended := time.Now()
	failing := p.share()
	var leased float64
	if replica != nil {
		after, err := leasedAfter(ctx, replica, ended)
		if err != nil {
			return err
		}
		leased = float64(after)
	}
	time.Sleep(time.Until(ended.Add(p.times.early)))
	early := failing()
	failing = p.share()
	time.Sleep(p.times.late)
	row.Early, row.Late = append(row.Early, early), append(row.Late, failing())
	if replica != nil {
		row.Leased = append(row.Leased, leased)
		row.Asked = append(row.Asked, float64(replica.Stats().RemoteLoads-asked))
	}
	return nil
}

// share returns a function that returns the share of the loads that have failed since.
func (p *pressured) share() func() float64 {
	loads, failed := p.loads.Load(), p.failed.Load()
	return func() float64 { return float64(p.failed.Load()-failed) / float64(max(1, p.loads.Load()-loads)) }
}

// leasedAfter waits until a proof was sent after an instant.
func leasedAfter(ctx context.Context, replica *session.RoutingStorage, start time.Time) (time.Duration, error) {
	for ctx.Err() == nil && time.Since(start) < time.Minute {
		s := replica.Stats()
		if since := time.Since(start); s.Mode == session.ModeLeased && s.ProofAge >= 0 && s.ProofAge < since {
			return since, nil
		}
		time.Sleep(time.Millisecond)
	}
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	return 0, errNeverLeased
}
