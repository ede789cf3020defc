// Package nearcache keeps copies of values near their readers, coherent with a source that others change too. A hit
// costs no I/O and no lock, and is never staler than a bound, whatever the network and the scheduler do. The package
// knows neither what a value is nor what the source is.
//
// # Reading order
//
//   - cache.go: [Config], and the two ways of a load: [Cache.Hit], then [Cache.Fetch]; a look that is no load
//   - lease.go: the serving rule, the lease and its epochs, the clock
//   - lifetime.go: values with an idle lifetime of their own
//   - table.go, memory.go: the entries, how a hit finds one, which one makes room, and what they take of the heap
//   - flight.go: one call to the source for all who wait for the same value
//   - fresh.go: a load that must not be stale at all
//   - write.go, sweep.go: what a write does to the copy, and the removal of many values to all copies
//   - revoke.go: what forbids a copy, and what allows one
//   - watch.go: what the watcher's reports do to the lease and the copies
//   - refresh.go, tell.go: how the source learns of uses, in the background, many with one call; that renews copies
//   - absent.go: ids of which the source is known to have no value
//   - gate.go, together.go: how many loads ask the source at a time, what they do in an outage, and how those that wait
//     share a call
//   - stale.go: answers in an outage, if asked for
//   - loaders.go: the goroutines that call the source
//   - panic.go, stats.go, news.go: what the source does wrong; what the outside sees, and what the log is told
//   - age.go: for tests only
//
// # The serving rule
//
// S is MaxStaleness. A copy is served at an instant now if
//
//	( now < fetchedAt + S   or   its epoch is the lease's and now < lease.until )   and   it is alive
//
// fetchedAt is read before the source is asked, so a copy can miss only changes that were acknowledged after it. Alive
// means that the source cannot have forgotten the value yet, and that the value itself has not expired. With LeaseOnly
// only the lease counts, so that a fence can wait until no copy misses a change.
//
// # The lease
//
// The watcher reports changes in order, and proves at intervals that none is missing. A proof Alive(asOf) says that all
// changes acknowledged before asOf have been reported. So a change that is missing here is younger than asOf, and
// serving until asOf + S keeps the bound:
//
//	          Gap            the first Alive(t)            the next Gap
//	no epoch -----> no epoch ------------------> epoch 1 ---------------> no epoch ...
//	                                             |    ^                    every Gap ends the lease
//	                                    Alive(t) |    | Alive(t'), t' > t
//	                                             v    |
//	                                             until = t + S
//
// A copy belongs to the epoch that was read before the source was asked. When reports may have been lost, the watcher
// reports a Gap: the epoch ends, and its lease covers nothing any more. The next one begins with the first proof, see
// [lease]. Copies of no epoch, or of an earlier one, stay, bounded by their age, until a load renews them.
//
// That is where a lost event is bounded. Messages of a connection arrive in order, so an event can be lost only
// together with all that follows it. Then no proof arrives either, and the lease ends S after the last one was sent; or
// the connection is replaced, which is a Gap.
//
// # The states of a copy
//
//	               flight lands, write is acknowledged
//	(none) ------------------------------------------------> young     now < fetchedAt + S
//	  ^                                                         |
//	  |  Removed, a newer Changed, a write's end,               v
//	  |  the source has answered "not there"                 leased    now < lease.until, same epoch
//	  +---------------------------------------------------      |
//	  |  made room, expired, Close                              v      no proof in time, or another epoch
//	  +---------------------------------------------------  refused    a load asks the source
//	                                                            |
//	                                                            v      only with StaleIfError, in an outage
//	                                                          stale
//
// While a flight or a write has not ended, what becomes known about its id decides whether its result may be kept
// (revoke.go): a Removed, or a write with an unknown outcome, forbids every result; a Changed forbids older ones.
//
// # Under load
//
// As many loads ask the source at a time as LoadConcurrency allows. The others wait for their turn in a queue, each for
// as long as it has callers, and are not sent when these have gone. When a load has waited in vain, and nothing was
// heard from the source since, an outage begins: loads fail at once, one probe at a time asks the source, and the first
// answer ends it.
//
// The source has to learn of uses, or it would forget a value that is served here all the time. A use becomes a small
// record of its own when the copy is RefreshAfter old. It does not depend on the copy any more, waits for its turn
// without holding up a worker, and tells the source when the value was used, not when the source learned of it.
//
// # What is guaranteed
//
//   - No load that starts S after a change was acknowledged returns older state, as long as the source is one copy and
//     the watcher's proofs are true.
//   - After a write has returned, loads here see it, or something later.
//   - Nothing is served before the source acknowledged it, or after it expired.
//   - A value that is used at least once every TTL - RefreshAfter does not expire in the source, as long as the source
//     can be told in time. A value that is not used for a TTL is not kept alive, however late the source was told. If a
//     value has an idle lifetime of its own, that one counts, and RefreshAfter is at most a quarter of it.
//   - Memory is bounded by MaxEntries, MaxBytes, MaxAbsent and the calls that have not ended.
//
// # What is not
//
//   - A copy is not fresh: within S it may miss a change. A caller that must not miss one asks with [Cache.FetchFresh];
//     package fence waits until no copy does.
//   - A change that sends no event and keeps its revision is noticed only when the value is fetched anew.
//   - The clock is monotonic and goes on while the process is stopped, but on most systems not while the whole machine
//     is suspended.
package nearcache
