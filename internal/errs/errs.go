// Package errs judges errors that other code has made: what they claim, and what of their text may be shown.
package errs

import (
	"errors"
	"fmt"
	"iter"
	"syscall"
)

// SafeError is an error whose text is safe to show: it is made of constants, sizes and type names, never of an id or of
// contents.
type SafeError string

func (e SafeError) Error() string { return string(e) }

// Reason is an error whose text is safe to show: its arguments are sizes and types.
func Reason(format string, args ...any) error { return SafeError(fmt.Sprintf(format, args...)) }

// Because returns cause with a text that is shown in the place of its own.
func Because(text string, cause error) error { return fmt.Errorf("%w: %w", SafeError(text), cause) }

// During returns cause with a text in front of what may be shown of its own: it says at what the cause has occurred.
func During(text string, cause error) error { return Because(text+": "+Shown(cause), cause) }

// All iterates over an error and all that it wraps, each error before those that it wraps.
func All(err error) iter.Seq[error] {
	return func(yield func(error) bool) { walk(err, yield) }
}

func walk(err error, yield func(error) bool) (more bool) {
	if err == nil {
		return true
	}
	if !yield(err) {
		return false
	}
	switch err := err.(type) { //nolint:errorlint // walk visits each error of the chain
	case interface{ Unwrap() error }:
		return walk(err.Unwrap(), yield)
	case interface{ Unwrap() []error }:
		for _, wrapped := range err.Unwrap() {
			if !walk(wrapped, yield) {
				return false
			}
		}
	}
	return true
}

// Unsupported reports whether err wraps [errors.ErrUnsupported] itself. [errors.Is] is also true for some system calls
// that failed, such as EOPNOTSUPP from a dialer: that is a failure of the network, which may pass.
func Unsupported(err error) bool {
	found := false
	for e := range All(err) {
		if _, ok := e.(syscall.Errno); ok { //nolint:errorlint // All visits each error of the chain
			return false
		}
		found = found || e == errors.ErrUnsupported //nolint:errorlint // identity is the point
	}
	return found
}
