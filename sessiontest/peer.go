package sessiontest

import "github.com/seed34611480/session"

var peerCases = []testCase{
	{"PeerSees", peerSees},
	{"PeerConflict", peerConflict},
	{"PeerLateWriter", peerLateWriter},
	{"PeerKeepsAlive", peerKeepsAlive},
	{"PeerConcurrentUpdate", peerConcurrentUpdate},
}

func (e *env) needPeer() {
	e.Helper()
	if e.Peer == nil {
		e.Skipf("Subject.Peer is not set")
	}
}

// peerSees: a change through one instance is seen through the other within Staleness.
func peerSees(e *env) {
	e.needPeer()
	for _, d := range []struct {
		name   string
		at, by session.Storage
	}{
		{"the peer", e.Storage, e.Peer},
		{"the storage", e.Peer, e.Storage},
	} {
		s := e.fresh()
		e.goneFrom(d.by, s.ID(), "through "+d.name+" before it was stored")
		change := func(what string, s *session.Session) {
			e.Helper()
			if err := d.at.Store(e.ctx, s); err != nil {
				e.Fatalf("%s: %v", what, err)
			}
			e.settle()
			e.same("session seen through "+d.name+" after "+what, e.loadFrom(d.by, s.ID()), s)
		}
		change("Store of a new session", s)
		s = s.With("k", "v")
		change("Store of a change", s)
		s = session.New(s.ID())
		change("an unconditional Store", s)
		if err := d.at.Delete(e.ctx, s.ID()); err != nil {
			e.Fatalf("Delete: %v", err)
		}
		e.settle()
		e.goneFrom(d.by, s.ID(), "through "+d.name+" after Delete")
	}
}

// peerConflict: a write is never decided by what this instance remembers. After a conflict, Load returns the present
// state, so that the next attempt can succeed.
func peerConflict(e *env) {
	e.needPeer()
	s := e.stored()
	mine := e.load(s.ID())
	theirs := e.loadFrom(e.Peer, s.ID()).With("k", "theirs")
	if err := e.Peer.Store(e.ctx, theirs); err != nil {
		e.Fatalf("Store through the peer: %v", err)
	}
	e.fails("Store of a copy that was changed through the peer",
		e.Storage.Store(e.ctx, mine.With("k", "mine")), session.ErrConflict)
	e.untouched("a conflict with the peer", theirs)
	e.store(e.load(s.ID()).With("k", "mine"))
}

// peerLateWriter: a session that was deleted through the peer does not come back, even if this instance remembers it.
func peerLateWriter(e *env) {
	e.needPeer()
	s := e.stored()
	late := e.load(s.ID()).With("k", "late")
	if err := e.Peer.Delete(e.ctx, s.ID()); err != nil {
		e.Fatalf("Delete through the peer: %v", err)
	}
	e.fails("Store of a copy of a session that was deleted through the peer",
		e.Storage.Store(e.ctx, late), session.ErrNotFound)
	e.gone(s.ID(), "after a Store that found the session deleted")
	e.goneFrom(e.Peer, s.ID(), "through the peer after a late Store")

	successor := session.New(s.ID())
	if err := e.Peer.Store(e.ctx, successor); err != nil {
		e.Fatalf("Store through the peer: %v", err)
	}
	e.fails("Store of a copy of a session that was deleted and stored anew through the peer",
		e.Storage.Store(e.ctx, late), session.ErrConflict)
	e.same("session seen through the peer", e.loadFrom(e.Peer, s.ID()), successor)
}

// peerKeepsAlive: a session that is in use through one instance stays alive for the other.
func peerKeepsAlive(e *env) {
	e.needPeer()
	s := e.stored()
	for range 4 {
		e.Advance(e.busyStep())
		if _, err := e.Peer.Load(e.ctx, s.ID()); err != nil {
			e.Fatalf("Load through the peer every 3/4 TTL: %v", err)
		}
	}
	e.untouched("the peer loaded it for several TTLs", s)
	e.expire()
	e.goneFrom(e.Peer, s.ID(), "through the peer of a session that was idle for longer than the TTL")
}

// peerConcurrentUpdate: no update is lost among writers on both instances.
func peerConcurrentUpdate(e *env) {
	e.needPeer()
	e.count(e.stored().ID(), e.Storage, e.Peer)
}
