package session

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestHTTPStatus(t *testing.T) {
	t.Parallel()
	require.Equal(t, 200, HTTPStatus(nil))
	tested := make(map[error]bool)
	for _, test := range []struct {
		err  error
		want int
	}{
		{ErrNotFound, 404},
		{ErrCorrupt, 404},
		{ErrInvalidID, 400},
		{ErrTooLarge, 413},
		{ErrConflict, 409},
		{ErrExists, 409},
		{ErrTooMany, 409},
		{ErrUnavailable, 503},
		{ErrClosed, 503},
		{ErrLifetime, 500},
		{ErrEncode, 500},
		{errors.ErrUnsupported, 500},
		{context.Canceled, 503},
		{context.DeadlineExceeded, 503},
		{io.EOF, 500},
	} {
		tested[test.err] = true
		for form, err := range map[string]error{
			"bare":              test.err,
			"of an operation":   opErr("load", test.err),
			"with a cause":      opErrBecause("load", test.err, errors.Join(io.ErrUnexpectedEOF, ErrNotFound)),
			"wrapped":           fmt.Errorf("handler: %w", test.err),
			"wrapped twice":     fmt.Errorf("%w: %w", io.ErrUnexpectedEOF, fmt.Errorf("handler: %w", test.err)),
			"joined":            errors.Join(io.ErrUnexpectedEOF, test.err),
			"joined with a nil": errors.Join(nil, test.err),
		} {
			require.Equal(t, test.want, HTTPStatus(err), "%v, %s", test.err, form)
		}
		require.Equal(t, 503, HTTPStatus(errors.Join(test.err, ErrUnavailable)), "%v in an outage", test.err)
	}
	for _, sentinel := range sentinels {
		require.True(t, tested[sentinel], "%v is not in the table", sentinel)
	}
	require.Equal(t, 409, HTTPStatus(errors.Join(context.Canceled, ErrConflict)), "an answer came in time")
}
