package redisstore

import (
	"context"
	"sync"

	"github.com/redis/go-redis/v9"

	"github.com/seed34611480/session/internal/fence"
)

// fenceServer carries the questions of a fence on the connections for heartbeats of the caller's own watch.
type fenceServer struct{ *watch }

// Look implements [fence.Server].
func (w fenceServer) Look(ctx context.Context) (fence.Look, error) {
	marked, _, err := w.ask(ctx, "")
	return marked.Look, err
}

// Forget implements [fence.Server].
func (w fenceServer) Forget(ctx context.Context, notes map[string]string) error {
	return w.store.forget(ctx, w.registryMaster(ctx), notes)
}

// SameMasters implements [fence.Server]. Where there is one server, the marker tells: it is delivered to the caller by
// the server that its own subscription is on, or not at all.
func (w fenceServer) SameMasters(ctx context.Context) (bool, error) {
	if realCluster(w.store.base) == nil {
		return true, nil
	}
	return w.isKnownTo(ctx, w.links[0].master.control)
}

// Mark implements [fence.Server]. A master with another history delivers markers on links that have missed events, and
// the caller's epoch, which the next heartbeat ends, is older than that.
func (w fenceServer) Mark(ctx context.Context, id string) (fence.Marked, error) {
	cluster := realCluster(w.store.base)
	if cluster == nil {
		marked, history, err := w.ask(ctx, string(markerMessage)+id+" "+w.links[0].channel)
		if err == nil {
			err = w.links[0].stays(history)
		}
		return marked, err
	}
	marked, _, err := w.ask(ctx, "")
	if err != nil {
		return fence.Marked{}, err
	}
	links := make(map[string][]string) // the numbers, by holder
	for name, e := range marked.Holders {
		_, links[name] = parseNote(e.Note)
	}
	links[w.name] = w.numbers()
	return w.markEach(ctx, cluster, id, marked.Look, links)
}

// ask runs fence.lua. It also returns the history of the server.
func (w fenceServer) ask(ctx context.Context, marker string) (m fence.Marked, history string, err error) {
	reply, err := runScript(ctx, w.registryMaster(ctx), fenceScript, []string{w.store.registry()},
		w.store.linkChannels(), marker, w.name, w.links[0].master.number)
	if err != nil {
		return fence.Marked{}, "", err
	}
	fields, ok := reply.([]any)
	if !ok || len(fields)%3 != 2 {
		return fence.Marked{}, "", errUnexpectedReply
	}
	m = fence.Marked{Look: fence.Look{Holders: make(map[string]fence.Entry)}}
	m.Registry, _ = fields[0].(string)
	history, _ = fields[1].(string)
	for fields = fields[2:]; len(fields) > 0; fields = fields[3:] {
		name, _ := fields[0].(string)
		note, _ := fields[1].(string)
		receivers, _ := fields[2].(int64)
		link := fence.Link{Holder: name, Number: w.links[0].master.number}
		if note != "" { // not the caller, who is not in the registry
			lease, numbers := parseNote(note)
			m.Holders[name] = fence.Entry{Note: note, Lease: lease}
			if len(numbers) > 0 {
				link.Number = numbers[0]
			}
		}
		if receivers > 0 {
			m.Sent = append(m.Sent, link)
		} else {
			m.Silent = append(m.Silent, link)
		}
	}
	return m, history, nil
}

// markEach sends a marker to each link of each holder on a Cluster. The script is that of a heartbeat: it goes to the
// master of the link, by the key of its heartbeats, and counts the receivers there. A marker that comes by the bus
// between the nodes is not counted. A holder must have a link to each of the masters that the caller watches.
func (w fenceServer) markEach(
	ctx context.Context, cluster *redis.ClusterClient, id string, look fence.Look, links map[string][]string,
) (fence.Marked, error) {
	m := fence.Marked{Look: look}
	own := make(map[*redis.Client]*link)
	for _, l := range w.links {
		own[l.master.client] = l
	}
	todo := make(map[*link][]fence.Link) // by the caller's own link to the same master
	for name, numbers := range links {
		covered := make(map[*link]bool)
		for _, number := range numbers {
			to := fence.Link{Holder: name, Number: number}
			node, err := cluster.MasterForKey(ctx, w.store.heartbeatKey(name, number))
			if err != nil {
				return fence.Marked{}, err
			}
			l := own[node]
			if l == nil || covered[l] {
				m.Silent = append(m.Silent, to)
				continue
			}
			covered[l] = true
			todo[l] = append(todo[l], to)
		}
		if len(covered) != len(own) {
			m.Silent = append(m.Silent, fence.Link{Holder: name})
		}
	}
	w.sendMarkers(ctx, id, todo, &m)
	return m, nil
}

// sendMarkers sends those of each master one after the other, and notes what became of them.
func (w fenceServer) sendMarkers(ctx context.Context, id string, todo map[*link][]fence.Link, m *fence.Marked) {
	var mu sync.Mutex
	var sending sync.WaitGroup
	for l, targets := range todo {
		sending.Go(func() {
			for _, to := range targets {
				reply, err := runScript(ctx, l.master.control, heartbeatScript,
					[]string{w.store.heartbeatKey(to.Holder, to.Number)},
					w.store.linkChannel(to.Holder, to.Number), string(markerMessage)+id+" "+l.channel,
					w.store.linkShard(to.Holder, to.Number))
				var d delivery
				if err == nil {
					d, err = parseDelivery(reply)
				}
				mu.Lock()
				if err == nil && d.receivers > 0 && l.stays(d.history) == nil {
					m.Sent = append(m.Sent, to)
				} else {
					m.Silent = append(m.Silent, to)
				}
				mu.Unlock()
			}
		})
	}
	sending.Wait()
}
