//go:build unix

package session_test

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/internal/netfault"
	"github.com/seed34611480/session/internal/redistest"
)

// matrixVariable switches the test on. With the value "write" it writes docs/faults.md too.
const matrixVariable = "FAULT_MATRIX"

const (
	faultDuration  = 2 * topologyStaleness // long enough for every lease to run out
	matrixSessions = 24
	rowsAtOnce     = 2
)

// TestFaultMatrix puts every fault that is known of on real processes, under traffic through two replicas, and measures
// what docs/faults.md says.
func TestFaultMatrix(t *testing.T) {
	if os.Getenv(matrixVariable) == "" {
		t.Skip("set " + matrixVariable + "=1: it takes a minute or two")
	}
	measured := make([]measurement, len(faultRows))
	places := make(chan struct{}, rowsAtOnce)
	t.Run("rows", func(t *testing.T) {
		for i, row := range faultRows {
			t.Run(row.name, func(t *testing.T) {
				t.Parallel()
				places <- struct{}{}
				defer func() { <-places }()
				measured[i] = measure(t, row)
			})
		}
	})
	if os.Getenv(matrixVariable) == "write" && !t.Failed() {
		writeFaults(t, measured)
	}
}

// faultRow is one fault.
type faultRow struct {
	name     string
	promised string
	errors   expectation
	setUp    func(r *faultRun) // nil: two replicas on one server
	strike   func(r *faultRun) // begins the fault, and ends it
}

// expectation is whether callers hear of a fault. One that they have to hear of would otherwise not have happened.
type expectation int

const (
	noErrors expectation = iota
	someErrors
	maybeErrors // it depends on what is under way when a connection breaks
)

// faultRun is a row while it runs.
type faultRun struct {
	t        *testing.T
	server   *redistest.Server // of a topology, the one that is in trouble
	link     *netfault.Proxy   // the way of the second replica, in rows with a proxy
	process  *process          // a third replica, in the row that stops it
	cluster  *redistest.Cluster
	replaced func() bool // whether server has a successor
	replicas []*session.RoutingStorage
	ids      []string // changes are seen to flow next to each of the probes
	probes   []string
	tr       *checkedTraffic
	ended    time.Time // when the fault was over
}

// measurement is what a row has shown.
type measurement struct {
	staleness       time.Duration
	wrong           int
	failedLoads     uint64
	failedWrites    uint64
	answers, leased time.Duration
	loads, writes   uint64
}

func measure(t *testing.T, row faultRow) measurement {
	t.Helper()
	r := &faultRun{t: t}
	if row.setUp == nil {
		row.setUp = oneServer()
	}
	row.setUp(r)
	requireFlowing(t, r.probes, r.replicas...)
	r.tr = startCheckedTraffic(t, topologyStaleness, r.ids, r.replicas...)
	r.tr.await(t, 500)

	row.strike(r)
	if r.ended.IsZero() {
		r.ended = time.Now()
	}
	var m measurement
	await(t, "answers", r.answers)
	m.answers = time.Since(r.ended)
	requireFlowing(t, r.probes, r.replicas...)
	await(t, "the process", func() bool { return r.process == nil || r.process.lastMode() == session.ModeLeased })
	m.leased = time.Since(r.ended)

	// What was held back during the fault has its last chance to be served.
	recovered := time.Now()
	await(t, "the bound to pass", func() bool { return time.Since(recovered) > topologyStaleness })
	r.tr.await(t, 500)
	r.tr.requireSound(t)
	m.failedLoads, m.failedWrites = r.tr.failedLoads.Load(), r.tr.failedWrites.Load()
	m.loads, m.writes = r.tr.loads.Load(), r.tr.writes.Load()
	r.tr.mu.Lock()
	m.staleness, m.wrong = r.tr.oldest, len(r.tr.violations)
	r.tr.mu.Unlock()
	t.Logf("%+v", m)

	require.LessOrEqual(t, m.staleness, topologyStaleness)
	switch failed := m.failedLoads + m.failedWrites; row.errors {
	case noErrors:
		require.Zero(t, failed, "the fault is no outage")
	case someErrors:
		require.Positive(t, failed, "the fault went unnoticed")
	case maybeErrors:
	}
	return m
}

// answers tells whether every operation of every replica succeeds, at Redis: what one has written another loads, which
// cannot have it yet.
func (r *faultRun) answers() bool {
	ctx := r.t.Context()
	if r.process != nil {
		if _, err := r.process.Load(ctx, r.ids[0]); err != nil && !errors.Is(err, session.ErrNotFound) {
			return false
		}
	}
	for _, probe := range r.probes {
		for i, writer := range r.replicas {
			id := neighbor(probe, rand.Text())
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

// last lets the fault last.
func (r *faultRun) last() { time.Sleep(faultDuration) }

// repeat lets the fault last by causing it again and again.
func (r *faultRun) repeat(pause time.Duration, f func()) {
	for begun := time.Now(); time.Since(begun) < faultDuration; time.Sleep(pause) {
		f()
	}
}

// do sends a command as an administrator.
func (r *faultRun) do(args ...any) { do(r.t, r.server, args...) }

func do(t *testing.T, server *redistest.Server, args ...any) {
	t.Helper()
	admin := server.Client(t, func(o *redis.Options) { o.ReadTimeout, o.MaxRetries = recovery, -1 })
	defer admin.Close()
	if err := admin.Do(t.Context(), args...).Err(); !errors.Is(err, redis.Nil) {
		require.NoError(t, err)
	}
}

// oneServer is what most rows run on.
func oneServer(config ...string) func(r *faultRun) {
	return func(r *faultRun) {
		r.server = redistest.Start(r.t, redistest.WithConfig(config...))
		r.on(matrixClient(r, r.server.Addr()), matrixClient(r, r.server.Addr()))
	}
}

// frozen is for a server that stops for a while. Writes wait for it: one that was given up is executed late, after
// those that were sent later.
func frozen(config ...string) func(r *faultRun) {
	return func(r *faultRun) {
		r.server = redistest.Start(r.t, redistest.WithConfig(config...))
		wait := func(o *redis.Options) { o.ReadTimeout = recovery }
		r.on(matrixClient(r, r.server.Addr(), wait), matrixClient(r, r.server.Addr(), wait))
	}
}

// proxied has the second replica behind a link. The first goes on writing while that is in trouble.
func proxied(r *faultRun) {
	r.server = redistest.Start(r.t)
	r.link = netfault.Start(r.t, r.server.Addr())
	r.on(matrixClient(r, r.server.Addr()), matrixClient(r, r.link.Addr()))
}

// limited has replicas that are allowed what docs/operations.md says.
func limited(r *faultRun) {
	all, _, _ := documentedPermissions(r.t)
	r.server = redistest.Start(r.t, redistest.WithConfig(all.line()))
	as := func(o *redis.Options) { o.Username, o.Password = all.user, all.password(r.t) }
	r.on(matrixClient(r, r.server.Addr(), as), matrixClient(r, r.server.Addr(), as))
}

func (r *faultRun) on(clients ...redis.UniversalClient) {
	for _, client := range clients {
		r.replicas = append(r.replicas, replicaOn(r.t, client, session.WithLoadTimeout(topologyStaleness)))
	}
	if r.ids != nil {
		return
	}
	for i := range matrixSessions {
		r.ids = append(r.ids, fmt.Sprint("session", i))
	}
	r.probes = r.ids[:1]
}

// matrixClient is set up as docs/operations.md recommends.
func matrixClient(r *faultRun, addr string, change ...func(*redis.Options)) *redis.Client {
	opts := &redis.Options{
		Addr: addr, ContextTimeoutEnabled: true, DisableIdentity: true,
		DialTimeout: time.Second, ReadTimeout: time.Second, WriteTimeout: time.Second,
		DialerRetries: 1, MaxRetries: 1, PoolSize: 50, MinIdleConns: 5,
	}
	for _, f := range change {
		f(opts)
	}
	client := redis.NewClient(opts)
	r.t.Cleanup(func() { _ = client.Close() })
	return client
}
