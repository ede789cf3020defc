// Package fence lets one replica wait until every other one has applied what was changed before. It knows the rules of
// a fence, and neither Redis nor the cache: a [Server] carries its questions.
//
// # The rules
//
// A holder is a replica that serves copies under leases. Its lease runs until S after an instant that it noted before
// it sent a heartbeat. So S after [Holder.Fence] was called, whatever else happens, no lease is left that could cover a
// copy from before. The fence may return then, and returns earlier, normally after two round trips, if all of this
// holds:
//
//   - It has read the registry of the holders after it was called. Each heartbeat notes its sender there before it
//     proves anything. So a holder that is not in it has no lease, or takes its next one only after its link has
//     delivered what was changed before.
//   - A marker went to each link of each holder, and was delivered by the very server that it was sent to. Messages
//     that another server passes on may overtake what this one still has to deliver.
//   - Each holder has answered: it has applied all that came before the marker on that link. The holder that calls is
//     one in any case, listed or not. After a failover that it has not noticed its registration may be lost, too, and
//     its marker does not come then.
//   - The epoch of the caller's watch, in which its own markers arrived, is S old when the fence returns, and the
//     masters are still those that it began over. After a failover leases may run of holders that the new master does
//     not know. They were noted before that epoch began, and so have ended.
//   - The registry is the one that the caller's heartbeats have been told of for S. It is a key like others: it can be
//     evicted, or lost in a failover, and all holders with it. It is known by a random identity.
//
// Everything that goes wrong only forbids the early return. Markers are sent anew after a while: an answer may have
// been lost, and a holder that has left is not asked again.
//
// # Leaving and forgetting
//
// A holder that stops leaves the registry, after it has stopped to serve and to send heartbeats. One that has crashed
// is forgotten: when its note, which changes with each of its heartbeats, is the same in two looks, the second of which
// is sent at least S after the answer to the first one arrived. The second look compares and removes in one step. A
// replica that has subscribed anew has a new name, and removes its former one when its old lease has ended.
package fence
