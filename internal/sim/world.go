package sim

import (
	"context"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/seed34611480/session"
)

// world is a running simulation. One lock guards all of the simulator's state; the library is never called while
// holding it.
type world struct {
	Config
	start    time.Time
	replicas []*replica

	background sync.WaitGroup // calls that ignore their contexts

	mu      sync.Mutex
	server  *server
	history *History
	calls   int64
}

// replica is one process of the application.
type replica struct {
	world   *world
	link    *link
	storage *session.RoutingStorage // guarded by world.mu, like the following fields
	closed  bool                    // between a restart's Close and the new storage
	life    int
}

// Run runs a simulation, inside a synctest bubble, and returns its history.
func Run(c Config) *History {
	start := time.Now()
	w := &world{
		Config: c, start: start,
		history: &History{
			Config: c, began: start, Faults: make(map[string]int), truth: make(ledger),
			told: make(map[place][]time.Duration), troubled: make(map[place][]time.Duration),
			trouble: make(map[int][]interval), crowd: make(map[int]int),
		},
	}
	w.server = newServer(w)
	for i := range c.Replicas {
		l := &link{world: w, replica: i, refusals: stream(c.Seed, refusalStream+uint64(i))}
		l.lots, l.beats = newLots(&c, i)
		first := int64(fenceLane-callLane) + int64(i)*fenceLanes
		l.fences = &lot{rng: stream(c.Seed, fenceLots+uint64(i)), lanes: fenceLanes, first: first}
		l.early = stream(c.Seed, earlyStream+uint64(i))
		l.shards = stream(c.Seed, joinStream+uint64(i))
		r := &replica{world: w, link: l}
		r.storage = r.newStorage()
		w.replicas = append(w.replicas, r)
	}
	w.play()
	return w.history
}

func (w *world) play() {
	ctx, end := context.WithCancel(context.Background())
	var faults, clients sync.WaitGroup
	faults.Go(func() { w.misfortune(ctx) })
	all := make([]*client, w.Clients)
	for i := range all {
		all[i] = &client{
			world: w, index: i, known: make(map[string]*session.Session),
			rng:   stream(w.Seed, clientStream+uint64(i)),
			reads: stream(w.Seed, readStream+uint64(i)),
			lives: stream(w.Seed, lifeStream+uint64(i)),
			owns:  stream(w.Seed, revokeStream+uint64(i)),
		}
		clients.Go(all[i].run)
	}
	w.await(&clients)
	end()
	faults.Wait()
	for _, r := range w.replicas {
		_ = r.storage.Close()
	}
	w.background.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.server.settle()
	for _, c := range all {
		w.history.Ops = append(w.history.Ops, c.ops...)
	}
	w.history.sort()
}

// await waits for the clients, but not for ever.
func (w *world) await(clients *sync.WaitGroup) {
	done := make(chan struct{})
	go func() {
		clients.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(100 * w.Duration):
		panic("seed " + strconv.FormatUint(w.Seed, 10) + ": an operation does not end")
	}
}

func (r *replica) newStorage() *session.RoutingStorage {
	c := &r.world.Config
	remote := session.Storage(r.link)
	if !c.Revalidates {
		remote = struct{ withoutRevalidator }{r.link}
	}
	opts := []session.RoutingOption{
		session.WithMaxStaleness(c.stalenessOf(r.link.replica)),
		session.WithRefreshAfter(c.RefreshAfter),
		session.WithLoadTimeout(c.LoadTimeout),
		session.WithLoadConcurrency(c.MaxLoads),
		session.WithRefreshConcurrency(c.MaxRefreshes),
		session.WithStaleIfError(c.StaleIfError),
		session.WithRememberedMisses(c.Misses),
		session.WithLogger(slog.New(slog.DiscardHandler)),
	}
	if c.Fencing {
		opts = append(opts, session.WithFencing())
	}
	return session.NewRoutingStorage(remote, c.MaxEntries, opts...)
}

type withoutRevalidator interface {
	session.Storage
	session.Creator
	session.Taker
	session.Peeker
	session.Revoker
	session.Fencer
}

// restart closes the storage in the middle of its calls, and replaces it with a new one.
func (r *replica) restart() {
	w := r.world
	_ = r.storage.Close()
	w.mu.Lock()
	r.closed = true
	w.mu.Unlock()
	// Calls between Close and the new storage find a closed one.
	w.sleep(context.Background(), faultLane.from(w.now()+w.Delay))
	storage := r.newStorage()
	w.mu.Lock()
	defer w.mu.Unlock()
	r.storage, r.closed = storage, false
	r.life++
}

// ownerOf returns the owner of a session: there are two.
func ownerOf(i int) string { return "owner-" + strconv.Itoa(i%2) }

func nameOf(i int) string { return "session-" + strconv.Itoa(i) }
