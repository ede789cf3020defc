package handle

import "errors"

// ErrNoOwner: the owner is empty, and the store is not [Anonymous]. It is a mistake of the program, not of a client.
var ErrNoOwner = errors.New("handle: the owner is empty")

// failure has a text without the cause's own, which may show the value. The cause stays reachable.
type failure struct {
	text        string
	kind, cause error // cause may be nil
}

func (f *failure) Error() string { return "handle: " + f.text }

// GoString keeps %#v from printing the text of the cause.
func (f *failure) GoString() string { return f.Error() }

func (f *failure) Unwrap() []error {
	if f.cause == nil {
		return []error{f.kind}
	}
	return []error{f.kind, f.cause}
}
