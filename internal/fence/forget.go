package fence

import (
	"context"
	"time"
)

// Each holder looks for others that have crashed once in so many heartbeats, so that crashes do not fill the registry
// when no replica calls a fence.
const looksEvery = 64

// looks is the search for holders that have crashed. Guarded by Holder.mu.
type looks struct {
	beats  int
	notes  map[string]string // of the first look; nil for none
	until  time.Time         // when the second look may be sent
	ending bool              // it is being sent
}

// looked takes in a look, which is a first one if there is none.
func (h *Holder) looked(l Look) {
	now := time.Now() // its answer has arrived
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.looks.notes != nil {
		return
	}
	lease := h.lease
	notes := make(map[string]string)
	for name, e := range l.Holders {
		if h.watch == nil || name != h.watch.name {
			notes[name], lease = e.Note, max(lease, e.Lease)
		}
	}
	if len(notes) > 0 {
		h.looks.notes, h.looks.until = notes, now.Add(lease+Margin(lease))
	}
}

// Beat is called after each heartbeat. It removes this holder's former names and those of holders that have crashed.
// What fails is tried again later.
func (w *Watch) Beat(ctx context.Context) {
	h := w.holder
	if names := h.Former(); len(names) > 0 {
		notes := make(map[string]string)
		for _, name := range names {
			notes[name] = "" // whatever it is
		}
		if w.server.Forget(ctx, notes) == nil {
			h.Removed(names)
		}
	}
	h.mu.Lock()
	l := &h.looks
	l.beats++
	first := l.notes == nil && l.beats%looksEvery == 0
	second := l.notes != nil && !l.ending && !time.Now().Before(l.until)
	l.ending = l.ending || second
	notes := l.notes
	h.mu.Unlock()
	switch {
	case first:
		if look, err := w.server.Look(ctx); err == nil {
			h.looked(look)
		}
	case second:
		_ = w.server.Forget(ctx, notes)
		h.mu.Lock()
		defer h.mu.Unlock()
		l.notes, l.ending = nil, false
	}
}
