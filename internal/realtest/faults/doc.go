// Package faults holds tests of the promises of package session while the network or a Redis server fails, and of what
// replicas cost Redis. All of them use real redis-server processes.
package faults
