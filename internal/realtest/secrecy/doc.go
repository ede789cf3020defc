// Package secrecy holds tests that look for session ids, owners, contents and keys where they must not be: in errors,
// in logs, and in all that Redis shows of itself.
package secrecy
