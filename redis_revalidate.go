package session

import (
	"context"
	"errors"

	"github.com/redis/go-redis/v9"
)

// Revalidate implements [Revalidator] with one command, whatever the number of sessions, when the client is made by
// redis.NewClient or NewFailoverClient. With others, and when the server belongs to a Cluster, it is
// [errors.ErrUnsupported]: hardly two keys are in the same slot there, and a script may only use keys of one. A value
// that was changed past this package and kept its revision counts as unchanged.
func (r *RedisStorage) Revalidate(ctx context.Context, sessions []*Session) (unchanged []bool, err error) {
	const op = "revalidate"
	for _, s := range sessions {
		if s == nil {
			return nil, fail(op, ErrInvalidID)
		}
		if err := ValidateID(s.id); err != nil {
			return nil, fail(op, err)
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, fail(op, err)
	}
	client, ok := r.client.(*redis.Client)
	if !ok {
		return nil, fail(op, errors.ErrUnsupported)
	}
	if len(sessions) == 0 {
		return nil, nil
	}
	keys := make([]string, len(sessions))
	args := append(make([]any, 0, 1+2*len(sessions)), r.ttl.Milliseconds())
	for i, s := range sessions {
		keys[i] = r.key(s.id)
		args = append(args, header(s.Revision()))
		if s.expiresAt.IsZero() {
			args = append(args, "")
		} else {
			args = append(args, s.expiresAt.UnixMilli())
		}
	}
	reply, err := runScript(ctx, client, revalidateScript, keys, args...)
	if err != nil && redis.HasErrorPrefix(err, "CROSSSLOT") {
		return nil, failBecause(op, errors.ErrUnsupported, err, "")
	}
	if err != nil {
		return nil, r.failure(ctx, op, "", err)
	}
	answers, _ := reply.(string)
	if len(answers) != len(sessions) {
		return nil, failBecause(op, ErrUnavailable, errNonsense, errNonsense.Error())
	}
	unchanged = make([]bool, len(sessions))
	for i := range unchanged {
		unchanged[i] = answers[i] == '1'
	}
	return unchanged, nil
}
