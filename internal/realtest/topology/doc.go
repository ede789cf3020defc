// Package topology holds tests of the promises of package session on a real Cluster, behind Sentinel, and with the
// permissions that docs/operations.md lists.
package topology
