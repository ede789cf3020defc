package main

import (
	"context"
	"fmt"
	"time"
)

// steadyRow is what a design sends to Redis while each session is loaded 10 times per second, and nothing is written.
type steadyRow struct {
	Name     string
	Alive    string  // whether sessions in use stay alive in Redis
	Sent     float64 // commands from clients per 1,000 loads
	Executed float64 // commands per 1,000 loads, including those called by scripts
	Speed    int     // how many times faster than the clock
	Pace     float64 // loads made over loads planned; 0: there was no plan
}

// steadyCase is a design, and the length of its cycle.
type steadyCase struct {
	name  string
	alive string
	open  func(ctx context.Context, e env) (*opened, error)
	// After this time the commands repeat, except for those that each load sends. 0: there are no others.
	cycle time.Duration
	// a load decodes and takes microseconds, so time can run only a third as fast
	decodes bool
	// all commands are sent by scripts, except EVALSHA
	scripts bool
	// the program sends EXPIRE for a session in use once in a cycle, because the cache does not
	expire bool
}

const (
	loadsPerSecond = 10
	maxRefresh     = ttl / 4 // the largest RefreshAfter that the library allows

	nameSteadyOurs = "this library, RefreshAfter 1 min"
	nameSteadySlow = "this library, RefreshAfter 7.5 min"
	oncePerMinute  = " + EXPIRE each minute"

	yes, no, byTheProgram = "yes", "no", "if the program sends EXPIRE"
)

func openSlow(ctx context.Context, e env) (*opened, error) {
	return openRouting(ctx, e, localEntries, maxRefresh)
}

func steadyCases() []steadyCase {
	return []steadyCase{
		{name: nameGetex, alive: yes, open: openGetex},
		{name: nameExpire, alive: yes, open: openExpire},
		{name: nameGoRedis, alive: no, open: openGoRedis, cycle: time.Minute, decodes: true},
		{
			name: nameGoRedis + oncePerMinute, alive: byTheProgram, open: openGoRedis,
			cycle: time.Minute, decodes: true, expire: true,
		},
		{name: nameCache, alive: no, open: openCache, cycle: time.Minute, decodes: true},
		{name: nameRueidis, alive: no, open: openRueidis, cycle: time.Minute, decodes: true},
		{
			name: nameRueidis + oncePerMinute, alive: byTheProgram, open: openRueidis,
			cycle: time.Minute, decodes: true, expire: true,
		},
		{name: nameSteadyOurs, alive: yes, open: openOurs, cycle: time.Minute, scripts: true},
		{name: nameSteadySlow, alive: yes, open: openSlow, cycle: maxRefresh, scripts: true},
	}
}

func measureSteady(ctx context.Context, c config, s *server, keys *fixture) ([]steadyRow, error) {
	var rows []steadyRow
	for _, each := range steadyCases() {
		e := env{server: s, keys: keys, speed: c.speed}
		if each.decodes {
			e.speed /= 3
		}
		row, err := each.measure(ctx, e)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", each.name, err)
		}
		rows = append(rows, row)
	}
	return rows, nil
}

func (c steadyCase) measure(ctx context.Context, e env) (steadyRow, error) {
	if err := e.keys.seed(ctx, e.server.admin); err != nil {
		return steadyRow{}, err
	}
	o, err := c.open(ctx, e)
	if err != nil {
		return steadyRow{}, err
	}
	defer o.close()
	load := o.loader()
	if c.expire {
		load = c.keepAlive(ctx, e, load)
	}
	// The sessions begin one after the other over a cycle, like users who arrive, so that their refreshes do not coincide.
	if _, err := c.traffic(ctx, e, load, c.cycle, c.cycle); err != nil {
		return steadyRow{}, err
	}
	before, err := e.server.calls(ctx)
	if err != nil {
		return steadyRow{}, err
	}
	start := time.Now()
	loads, err := c.traffic(ctx, e, load, c.cycle, 0)
	planned := time.Since(start).Seconds() * float64(e.speed*loadsPerSecond*len(e.keys.ids))
	if err != nil {
		return steadyRow{}, err
	}
	after, err := e.server.calls(ctx)
	if err != nil {
		return steadyRow{}, err
	}
	commands := after.since(before)
	sent := commands.sum()
	if c.scripts {
		sent = commands["evalsha"] + commands["eval"]
	}
	perThousand := 1000 / float64(loads)
	row := steadyRow{
		Name: c.name, Alive: c.alive, Speed: e.speed,
		Sent:     float64(sent) * perThousand,
		Executed: float64(commands.sum()) * perThousand,
	}
	if c.cycle > 0 {
		row.Pace = float64(loads) / planned
	}
	return row, nil
}

// traffic loads all sessions, once per tick, for a period of scaled time. The sessions begin one after the other within
// beginning, which is scaled too.
func (c steadyCase) traffic(
	ctx context.Context, e env, load loader, period, beginning time.Duration,
) (loads int, err error) {
	tick := e.scaled(time.Second / loadsPerSecond)
	start := time.Now()
	for n := 0; ; n++ {
		present, passed := len(e.keys.ids), time.Since(start)
		if begun := e.scaled(beginning); passed < begun {
			present = int(float64(present) * float64(passed) / float64(begun))
		}
		for i := range present {
			if err := load(i); err != nil {
				return 0, err
			}
		}
		loads += present
		if passed >= e.scaled(period) {
			return loads, ctx.Err()
		}
		time.Sleep(time.Until(start.Add(time.Duration(n+1) * tick)))
	}
}

// keepAlive does what a program must do to use such a cache for sessions with a sliding TTL.
func (c steadyCase) keepAlive(ctx context.Context, e env, load loader) loader {
	sent := make([]time.Time, len(e.keys.ids))
	for i := range sent {
		sent[i] = time.Now()
	}
	return func(i int) error {
		if time.Since(sent[i]) >= e.scaled(c.cycle) {
			sent[i] = time.Now()
			if err := e.server.admin.Expire(ctx, e.keys.keys[i], ttl).Err(); err != nil {
				return err
			}
		}
		return load(i)
	}
}
