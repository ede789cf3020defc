package nearcache

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing/synctest"
	"time"
)

var (
	errAbsent = errors.New("the source does not have it")
	errLink   = errors.New("connection reset by peer")
)

// state is a value. Its revision is what Current and Unchanged compare; a test may stamp it anew.
type state struct {
	id, v    string
	idle     time.Duration // its own idle lifetime: 0 for the source's, negative for none
	revision atomic.Uint64
}

func newState(id, v string, revision uint64) *state {
	s := &state{id: id, v: v}
	s.revision.Store(revision)
	return s
}

func current(s *state, revision uint64) bool { return s.revision.Load() == revision }

// source keeps states, and forgets those that are not used for its TTL, or their own idle lifetime. A test can stop its
// calls at the request, before they have an effect, or at the reply, when they had it. It counts the loads and the
// revalidations.
type source struct {
	ttl    time.Duration // 0: for ever
	events chan event    // what the watcher reports

	mu       sync.Mutex // protects following fields
	states   map[string]*record
	revision uint64          // of the last change
	dead     map[string]bool // the source refuses to answer for these
	silent   map[string]bool // it does not answer at all for these
	stops    map[stopAt][]*stop
	held     []*stop
	loads    int
	loading  int // loads that have not been answered

	mostLoads int   // the most of them at a time
	batches   []int // how many values each revalidation asked for
	asking    int   // revalidations that have not been answered
	mostAsk   int   // the most of them at a time
}

type record struct {
	v        string
	idle     time.Duration
	revision uint64
	usedAt   time.Time
}

type stopAt struct {
	op  string // "load", "store", "remove", "unchanged"
	way string // "request" or "reply"
}

type stop struct {
	release chan struct{}
	once    sync.Once
	ends    bool  // with the call's context
	err     error // what the caller gets instead of the answer
}

func newSource() *source {
	return &source{
		ttl: ttl, events: make(chan event),
		states: make(map[string]*record), dead: make(map[string]bool), silent: make(map[string]bool),
		stops: make(map[stopAt][]*stop),
	}
}

// hold stops the next call of op that is not stopped there already, until the returned function is called. The call
// ignores its context meanwhile.
func (s *source) hold(op, way string) (release func()) {
	at := &stop{release: make(chan struct{})}
	s.add(op, way, at)
	return at.open
}

// holdUntilDone is hold for a call that ends with its context.
func (s *source) holdUntilDone(op, way string) {
	s.add(op, way, &stop{release: make(chan struct{}), ends: true})
}

// fail makes the next calls of op fail: at "request" they have no effect, at "reply" only the answer is lost.
func (s *source) fail(op, way string, err error, calls int) {
	for range calls {
		at := &stop{release: make(chan struct{}), err: err}
		at.open()
		s.add(op, way, at)
	}
}

func (s *stop) open() { s.once.Do(func() { close(s.release) }) }

// recover ends an outage: calls that follow are neither stopped nor fail.
func (s *source) recover() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.stops)
}

// releaseAll lets a test that has failed end.
func (s *source) releaseAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, at := range s.held {
		at.open()
	}
}

func (s *source) add(op, way string, at *stop) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stops[stopAt{op, way}] = append(s.stops[stopAt{op, way}], at)
	s.held = append(s.held, at)
}

func (s *source) pass(ctx context.Context, op, way string) error {
	s.mu.Lock()
	at := stopAt{op, way}
	var next *stop
	if len(s.stops[at]) > 0 {
		next, s.stops[at] = s.stops[at][0], s.stops[at][1:]
	}
	s.mu.Unlock()
	switch {
	case next == nil:
		return nil
	case next.ends:
		select {
		case <-next.release:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	<-next.release
	return next.err
}

// put changes a value behind the back of the cache, as another replica does, and returns its revision.
func (s *source) put(id, v string) (revision uint64) { return s.putIdle(id, v, 0) }

// putIdle is put for a value with an idle lifetime of its own.
func (s *source) putIdle(id, v string, idle time.Duration) (revision uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.revision++
	s.states[id] = &record{v: v, idle: idle, revision: s.revision, usedAt: time.Now()}
	return s.revision
}

// ended reports whether the value was not used for its idle lifetime since an instant.
func (s *source) ended(r *record, usedAt time.Time) bool {
	idle := cmp.Or(r.idle, s.ttl)
	return idle > 0 && time.Since(usedAt) >= idle
}

// silence makes all calls about a value end with their contexts.
func (s *source) silence(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.silent[id] = true
}

// die makes all calls about a value fail.
func (s *source) die(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dead[id] = true
}

// answersFor returns the error of a call about a value that the source does not answer for.
func (s *source) answersFor(ctx context.Context, id string) error {
	s.mu.Lock()
	dead, silent := s.dead[id], s.silent[id]
	s.mu.Unlock()
	switch {
	case silent:
		<-ctx.Done()
		return ctx.Err()
	case dead:
		return errLink
	}
	return nil
}

// drop removes a value behind the back of the cache.
func (s *source) drop(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.states, id)
}

// revisionOf returns the revision of a value, and does not keep it alive.
func (s *source) revisionOf(id string) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.states[id].revision
}

// useLocked returns a value, and keeps it alive. It returns nil if there is none.
func (s *source) useLocked(id string) *record {
	r := s.aliveLocked(id)
	if r != nil {
		r.usedAt = time.Now()
	}
	return r
}

func (s *source) aliveLocked(id string) *record {
	r := s.states[id]
	if r != nil && s.ended(r, r.usedAt) {
		delete(s.states, id)
		return nil
	}
	return r
}

func (s *source) load(ctx context.Context, id string) (*state, uint64, error) {
	s.mu.Lock()
	s.loads++
	s.loading++
	s.mostLoads = max(s.mostLoads, s.loading)
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.loading--
		s.mu.Unlock()
	}()
	if err := s.answersFor(ctx, id); err != nil {
		return nil, 0, err
	}
	if err := s.pass(ctx, "load", "request"); err != nil {
		return nil, 0, err
	}
	var found *state
	s.mu.Lock()
	if r := s.useLocked(id); r != nil {
		found = newState(id, r.v, r.revision)
		found.idle = r.idle
	}
	s.mu.Unlock()
	if err := s.pass(ctx, "load", "reply"); err != nil {
		return nil, 0, err
	}
	if found == nil {
		return nil, 0, errAbsent
	}
	return found, found.revision.Load(), nil
}

func (s *source) unchanged(ctx context.Context, uses []Use) ([]bool, error) {
	s.asks(1)
	defer s.asks(-1)
	s.mu.Lock()
	s.batches = append(s.batches, len(uses))
	s.mu.Unlock()
	for _, u := range uses {
		if err := s.answersFor(ctx, u.ID); err != nil {
			return nil, err
		}
	}
	if err := s.pass(ctx, "unchanged", "request"); err != nil {
		return nil, err
	}
	s.mu.Lock()
	unchanged := make([]bool, len(uses))
	for i, u := range uses {
		r := s.aliveLocked(u.ID)
		unchanged[i] = r != nil && r.revision == u.Revision && !s.ended(r, u.At)
		if unchanged[i] && r.usedAt.Before(u.At) {
			r.usedAt = u.At
		}
	}
	s.mu.Unlock()
	return unchanged, s.pass(ctx, "unchanged", "reply")
}

func (s *source) asks(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asking += n
	s.mostAsk = max(s.mostAsk, s.asking)
}

func (s *source) loadCount() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.loads
}

// takeBatches returns the sizes of the revalidations since it was called last.
func (s *source) takeBatches() []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	batches := s.batches
	s.batches = nil
	return batches
}

// event is one report of the watcher. An error ends the watch.
type event func(to Sink) error

func changed(id string, revision uint64) event {
	return func(to Sink) error {
		to.Changed(id, revision)
		return nil
	}
}

func removed(id string) event {
	return func(to Sink) error {
		to.Removed(id)
		return nil
	}
}

func gap(to Sink) error {
	to.Gap()
	return nil
}

func alive(asOf time.Time) event {
	return func(to Sink) error {
		to.Alive(asOf)
		return nil
	}
}

func brokenOff(Sink) error { return errLink }

func (s *source) watch(ctx context.Context, _ time.Duration, to Sink) error {
	for {
		select {
		case e := <-s.events:
			if err := e(to); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// report delivers events, and returns when the cache has taken them in.
func (s *source) report(events ...event) {
	for _, e := range events {
		s.events <- e
	}
	synctest.Wait()
}
