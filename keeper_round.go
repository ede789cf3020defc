package session

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed34611480/session/internal/backoff"
)

// run renews and looks, until the context ends.
func (k *keeper) run(ctx context.Context, wake <-chan struct{}) {
	pause := backoff.Backoff{First: keepRetry, Most: keepMaxRetry}
	var rest time.Duration // after a failure
	var since time.Time
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-wake:
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		if rest > 0 {
			if left := time.Until(since.Add(min(rest, k.maxRest()))); left > 0 {
				timer.Reset(left)
				continue
			}
		}
		r := k.collect(ctx)
		r.do(ctx)
		r.tell(ctx)
		if r.failed.Load() {
			rest, since = pause.Next(), time.Now()
			timer.Reset(0)
			continue
		}
		rest = 0
		pause.Reset()
		timer.Reset(k.untilNext(ctx))
	}
}

// maxRest returns how long a failure may keep others from being renewed: a part of the shortest idle time. A session
// that joins meanwhile may have a shorter one.
func (k *keeper) maxRest() time.Duration {
	k.mu.Lock()
	defer k.mu.Unlock()
	rest := keepMaxRetry
	for _, e := range k.sessions {
		if e.loaded {
			rest = min(rest, max(e.period/4, keepRetry))
		}
	}
	return rest
}

// round is what is asked at one time.
type round struct {
	keeper *keeper
	looks  []question
	renew  []question
	failed atomic.Bool // something could not be asked, and stays due

	notRenewed atomic.Bool           // that was a renewal
	why        atomic.Pointer[error] // of a failure
}

// tell tells what has come of a round. What is still due after a failure is part of the next one.
func (r *round) tell(ctx context.Context) {
	k := r.keeper
	k.mu.Lock()
	defer k.mu.Unlock()
	switch why := r.why.Load(); {
	case ctx.Err() != nil || k.ask.news == nil: // the next goroutine may tell something else by now
	case r.notRenewed.Load() && why != nil:
		k.ask.news.KeepFails(*why)
	case !r.notRenewed.Load() && len(r.renew) > 0:
		k.ask.news.KeepWorks()
	}
}

// question is one about a session as it was known when the round began.
type question struct {
	session   *kept
	loaded    bool
	revision  uint64
	expiresAt time.Time
	answers   uint64
}

func (q question) use() Use {
	return Use{ID: q.session.id, Revision: q.revision, ExpiresAt: q.expiresAt, At: time.Now()}
}

// collect takes what is to be asked now. Renewals that are due soon are taken along.
func (k *keeper) collect(ctx context.Context) *round {
	r := &round{keeper: k}
	k.mu.Lock()
	defer k.mu.Unlock()
	if ctx.Err() != nil {
		return r // what is here may belong to the goroutine that has followed
	}
	for e := range k.looks {
		if len(r.looks) == keepBatch {
			break // renewals must not wait for all of them
		}
		delete(k.looks, e)
		r.looks = append(r.looks, e.question())
	}
	now := time.Now()
	if k.nextScan.IsZero() || now.Before(k.nextScan) {
		return r
	}
	k.nextScan = time.Time{}
	for _, e := range k.sessions {
		switch {
		case !e.loaded: // it is being loaded
		case e.due.Add(-e.period / 16).After(now):
			if k.nextScan.IsZero() || e.due.Before(k.nextScan) {
				k.nextScan = e.due
			}
		default:
			r.renew = append(r.renew, e.question())
		}
	}
	return r
}

func (e *kept) question() question {
	return question{session: e, loaded: e.loaded, revision: e.revision, expiresAt: e.expiresAt, answers: e.answers}
}

// untilNext returns how long there is nothing to do.
func (k *keeper) untilNext(ctx context.Context) time.Duration {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case ctx.Err() != nil || len(k.looks) > 0:
		return 0
	case k.nextScan.IsZero():
		return noTTLPeriod
	}
	return max(0, time.Until(k.nextScan))
}

// do asks. When the storage seems to be away, it leaves the rest for a later round.
func (r *round) do(ctx context.Context) {
	ask := &r.keeper.ask
	r.oneByOne(r.looks, r.lookAgain, func(q question) bool {
		if !q.loaded { // so there was no use yet
			return r.found(ctx, q, ask.use)
		}
		return r.found(ctx, q, ask.look)
	})
	away := false
	for batch := range slices.Chunk(r.renew, keepBatch) {
		switch {
		case away:
			r.renewAgain(batch...)
		case ask.renew == nil || !r.renewed(ctx, batch):
			// The storage has nothing better than a load for each, or that has failed, for which a single one of them may be to
			// blame: if a shard of a Cluster is away, the sessions on others must not expire for that.
			away = !r.oneByOne(batch, func(q question) { r.renewAgain(q) }, func(q question) bool {
				found := r.found(ctx, q, ask.use)
				if found {
					r.answered(q, true)
				}
				return found
			})
		}
	}
}

// oneByOne asks several questions, some at a time. It calls again for those that ask returns false for, and gives up
// when there are many of these: the storage seems to be away. It returns false if nothing was answered.
func (r *round) oneByOne(questions []question, again func(question), ask func(question) bool) bool {
	const many = keepConcurrency / 2
	turns := make(chan struct{}, keepConcurrency)
	var asked sync.WaitGroup
	var answers, failures atomic.Int64 // failures since the last answer
	for _, q := range questions {
		turns <- struct{}{}
		asked.Go(func() {
			defer func() { <-turns }()
			if failures.Load() < many && ask(q) {
				failures.Store(0)
				answers.Add(1)
				return
			}
			failures.Add(1)
			r.failed.Store(true)
			again(q)
		})
	}
	asked.Wait()
	return answers.Load() > 0
}

// found asks for a session, and takes in the answer. It returns false if there was none.
func (r *round) found(
	ctx context.Context, q question, ask func(ctx context.Context, id string) (*Session, error),
) bool {
	ctx, cancel := context.WithTimeout(ctx, keepTimeout)
	defer cancel()
	s, err := ask(ctx, q.session.id)
	k, e := r.keeper, q.session
	k.mu.Lock()
	defer k.unlock()
	switch {
	case k.sessions[e.id] != e: // it has ended
	case err == nil:
		k.foundLocked(e, s)
	case !isEnd(err):
		r.why.Store(&err)
		return false
	case e.answers != q.answers:
		// The answer may be older than the session: (1) it is asked for, and is not there, (2) it is created, (3) a caller is
		// added, and finds it, (4) the answer arrives.
		k.lookLocked(e)
	default:
		k.endLocked(e, err)
	}
	return true
}

// renewed renews sessions with one command. It returns false if that has failed.
func (r *round) renewed(ctx context.Context, batch []question) bool {
	ctx, cancel := context.WithTimeout(ctx, keepTimeout)
	defer cancel()
	uses := make([]Use, len(batch))
	for i, q := range batch {
		uses[i] = q.use()
	}
	unchanged, err := r.keeper.ask.renew(ctx, uses)
	if err != nil {
		return false
	}
	for i, q := range batch {
		r.answered(q, unchanged[i])
	}
	return true
}

// answered takes in whether a session is unchanged. If it is, it was renewed.
func (r *round) answered(q question, unchanged bool) {
	k, e := r.keeper, q.session
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.sessions[e.id] != e {
		return
	}
	k.dueLocked(e, e.nextDue())
	if unchanged {
		k.ask.renewed()
	} else if e.answers == q.answers {
		k.lookLocked(e)
	}
}

// renewAgain leaves renewals for the next round.
func (r *round) renewAgain(questions ...question) {
	r.notRenewed.Store(true)
	k := r.keeper
	k.mu.Lock()
	defer k.mu.Unlock()
	now := time.Now()
	for _, q := range questions {
		if k.sessions[q.session.id] == q.session {
			k.dueLocked(q.session, now)
		}
	}
}

// lookAgain leaves a look for the next round.
func (r *round) lookAgain(q question) {
	r.keeper.mu.Lock()
	defer r.keeper.mu.Unlock()
	r.keeper.lookLocked(q.session)
}
