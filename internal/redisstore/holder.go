package redisstore

import (
	"context"
	"crypto/rand"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/seed34611480/session/internal/fence"
)

// Holder watches like [Store.Watch], and is known to all fences while it does: see package fence. Close it with Leave.
type Holder struct {
	store *Store
	fence *fence.Holder
}

// Hold returns a holder whose leases last for S after what a proof says. One process may have several.
func (s *Store) Hold(lease time.Duration) *Holder { return &Holder{s, fence.New(lease)} }

// Watch is [Store.Watch]. Once the sink has taken in a Gap, no copy from before may be served for a lease any more.
func (h *Holder) Watch(ctx context.Context, heartbeat time.Duration, to Sink) error {
	return h.store.watch(ctx, heartbeat, to, h.fence)
}

// Fence returns nil when every change that was acknowledged before is seen by every load that starts afterwards, on
// every holder. The only error is the end of ctx.
func (h *Holder) Fence(ctx context.Context) error { return h.fence.Fence(ctx) }

// Leave removes the holder from the registry, when its watch has ended and it serves nothing any more. After an error
// it stays there until others forget it.
func (h *Holder) Leave(ctx context.Context) error {
	h.fence.Wait()
	names := h.fence.Names()
	if len(names) == 0 {
		return nil
	}
	notes := make(map[string]string)
	for _, name := range names {
		notes[name] = ""
	}
	if err := h.store.forget(ctx, h.store.client, notes); err != nil {
		return err
	}
	h.fence.Removed(names)
	return nil
}

// registry returns the key of the registry. No id ends in a space, so it is no value's key.
func (s *Store) registry() string { return s.ownKey("!holders ") }

// linkChannel returns the channel of one link: for its heartbeats, and for the markers and answers of fences.
func (s *Store) linkChannel(name, number string) string {
	return s.linkChannels() + name + ":" + number
}

func (s *Store) linkChannels() string { return s.prefix + "!hb:" }

// heartbeatKey returns the key of a link's heartbeats, which never exists. On a Cluster the number makes it fall on the
// link's master. No id has a space, so it is no value's key.
func (s *Store) heartbeatKey(name, number string) string {
	key := "!hb " + name + " " + number
	if hasHashTag(s.prefix) { // which would put all keys in one slot
		return key
	}
	return s.ownKey(key)
}

func (s *Store) forget(ctx context.Context, client processor, notes map[string]string) error {
	args := make([]any, 0, 2*len(notes))
	for _, name := range slices.Sorted(maps.Keys(notes)) {
		args = append(args, name, notes[name])
	}
	_, err := runScript(ctx, client, forgetScript, []string{s.registry()}, args...)
	return err
}

// A note is the holder's count of heartbeats, its S in milliseconds, and the numbers of its links.
func (w *watch) note() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.notes++
	count, lease := strconv.Itoa(w.notes), strconv.FormatInt(w.holder.Lease().Milliseconds(), 10)
	return strings.Join(append([]string{count, lease}, w.numbers()...), " ")
}

func parseNote(note string) (lease time.Duration, links []string) {
	fields := strings.Fields(note)
	if len(fields) < 2 {
		return 0, nil
	}
	ms, _ := strconv.ParseInt(fields[1], 10, 64)
	return time.Duration(ms) * time.Millisecond, fields[2:]
}

// register notes the next heartbeats of a Cluster's holder, and returns an instant from before that. It is shared by
// the heartbeats to all masters that are sent at about the same time.
//
// The note comes first, and its reply is awaited. If it were sent together with the heartbeats, this could happen:
//
//  1. The heartbeat to one master is executed.
//  2. A value is changed on that master. The event is slow.
//  3. A fence reads the registry: the holder is not there yet.
//  4. The note is executed, and so are the other heartbeats: the holder has a lease that covers the old value.
func (w *watch) register(ctx context.Context) (asOf time.Time, err error) {
	w.registering.Lock()
	defer w.registering.Unlock()
	if time.Since(w.registeredAt) < w.heartbeat/2 {
		return w.registeredAt, nil
	}
	asOf = time.Now()
	w.fence.Note()
	reply, err := runScript(ctx, w.registryMaster(ctx), registerScript, []string{w.store.registry()},
		w.name, w.note(), rand.Text())
	if err != nil {
		return time.Time{}, err
	}
	identity, ok := reply.(string)
	if !ok {
		return time.Time{}, errUnexpectedReply
	}
	w.fence.Told(identity)
	w.registeredAt = asOf
	return asOf, nil
}

// registryMaster returns the client for questions about the registry.
func (w *watch) registryMaster(ctx context.Context) processor {
	if cluster := realCluster(w.store.base); cluster != nil {
		node, err := cluster.MasterForKey(ctx, w.store.registry())
		for _, l := range w.links {
			if err == nil && l.master.client == node {
				return l.master.control
			}
		}
		return w.store.client
	}
	return w.links[0].master.control
}

// Messages on the channel of a link that are no heartbeats begin with a letter: a marker is followed by the id of its
// fence and the channel for the answer, an answer by the id of the fence, the holder and the number of its link.
const (
	markerMessage = 'F'
	answerMessage = 'A'
)

// maxAnswers is how many answers of a link may wait to be sent. A fence that gets none waits for S.
const maxAnswers = 256

type answer struct{ channel, text string }

// fenced takes in a marker or an answer. The link has reported all that came before it.
func (l *link) fenced(payload string) {
	if l.watch.fence == nil {
		return
	}
	kind, rest := payload[0], strings.Fields(payload[1:])
	switch {
	case kind == answerMessage && len(rest) == 3:
		l.watch.holder.Answered(rest[0], fence.Link{Holder: rest[1], Number: rest[2]})
	case kind == markerMessage && len(rest) == 2 && rest[1] == l.channel:
		l.watch.fence.Marked(rest[0], l.master.number)
	case kind == markerMessage && len(rest) == 2:
		text := string(answerMessage) + rest[0] + " " + l.watch.name + " " + l.master.number
		select {
		case l.answers <- answer{rest[1], text}:
		default:
		}
	}
}

// sendAnswers sends them on the connection for heartbeats. One that is lost costs the fence time only.
func (l *link) sendAnswers(ctx context.Context) error {
	for {
		select {
		case a := <-l.answers:
			timed, cancel := context.WithTimeout(ctx, l.watch.timeout())
			_ = l.master.control.Publish(timed, a.channel, a.text).Err()
			cancel()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// tidy keeps the registry free of holders that are gone.
func (w *watch) tidy(ctx context.Context) error {
	ticker := time.NewTicker(w.heartbeat)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			timed, cancel := context.WithTimeout(ctx, w.timeout())
			w.fence.Beat(timed)
			cancel()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (w *watch) numbers() []string {
	numbers := make([]string, len(w.links))
	for i, l := range w.links {
		numbers[i] = l.master.number
	}
	return numbers
}
