//go:build unix

package faults

import (
	"crypto/rand"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/internal/netfault"
	"github.com/seed34611480/session/internal/realtest"
	"github.com/seed34611480/session/internal/redistest"
)

// matrixVariable turns the test on. With the value "write" the test also writes docs/faults.md.
const matrixVariable = "FAULT_MATRIX"

const (
	faultDuration  = 2 * realtest.Staleness // long enough for every lease to run out
	matrixSessions = 24
	rowsAtOnce     = 2
)

// TestFaultMatrix injects every known fault into real processes, with traffic through two replicas, and measures what
// docs/faults.md reports.
func TestFaultMatrix(t *testing.T) {
	if os.Getenv(matrixVariable) == "" {
		t.Skip("set " + matrixVariable + "=1: it takes three or four minutes")
	}
	measured := measureAll(t, "rows", matrixRows, false)
	fenced := measureAll(t, "fences", fenceRows(), true)
	underPressure := make([]pressureFigures, len(pressureEvents))
	for i, event := range pressureEvents { // one at a time: they count goroutines, and a busy machine fails loads
		t.Run(event.name, func(t *testing.T) { underPressure[i] = measurePressure(t, event.inject) })
	}
	if os.Getenv(matrixVariable) == "write" && !t.Failed() {
		writeReport(t, measured, fenced, underPressure)
	}
}

// measureAll measures rows, with fences or without, a few at a time.
func measureAll(t *testing.T, name string, rows []matrixRow, fencing bool) []measurement {
	t.Helper()
	measured := make([]measurement, len(rows))
	running := make(chan struct{}, rowsAtOnce)
	t.Run(name, func(t *testing.T) {
		for i, row := range rows {
			t.Run(row.name, func(t *testing.T) {
				t.Parallel()
				running <- struct{}{}
				defer func() { <-running }()
				measured[i] = measure(t, row, fencing)
			})
		}
	})
	return measured
}

// matrixRow is one fault.
type matrixRow struct {
	name     string
	promised string
	errors   expectation
	setUp    func(r *rowRun) // nil: two replicas on one server
	inject   func(r *rowRun) // begins the fault, waits, and ends it
	fences   bool            // it is measured once more, with fences
	since    string          // the version of Redis that can do this; "" for any
}

// expectation says whether callers get errors. Where a fault has to cause errors, a run without them shows that the
// fault did not happen.
type expectation int

const (
	noErrors expectation = iota
	someErrors
	maybeErrors // it depends on which command a broken connection interrupts
)

// rowRun is the state of a row while it runs.
type rowRun struct {
	t        *testing.T
	server   *redistest.Server // in a topology, the server that the fault affects
	link     *netfault.Proxy   // the second replica's link, in rows with withLink
	process  *process          // a third replica, in the row that stops it
	victim   *process          // another one, in the row that kills it
	cluster  *redistest.Cluster
	mixed    bool        // one replica is as of an older version
	replaced func() bool // whether another server has taken the place of server
	replicas []*session.RoutingStorage
	ids      []string
	probes   []string // the ids in whose slots events are checked
	traffic  *realtest.Traffic
	fencing  bool
	ended    time.Time // when the fault ended
}

// measurement is the result of a row.
type measurement struct {
	realtest.Counts
	answers, leased time.Duration // from the end of the fault
	fences          realtest.FenceCounts
	early           time.Duration // from the end of the fault until fences return early again
}

func measure(t *testing.T, row matrixRow, fencing bool) measurement {
	t.Helper()
	if row.impossible(t) {
		t.Skipf("before Redis %s and Valkey 9: there is no such fault", row.since)
	}
	r := &rowRun{t: t, fencing: fencing}
	if row.setUp == nil {
		row.setUp = oneServer()
	}
	row.setUp(r)
	realtest.RequireEventsFlow(t, r.probes, r.replicas...)
	if r.cluster != nil && !r.mixed {
		realtest.RequireShards(t, r.ids, r.replicas...)
	}
	r.traffic = realtest.StartTraffic(t, realtest.Staleness, r.ids, r.replicas...)
	r.traffic.Await(t, 500)
	fences := r.startFences()

	row.inject(r)
	if r.ended.IsZero() {
		r.ended = time.Now()
	}
	var m measurement
	realtest.Await(t, "answers", r.answers)
	m.answers = time.Since(r.ended)
	realtest.RequireEventsFlow(t, r.probes, r.replicas...)
	realtest.Await(t, "the process", func() bool {
		return r.process == nil || r.process.lastMode() == session.ModeLeased
	})
	m.leased = time.Since(r.ended)
	if fencing {
		m.early = r.awaitEarlyFences()
		fences.Await(t, someLoads) // a fault that takes all sessions leaves none to delete for a while
		m.fences = fences.Take()
		require.Positive(t, m.fences.Fences, "no fence was called")
	}

	// An older state that the fault held back could still be served until the bound has passed.
	recovered := time.Now()
	realtest.Await(t, "the bound to pass", func() bool { return time.Since(recovered) > realtest.Staleness })
	r.traffic.Await(t, 500)
	r.traffic.RequireRight(t)
	m.Counts = r.traffic.Counts()
	t.Logf("%+v", m)

	require.LessOrEqual(t, m.Oldest, realtest.Staleness)
	switch row.errors {
	case noErrors:
		require.Zero(t, m.Failed(), "this fault must not cause errors")
	case someErrors:
		require.Positive(t, m.Failed(), "the fault had no effect")
	case maybeErrors:
	}
	return m
}

// answers returns whether every operation of every replica succeeds at Redis: one replica loads what another has just
// written, which it cannot have cached.
func (r *rowRun) answers() bool {
	ctx := r.t.Context()
	if r.process != nil {
		if _, err := r.process.Load(ctx, r.ids[0]); err != nil && !errors.Is(err, session.ErrNotFound) {
			return false
		}
	}
	for _, probe := range r.probes {
		for i, writer := range r.replicas {
			id := realtest.SameSlot(probe, rand.Text())
			reader := r.replicas[(i+1)%len(r.replicas)]
			err := writer.Store(ctx, session.New(id))
			if err == nil {
				_, err = reader.Load(ctx, id)
			}
			if err == nil {
				err = writer.Delete(ctx, id)
			}
			if err != nil {
				return false
			}
		}
	}
	return true
}

// wait returns when the fault has lasted long enough.
func (r *rowRun) wait() { time.Sleep(faultDuration) }

// repeat causes the fault again and again until it has lasted long enough.
func (r *rowRun) repeat(pause time.Duration, f func()) {
	for start := time.Now(); time.Since(start) < faultDuration; time.Sleep(pause) {
		f()
	}
}

// do sends a command as an administrator.
func (r *rowRun) do(args ...any) { do(r.t, r.server, args...) }

func do(t *testing.T, server *redistest.Server, args ...any) {
	t.Helper()
	admin := server.Client(t, func(o *redis.Options) { o.ReadTimeout, o.MaxRetries = realtest.Patience, -1 })
	defer admin.Close()
	if err := admin.Do(t.Context(), args...).Err(); !errors.Is(err, redis.Nil) {
		require.NoError(t, err)
	}
}
