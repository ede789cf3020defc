package gosdk

import (
	"context"
	"log/slog"
	"time"

	"github.com/seed34611480/session/internal/backoff"
)

// maxSuspects is how many tasks of other runners a replica keeps an eye on at a time.
const maxSuspects = 10_000

// attend sees to a task that a client has asked for. It claims one that is not run, and keeps an eye on one that
// another runner has. It returns the task as it is then. candidate is the run that begins if the task is claimed.
func (t *Tasks) attend(candidate *run, id string, record task) task {
	if record.Status != taskWorking || record.Call == nil {
		return record
	}
	if !record.Lease.held() {
		return t.claim(candidate, id, record)
	}
	if key, err := candidate.mine.Key(id); err == nil {
		t.suspect(key, candidate, id, record.Lease)
	}
	return record
}

// claim makes the candidate the runner of a task whose lease is still the one of the record. It returns what is stored.
func (t *Tasks) claim(candidate *run, id string, record task) task {
	modes, ok := t.tools[record.Call.Name] // a replica of another release may have other tools
	if !ok || !t.enter() {
		return record
	}
	claimed, won, err := t.tryClaim(candidate, id, record.Lease, modes)
	switch {
	case isOutage(err):
		go t.claimAgain(candidate, id, record.Lease, modes)
		return record
	case err != nil:
		t.leave()
		return record
	case !won:
		t.leave()
	default:
		t.startClaimed(candidate, id, claimed)
	}
	return claimed
}

// startClaimed starts a run, and has it look at its task:
//
//	(1) The claim is stored.
//	(2) Another replica cancels the task. That is reported here, where no run is known yet that has it.
//	(3) The run begins.
func (t *Tasks) startClaimed(r *run, id string, claimed task) {
	r.wake <- struct{}{}
	t.start(r, id, claimed)
}

// claimAgain finds out what became of a claim, for a lease at most. It takes over the caller's place. Without it a task
// could fail although no runner of it has died:
//
//	(1) The claim is stored, and its reply is lost. No handler is called.
//	(2) The lease is not renewed, so the runner counts as dead.
func (t *Tasks) claimAgain(candidate *run, id string, seen lease, modes toolModes) {
	pause := backoff.Backoff{First: min(50*time.Millisecond, t.lease/3), Most: t.lease / 3}
	for end := time.Now().Add(t.lease); time.Now().Before(end) && pause.Wait(t.running) == nil; {
		claimed, won, err := t.tryClaim(candidate, id, seen, modes)
		if isOutage(err) {
			continue
		}
		if err == nil && won {
			t.startClaimed(candidate, id, claimed)
			return
		}
		break
	}
	t.leave()
}

// tryClaim takes a third of a lease at most.
func (t *Tasks) tryClaim(candidate *run, id string, seen lease, modes toolModes) (claimed task, won bool, err error) {
	// The client may hang up. A claim that is then written without a runner would cost a lease.
	ctx, cancel := context.WithTimeout(candidate.ctx, t.lease/3)
	defer cancel()
	claimed, err = candidate.mine.Update(ctx, id, func(stored *task) error {
		won = stored.claim(candidate.id, seen, modes, time.Now())
		return nil
	})
	if err != nil {
		t.log(slog.LevelWarn, "claim a task", err)
	}
	return claimed, won, err
}

// suspect looks at a task again when a lease has passed. If its runner has not renewed the lease once in that time, by
// the clock of this replica, it counts as dead. It is not enough to look at a clock reading of the runner's, because
// clocks differ. That the observer itself was paused does no harm:
//
//	(1) The observer sees beat 7, and is paused for an hour.
//	(2) It goes on, its timer is due, and it loads the task: the beat is 367, or the lease another one.
//
// A runner that was paused loses the lease, and finds that out before it can write:
//
//	(1) The runner of beat 7 is paused. The observer sees beat 7 twice, and claims the task: a new lease, beat 0.
//	(2) The runner goes on, and its handler returns. Its write compares the lease, then the revision, and is refused.
func (t *Tasks) suspect(key string, candidate *run, id string, seen lease) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || t.suspects[key] != nil || len(t.suspects) >= maxSuspects {
		return
	}
	if r := t.byKey[key]; r != nil && r.id == seen.Run {
		return // it is run here
	}
	t.runs.Add(1)
	t.suspects[key] = time.AfterFunc(t.lease, func() {
		defer t.runs.Done()
		t.mu.Lock()
		delete(t.suspects, key)
		t.mu.Unlock()
		ctx, cancel := context.WithTimeout(candidate.ctx, t.lease/3)
		defer cancel()
		// After an error nothing is known, and maybe the runner could not renew its lease either.
		if record, err := candidate.mine.Load(ctx, id); err == nil && record.Lease == seen {
			t.claim(candidate, id, record)
		}
	})
}
