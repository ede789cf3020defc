// Package sim searches for interleavings that break the library's promises, and reproduces them.
//
// A simulation runs several RoutingStorages, the replicas, over one simulated remote, in virtual time. Each replica has
// its own command link and event link, with delays, losses and stalls. The remote restarts, with or without its data.
// Replicas pause, or restart with an empty cache. Sessions expire, and tiny caches evict them. Clients load, peek,
// store, create, delete and take a few sessions, all at once. Everything random follows from one number, the seed: the
// same seed gives the same history.
//
// Reading order: begin with what is recorded (history.go, ledger.go) and how it is judged (check.go). Then the
// simulation: config.go, world.go, clock.go; the remote in server.go; the links to it in link.go, call.go and watch.go;
// the faults in faults.go; the clients in client.go.
//
// The remote shares no code with MemoryStorage, so that a bug there is not repeated here. The checker is tested with
// deliberate bugs in the library, see mutants_test.go.
package sim
