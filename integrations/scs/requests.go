package scsstore

import (
	"context"
	"sync"

	"github.com/seed34611480/session"
)

// requests knows what the requests that are being answered have found. scs passes only data and tokens on, so that
// without it: (1) a request finds a session, (2) another one ends it, (3) the first one commits, and the session is
// back. The zero value is ready for use.
type requests struct {
	mu    sync.Mutex // protects following fields
	found map[request]*session.Session
}

// request is a token in one request. Contexts that were derived from that of the request with values, as scs does, have
// the same channel.
type request struct {
	done  <-chan struct{}
	token string
}

// add notes the state of a session that a request has last seen, until the request's context ends.
func (rs *requests) add(ctx context.Context, token string, s *session.Session) {
	key := request{ctx.Done(), token}
	if key.done == nil {
		return // it would never be forgotten
	}
	rs.mu.Lock()
	if rs.found == nil {
		rs.found = make(map[request]*session.Session)
	}
	_, known := rs.found[key]
	rs.found[key] = s
	rs.mu.Unlock()
	if known {
		return
	}
	context.AfterFunc(ctx, func() {
		rs.mu.Lock()
		defer rs.mu.Unlock()
		delete(rs.found, key)
	})
}

// find returns the state of a session that a request has last seen, or nil.
func (rs *requests) find(ctx context.Context, token string) *session.Session {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	return rs.found[request{ctx.Done(), token}]
}
