package redisstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// Version is a value as its reader knows it.
type Version struct {
	ID       string
	Revision uint64
	End      time.Time // the absolute expiry; zero for none
}

// Unchanged reports which values are still stored with the revision that the caller knows, and starts the TTL of those
// anew, as [Store.Get] does. It is one command, whatever the number of values. On a Cluster it is
// [errors.ErrUnsupported]: a script may use keys of one slot only, and hardly two values share a slot.
func (s *Store) Unchanged(ctx context.Context, versions []Version) ([]bool, error) {
	client, ok := s.client.(*redis.Client)
	if !ok {
		return nil, fmt.Errorf("revalidating through a %T: %w", s.client, errors.ErrUnsupported)
	}
	if len(versions) == 0 {
		return nil, nil
	}
	keys := make([]string, len(versions))
	args := append(make([]any, 0, 1+2*len(versions)), s.ttl.Milliseconds())
	for i, v := range versions {
		keys[i] = s.key(v.ID)
		args = append(args, header(v.Revision))
		if v.End.IsZero() {
			args = append(args, "")
		} else {
			args = append(args, v.End.UnixMilli())
		}
	}
	reply, err := runScript(ctx, client, revalidateScript, keys, args...)
	if err != nil && redis.HasErrorPrefix(err, "CROSSSLOT") { // a plain client of a Cluster's node
		return nil, fmt.Errorf("%w: %w", errors.ErrUnsupported, err)
	}
	if err != nil {
		return nil, err
	}
	answers, _ := reply.(string)
	if len(answers) != len(versions) {
		return nil, errUnexpectedReply
	}
	unchanged := make([]bool, len(versions))
	for i := range unchanged {
		unchanged[i] = answers[i] == '1'
	}
	return unchanged, nil
}
