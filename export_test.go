package session

import (
	"runtime"
	"slices"
	"time"
)

// Age lets d pass for the local tier alone: for remotes that expire sessions by a clock that a test moves. What
// is under way takes no time by that clock, so it ends first.
func (r *RoutingStorage) Age(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.calls) > 0 || r.refresher.workers > 0 {
		r.mu.Unlock()
		runtime.Gosched()
		r.mu.Lock()
	}
	for _, p := range slices.Clone(r.local.order) {
		e := p.entry
		aged := &entry{
			id: e.id, session: e.session, revision: e.revision, epoch: e.epoch,
			fetchedAt: e.fetchedAt - instant(d), expiresAt: e.expiresAt - instant(d),
		}
		aged.refreshAt.Store(e.refreshAt.Load() - int64(d))
		r.local.putLocked(aged, r.local.usedAt(e))
	}
}
