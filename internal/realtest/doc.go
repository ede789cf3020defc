// Package realtest holds what the tests on real redis-server processes share: replicas, clients for each topology, and
// traffic whose answers are checked. The tests themselves are in realtest/faults, realtest/topology and
// realtest/secrecy. They use only the public API of package session.
package realtest
