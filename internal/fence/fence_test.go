package fence

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	lease     = 2 * time.Second
	roundTrip = time.Millisecond
	other     = "OTHER"
	self      = "SELF"
	link      = "0"
)

var errLink = errors.New("connection reset by peer")

// server answers after a round trip, and delivers markers at once.
type server struct {
	mu       sync.Mutex // protects following fields; held by changes of a test while something runs
	holder   *Holder
	watch    *Watch
	registry string
	holders  map[string]Entry
	silent   []string // holders whose markers are not delivered by the server that they are sent to
	mute     []string // holders that do not answer
	err      error
	moved    bool // the masters are others
	forgot   []map[string]string
}

func (s *server) look() Look { return Look{Registry: s.registry, Holders: maps.Clone(s.holders)} }

func (s *server) Look(context.Context) (Look, error) {
	time.Sleep(roundTrip)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.look(), s.err
}

// change changes the server while something runs.
func (s *server) change(f func(s *server)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(s)
}

func (s *server) Mark(_ context.Context, id string) (Marked, error) {
	time.Sleep(roundTrip)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return Marked{}, s.err
	}
	m := Marked{Look: s.look()}
	names := slices.Collect(maps.Keys(s.holders))
	if !slices.Contains(names, self) {
		names = append(names, self)
	}
	for _, name := range names {
		to := Link{name, link}
		if slices.Contains(s.silent, name) {
			m.Silent = append(m.Silent, to)
		} else {
			m.Sent = append(m.Sent, to)
		}
		switch { // also one that has come another way
		case slices.Contains(s.mute, name):
		case name == self:
			s.watch.Marked(id, link)
		default:
			s.holder.Answered(id, to)
		}
	}
	return m, nil
}

func (s *server) SameMasters(context.Context) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.moved, nil
}

func (s *server) Forget(_ context.Context, notes map[string]string) error {
	time.Sleep(roundTrip)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forgot = append(s.forgot, notes)
	for name, note := range notes {
		if note == "" || s.holders[name].Note == note {
			delete(s.holders, name)
		}
	}
	return s.err
}

// newServer returns a server with a holder that has all that an early return needs, and another one in its registry.
func newServer() *server {
	s := &server{registry: "A", holders: map[string]Entry{
		self: {Note: "1", Lease: lease}, other: {Note: "7", Lease: lease},
	}}
	s.holder = New(lease)
	s.begin()
	s.epoch()
	time.Sleep(lease + Margin(lease))
	return s
}

func (s *server) begin() { s.watch = s.holder.Begin(s, self, []string{link}) }

// epoch begins one.
func (s *server) epoch() {
	s.watch.Note()
	s.watch.Gap()
	s.watch.Told(s.registry)
	s.watch.Proven()
}

// TestFenceReturnsEarlyOnlyIfAllHolds breaks each of the conditions.
func TestFenceReturnsEarlyOnlyIfAllHolds(t *testing.T) {
	t.Parallel()
	const early, late = roundTrip, lease + lease/500
	for name, test := range map[string]struct {
		change func(s *server)
		want   time.Duration
	}{
		"all holds":                    {func(*server) {}, early},
		"the caller is not registered": {func(s *server) { delete(s.holders, self) }, early},
		"a holder does not answer":     {func(s *server) { s.mute = []string{other} }, late},
		"a marker was passed on":       {func(s *server) { s.silent = []string{other} }, late},
		"the own marker does not come": {func(s *server) { s.mute = []string{self} }, late},
		"the own marker was passed on": {func(s *server) { s.silent = []string{self} }, late},
		"an answer of the markers is lost": {func(s *server) {
			s.err = errLink
		}, late},
		"the masters are others":     {func(s *server) { s.moved = true }, late},
		"there is no registry":       {func(s *server) { s.registry = "" }, late},
		"the registry is a new one":  {func(s *server) { s.registry = "B" }, late},
		"... and known for a moment": {func(s *server) { s.registry = "B"; s.watch.Told("B") }, late},
		"the epoch is young":         {func(s *server) { s.epoch() }, late},
		"... and getting old": {func(s *server) {
			s.epoch()
			time.Sleep(late - time.Second/2)
		}, time.Second / 2},
		"no heartbeat has come back": {func(s *server) { s.watch.Gap() }, late},
		"... nor did it long after the subscription": {func(s *server) {
			s.watch.Gap()
			time.Sleep(2 * lease)
		}, late},
		"there is no watch":           {func(s *server) { s.watch.End() }, late},
		"a holder has a longer lease": {func(s *server) { s.holders[other] = Entry{"7", 2 * lease} }, late},
		"... and does not answer": {func(s *server) {
			s.holders[other], s.mute = Entry{"7", 2 * lease}, []string{other}
		}, 2 * late},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newServer()
				defer s.holder.Wait()
				test.change(s)
				start := time.Now()
				require.NoError(t, s.holder.Fence(t.Context()))
				require.Equal(t, test.want, time.Since(start))
			})
		})
	}
}

func TestEventsDuringAFence(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change func(s *server)
		early  bool
	}{
		"a holder answers":              {func(s *server) { s.answerAll(other) }, true},
		"a holder answers another":      {func(s *server) { s.holder.Answered("another", Link{other, link}) }, false},
		"another link answers":          {func(s *server) { s.answerAll("SOMETHING ELSE") }, false},
		"a holder leaves":               {func(s *server) { delete(s.holders, other) }, true},
		"the registry is lost":          {func(s *server) { s.registry, s.holders = "", nil }, false},
		"another registry is made":      {func(s *server) { s.registry, s.holders = "B", nil }, false},
		"answers, but in another epoch": {func(s *server) { s.epoch(); s.answerAll(other) }, false},
		"answers, after the watch":      {func(s *server) { s.watch.End(); s.answerAll(other) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newServer()
				defer s.holder.Wait()
				s.mute = []string{other}
				start := time.Now()
				time.AfterFunc(lease/2+time.Microsecond, func() { s.change(test.change) })
				require.NoError(t, s.holder.Fence(t.Context()))
				require.Equal(t, test.early, time.Since(start) < lease, time.Since(start))
			})
		})
	}
}

// answerAll answers all fences.
func (s *server) answerAll(name string) {
	s.holder.mu.Lock()
	ids := slices.Collect(maps.Keys(s.holder.attempts))
	s.holder.mu.Unlock()
	for _, id := range ids {
		s.holder.Answered(id, Link{name, link})
	}
}

func TestFenceEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer()
		defer s.holder.Wait()
		s.mute = []string{other}
		ctx, cancel := context.WithTimeout(t.Context(), lease/2)
		defer cancel()
		require.ErrorIs(t, s.holder.Fence(ctx), context.DeadlineExceeded)
		require.ErrorIs(t, s.holder.Fence(ctx), context.DeadlineExceeded)
		require.Empty(t, s.holder.fences)
		require.Empty(t, s.holder.attempts)
		require.Zero(t, s.holder.Stats().Fences)
	})
}

func TestFenceTriesAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer()
		defer s.holder.Wait()
		s.err = errLink
		time.AfterFunc(lease/2, func() { s.change(func(s *server) { s.err = nil }) })
		start := time.Now()
		require.NoError(t, s.holder.Fence(t.Context()))
		require.Less(t, time.Since(start), lease/2+lease/lookShare+2*roundTrip)
		require.Equal(t, Stats{Fences: 1}, s.holder.Stats())
	})
}

// TestCrashedHolderIsForgotten: after two looks, and not when it beats in between.
func TestCrashedHolderIsForgotten(t *testing.T) {
	t.Parallel()
	for name, beats := range map[string]bool{"crashed": false, "beats": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newServer()
				defer s.holder.Wait()
				for s.holder.looks.notes == nil {
					time.Sleep(lease / 4)
					s.watch.Beat(t.Context())
				}
				require.Equal(t, map[string]string{other: "7"}, s.holder.looks.notes, "not itself")
				first := time.Now()
				if beats {
					s.holders[other] = Entry{"8", lease}
				}
				for len(s.forgot) == 0 {
					time.Sleep(lease / 4)
					s.watch.Beat(t.Context())
				}
				require.Greater(t, time.Since(first), lease, "from the answer of the first look to the second one")
				_, there := s.holders[other]
				require.Equal(t, beats, there)
			})
		})
	}
}

// TestFormerNames: they are removed when the lease has ended, and on leaving.
func TestFormerNames(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer()
		s.watch.End()
		require.Equal(t, []string{self}, s.holder.Names())
		s.watch = s.holder.Begin(s, "SECOND", []string{link})
		s.watch.Beat(t.Context())
		require.Empty(t, s.forgot, "the lease may still run")
		s.watch.Gap()
		s.err = errLink
		s.watch.Beat(t.Context())
		require.Equal(t, []string{self}, s.holder.Former(), "it is tried again")
		s.err = nil
		s.watch.Beat(t.Context())
		require.Empty(t, s.holder.Former())
		require.NotContains(t, s.holders, self)
		s.watch.End()
		require.Empty(t, s.holder.Names(), "it was never noted")
	})
}
