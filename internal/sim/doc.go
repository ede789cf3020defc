// Package sim looks for interleavings that break the library's promises, and finds them again.
//
// A simulation is several RoutingStorages, the replicas, over one simulated remote, in virtual time. Each replica has a
// command link and an event link of its own, with delays, losses and stalls; the remote restarts, with its data or
// without; replicas stop for a while, or begin anew with an empty cache; sessions expire, and are evicted by tiny
// caches; clients load, store, create, delete and take a few sessions, all at once. Everything that is random follows
// from one number, the seed: the same seed gives the same history.
//
// To read it, begin with what is written down (history.go, ledger.go) and what is concluded from it (check.go). Then
// the simulation: config.go, world.go, clock.go; the remote in server.go, the links to it in link.go and watch.go, what
// befalls them in faults.go, and who uses it all in client.go.
//
// The remote shares no code with MemoryStorage, so that a mistake there is not made here too. The checker is checked by
// deliberate mistakes in the library, see mutants_test.go.
package sim
