// Package live keeps one live object for each session that this replica works with: a connection to the session's
// backend, a routing table, a compiled policy. What a session is lives in a [session.Storage], for all replicas. What
// cannot be stored lives here, for as long as the session does:
//
//	backends := live.New(sessions, dial, hangUp)
//	defer backends.Close()
//
//	ref, err := backends.Get(ctx, id) // loads the session, and opens the object on first use
//	if err != nil {
//		return err // of the storage, or of dial
//	}
//	defer ref.Release()
//	use(ref.Object)
//
// # When an object is opened
//
// On first use, by the caller's function, which is given the session. One call runs at a time for each session; all who
// ask meanwhile share it. It has a time-out of its own, [WithOpenTimeout]. A caller that gives up does not end the call
// for the others, the last one does. An error is returned to those who waited for it, as it is, and is not kept: the
// next Get tries again.
//
// # When an object has to go
//
// It is closed once, without any lock held, with one of these reasons:
//
//   - [Removed]: the session was deleted or taken, through any replica. A storage that is a [session.Watcher] tells of
//     it within milliseconds.
//   - [Expired]: the session's absolute lifetime is over, or it was idle for its TTL: the storage's, or an idle
//     time-out of its own. A timer notices: it may be that no caller ever asks again.
//   - [Superseded]: the session has changed in what matters, see [WithSame].
//   - [Evicted]: another session needed its place, see [WithMaxObjects].
//   - [Discarded]: a caller has found it broken, see [Ref.Discard].
//   - [Abandoned]: it was opened after all callers had given up, or after the time-out. It was never handed out.
//   - [Closed]: the set was closed.
//
// An object is never closed while it is in use. One that is in use when it has to go is closed by its last Release, and
// [Ref.Done] tells its users. New callers get a new object, or the error that the session is gone.
//
// # Sessions
//
// Get loads the session, which is a use of it, and keeps it alive. With a [session.RoutingStorage] that is normally
// free. While an object is handed out for long, to serve a stream for instance, nothing loads the session: it expires
// when no request comes for its TTL. A caller that wants to keep it alive has [session.KeepAlive] for that.
//
// While the storage is unavailable, Get fails with [session.ErrUnavailable], as a load does. Objects stay open, and
// their users keep them.
//
// # What it needs of the storage
//
// The four methods are enough. With more, the end of a session is noticed sooner:
//
//   - A [session.Watcher] reports removals and changes as they happen. Without one these are noticed by the next Get,
//     and by the timers.
//   - A method Peek(context.Context, string) (*session.Session, error) loads a session without keeping it alive. When
//     events may have been missed (from a [session.Gap] to the next [session.Alive]), or a session has changed, the set
//     looks at the sessions of its objects with it, in the background, a few at a time. Without one, only the next Get
//     and the timers notice what was missed, and only the next Get calls the function of [WithSame].
//   - A [session.Expirer] tells the TTL of sessions that have no idle time-out of their own. Without one, only the
//     absolute lifetime ends an object of such a session that is not asked for. With Peek, the set looks at a session
//     that it has not seen for a quarter of the TTL, as other replicas may use it. Without Peek, a session that was not
//     used here for a TTL counts as expired.
//
// A storage that caches must not lag behind its own reports: a load that begins after a removal was reported must not
// return what was removed, and a Peek that begins after a Gap, or after the first Alive that follows, must not return
// what was read before.
//
// # A comparison
//
// ToolHive's ValidatingCache keeps the live sessions of a pod, too: an LRU that restores an entry on a miss, and asks
// the storage about the entry on every hit. It learns that a session has ended only from a request for it: pod A keeps
// the connections of a session that pod B has ended for as long as no request for it comes to pod A, or until others
// need its place. It closes an entry while requests use it. When the storage cannot be asked, it hands out the entry,
// for however long the outage lasts. The first caller's context ends the restoring for all who wait, there is no
// time-out, and all errors become "not there". What it has, and this package leaves to the caller: it evicts all
// entries that match a condition.
//
// # Reading order
//
//   - objects.go: [Objects], and the way of a Get
//   - object.go: an object from before it is opened until it is closed
//   - room.go: how many there are, and which one makes room
//   - events.go, check.go: how the end of a session is noticed
//   - ref.go, options.go, errors.go: what callers see
package live
