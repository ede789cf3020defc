package scsstore

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/seed34611480/session"
)

// sharedOwner is the owner of all sessions without a [WithOwner]. An index of owners lists them under it.
const sharedOwner = "scs"

// AllCtx returns the data of all sessions, by token, for [scs.SessionManager].Iterate. It keeps none of them alive. All
// of them are in memory at a time. A session that has ended before it was its turn is not brought back by a Commit. The
// storage must be a [session.Lister], with [session.WithOwnerIndex]; otherwise, and with a [WithOwner], the error
// matches [errors.ErrUnsupported].
func (s *Store) AllCtx(ctx context.Context) (map[string][]byte, error) {
	lister, ok := s.storage.(session.Lister)
	switch {
	case s.owner != nil:
		return nil, fmt.Errorf("scsstore: all: the sessions have owners, see WithOwner: %w", errors.ErrUnsupported)
	case !ok:
		return nil, fmt.Errorf("scsstore: all: the storage, a %T, is no Lister: %w", s.storage, errors.ErrUnsupported)
	}
	all := make(map[string][]byte)
	for stored, err := range lister.Sessions(ctx, sharedOwner) {
		if err != nil {
			return nil, err
		}
		if token, ok := strings.CutPrefix(stored.ID(), idOf("")); ok && stored.Type() == sessionType {
			all[token] = stored.Data()
			s.requests.add(ctx, token, stored)
		}
	}
	return all, nil
}
