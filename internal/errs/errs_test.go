package errs

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestUnsupported(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		err  error
		want bool
	}{
		"nil":              {nil, false},
		"itself":           {errors.ErrUnsupported, true},
		"wrapped":          {fmt.Errorf("watch: %w", errors.ErrUnsupported), true},
		"one of two":       {fmt.Errorf("%w: %w", SafeError("a Ring"), errors.ErrUnsupported), true},
		"EOPNOTSUPP":       {syscall.EOPNOTSUPP, false},
		"ENOSYS":           {syscall.ENOSYS, false},
		"of a dialer":      {&net.OpError{Op: "dial", Err: os.NewSyscallError("socket", syscall.EOPNOTSUPP)}, false},
		"because of errno": {fmt.Errorf("%w: %w", errors.ErrUnsupported, syscall.ECONNREFUSED), false},
		"another":          {errors.New("unsupported"), false},
	} {
		require.Equal(t, test.want, Unsupported(test.err), name)
	}
}

func TestAll(t *testing.T) {
	t.Parallel()
	a, b, c := SafeError("a"), SafeError("b"), SafeError("c")
	ab := errors.Join(a, b)
	abc := fmt.Errorf("%w: %w", ab, c)
	require.Equal(t, []error{abc, ab, a, b, c}, slices.Collect(All(abc)))
	require.Empty(t, slices.Collect(All(nil)))
	for e := range All(abc) {
		if e == error(a) { //nolint:errorlint // identity is the point
			break
		}
		require.NotEqual(t, error(b), e, "a loop may end early")
	}
}
