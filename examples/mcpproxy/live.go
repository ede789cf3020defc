package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	liveSessions = 6
	askEvery     = 100 * time.Millisecond // each replica for each session
	askSooner    = 50 * time.Millisecond  // for one that has ended, and is served still
	tick         = 10 * time.Millisecond
	shownFor     = 5 * time.Second // a session that has ended on all replicas
	maxNews      = 50
)

// live is what the page shows: replicas with the library's own MaxStaleness, and sessions that all of them are asked
// about all the time.
type live struct {
	demo     *demo
	replicas []*replica
	asking   sync.WaitGroup
	end      context.CancelFunc

	mu       sync.Mutex // protects following fields
	sessions []*shown
	opened   int // sessions so far
	news     []piece
	told     int // pieces of news so far
}

// shown is a session on the page, which knows it by a number: its id is a secret.
type shown struct {
	number  int
	client  *client
	ended   time.Time // when Delete returned; zero: it goes on
	answers []said    // of each replica
}

// said is what a replica answers to a request of a session.
type said struct {
	asked  time.Time     // the latest time
	status int           // of HTTP; 0: it has not answered yet
	served time.Duration // from the end of the session to the latest request that was served all the same,
	after  time.Duration // and to the first answer that it has ended
}

// piece is a piece of news.
type piece struct {
	Number int    `json:"number"`
	At     string `json:"at"`
	Text   string `json:"text"`
}

// goLive replaces the replicas of the story.
func (d *demo) goLive(ctx context.Context) (*live, error) {
	for _, r := range d.running() {
		if err := d.retire(ctx, r); err != nil {
			return nil, err
		}
	}
	l := &live{demo: d}
	d.replicas = nil
	for range 3 {
		r, err := d.addReplica(ctx, livePace)
		if err != nil {
			return nil, err
		}
		l.replicas = append(l.replicas, r)
	}
	l.refill(ctx)
	ctx, l.end = context.WithCancel(ctx)
	for i := range l.replicas {
		l.asking.Go(func() { l.ask(ctx, i) })
		l.asking.Go(func() { l.readJournal(ctx, l.replicas[i]) })
	}
	l.asking.Go(func() {
		for sleep(ctx, time.Second) {
			l.refill(ctx)
		}
	})
	return l, nil
}

// stop ends what goLive has started, but for the replicas and clients, which are the demo's.
func (l *live) stop() {
	l.end()
	l.asking.Wait()
}

// ask asks one replica about all sessions, as their clients would.
func (l *live) ask(ctx context.Context, replica int) {
	for sleep(ctx, tick) {
		for _, s := range l.toAsk(replica) {
			asked := time.Now()
			if v, err := l.demo.prober.ask(ctx, l.replicas[replica], s.client.probed()); err == nil {
				l.heard(replica, s, asked, v)
			}
		}
	}
}

// toAsk returns the sessions that it is time to ask a replica about.
func (l *live) toAsk(replica int) []*shown {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	var due []*shown
	for _, s := range l.sessions {
		last := &s.answers[replica]
		wait := askEvery
		switch {
		case last.asked.Before(s.ended):
			wait = 0
		case last.served > 0 && last.after == 0:
			wait = askSooner
		}
		if now.Sub(last.asked) >= wait {
			last.asked = now
			due = append(due, s)
		}
	}
	return due
}

// heard notes an answer. When the session has ended while it was on its way, it says nothing.
func (l *live) heard(replica int, s *shown, asked time.Time, v verdict) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if asked.Before(s.ended) {
		return
	}
	now := &s.answers[replica]
	now.status = v.status
	if !s.ended.IsZero() && answers(v) {
		now.served = asked.Sub(s.ended)
	}
	if s.ended.IsZero() || !gone(v) || now.after > 0 {
		return
	}
	now.after = max(time.Since(s.ended), time.Millisecond)
	l.tellLockedf("%s answers 404 for session %d, %s after Delete", l.replicas[replica].name, s.number, brief(now.after))
}

// refill opens sessions in the place of those that have been shown long enough.
func (l *live) refill(ctx context.Context) {
	l.mu.Lock()
	old := func(s *shown) bool {
		served := slices.ContainsFunc(s.answers, func(a said) bool { return a.after == 0 })
		return !s.ended.IsZero() && !served && time.Since(s.ended) > shownFor
	}
	left := slices.DeleteFunc(slices.Clone(l.sessions), func(s *shown) bool { return !old(s) })
	l.sessions = slices.DeleteFunc(l.sessions, old)
	missing := liveSessions - len(l.sessions)
	l.mu.Unlock()
	for _, s := range left {
		_ = s.client.close()
	}
	for range missing {
		c, err := connect(ctx, "a session", guest, l.demo.balancer.url, withoutStream)
		if err != nil {
			return // Redis is away; later
		}
		l.mu.Lock()
		l.opened++
		c.name = "session " + strconv.Itoa(l.opened)
		l.sessions = append(l.sessions, &shown{number: l.opened, client: c, answers: make([]said, len(l.replicas))})
		l.demo.clients = append(l.demo.clients, c)
		l.mu.Unlock()
	}
}

// remove ends a session, as an administrator would, through the first replica.
func (l *live) remove(ctx context.Context, number int) error {
	l.mu.Lock()
	i := slices.IndexFunc(l.sessions, func(s *shown) bool { return s.number == number && s.ended.IsZero() })
	if i < 0 {
		l.mu.Unlock()
		return errors.New("there is no such session")
	}
	s := l.sessions[i]
	l.mu.Unlock()
	err := l.replicas[0].sessions.Delete(ctx, s.client.session.ID())
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.tellLockedf("session %d could not be deleted: Redis does not answer", number)
		return err
	}
	s.ended = time.Now()
	for i := range s.answers {
		s.answers[i].status = 0
	}
	l.tellLockedf("session %d is deleted, through %s", number, l.replicas[0].name)
	return nil
}

// cutEvents cuts a replica off from change events, and from nothing else, or ends that.
func (l *live) cutEvents(replica int, cut bool) {
	r := l.replicas[replica]
	r.line.eventsCut.Store(cut)
	if cut {
		l.tellf("%s is cut off from change events", r.name)
	} else {
		l.tellf("%s gets change events again", r.name)
	}
}

// stopRedis breaks all connections to Redis and allows no new ones, or ends that.
func (l *live) stopRedis(stop bool) {
	if stop {
		l.demo.store.takeAway()
		l.tellf("Redis is stopped")
		return
	}
	l.demo.store.bringBack()
	l.tellf("Redis is back")
}

// readJournal tells what a replica logs.
func (l *live) readJournal(ctx context.Context, r *replica) {
	for read := 0; sleep(ctx, askEvery); {
		entries := r.journal.since(read)
		read += len(entries)
		for _, entry := range entries {
			message, _, _ := strings.Cut(entry, "\n")
			level, text, _ := strings.Cut(message, " ")
			l.tellf("%s logs %s: %s", r.name, level, strings.TrimPrefix(text, "session: "))
		}
	}
}

func (l *live) tellf(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tellLockedf(format, args...)
}

func (l *live) tellLockedf(format string, args ...any) {
	l.told++
	l.news = append(l.news, piece{l.told, time.Now().Format("15:04:05.0"), fmt.Sprintf(format, args...)})
	l.news = l.news[max(0, len(l.news)-maxNews):]
}

// sleep reports whether the context goes on after d.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
