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
	mu sync.Mutex // protects following fields
	// found is by request, and then by token. Contexts that were derived from that of the request with values, as scs
	// does, have the same channel.
	found map[<-chan struct{}]map[string]*session.Session
}

// add notes the state of a session that a request has last seen, until the request's context ends.
func (rs *requests) add(ctx context.Context, token string, s *session.Session) {
	request := ctx.Done()
	if request == nil {
		return // it would never be forgotten
	}
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if found, known := rs.found[request]; known {
		found[token] = s
		return
	}
	if rs.found == nil {
		rs.found = make(map[<-chan struct{}]map[string]*session.Session)
	}
	rs.found[request] = map[string]*session.Session{token: s}
	context.AfterFunc(ctx, func() {
		rs.mu.Lock()
		defer rs.mu.Unlock()
		delete(rs.found, request)
	})
}

// find returns the state of a session that a request has last seen, or nil.
func (rs *requests) find(ctx context.Context, token string) *session.Session {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	return rs.found[ctx.Done()][token]
}
