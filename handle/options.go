package handle

import (
	"fmt"
	"time"
)

// Option configures a [Store].
type Option func(o *options)

type options struct {
	idleTimeout time.Duration // 0: the storage's; negative: none
	maxLifetime time.Duration // 0: none
	anonymous   bool
}

// WithIdleTimeout sets how long a value lives without being used: each Load, Update and Mint starts that time anew. Say
// so in the description of the tool that mints: a model that knows it does not try in vain. 0 means the storage's TTL,
// the default; [session.NoIdleTimeout], and every other negative duration, means that only [WithMaxLifetime] ends it.
// Positive durations are rounded up to milliseconds.
func WithIdleTimeout(d time.Duration) Option {
	return func(o *options) { o.idleTimeout = d }
}

// WithMaxLifetime sets how long after it was minted a handle ends, however often it is used. 0 means that there is no
// such end, the default, unless the storage has one ([session.WithMaxLifetime]). It panics when d is negative.
func WithMaxLifetime(d time.Duration) Option {
	if d < 0 {
		panic(fmt.Sprintf("handle: WithMaxLifetime(%v): cannot be negative", d))
	}
	return func(o *options) { o.maxLifetime = d }
}

// Anonymous allows "" for the owner, for servers without authentication: such a handle works for all who know it. By
// default "" is [ErrNoOwner], because it usually means that a check of the caller was forgotten.
func Anonymous() Option {
	return func(o *options) { o.anonymous = true }
}
