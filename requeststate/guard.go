package requeststate

import (
	"context"
	"encoding/json"

	"github.com/seed34611480/session/internal/digest"
)

// Guard is a [Stored] or a [Sealed]. It is safe for concurrent use.
type Guard interface {
	// Seal returns what the client gets for a state: visible ASCII. Seal does not keep the state, which may have any
	// bytes. It is [ErrRejected] if the arguments are refused, see [Binding].
	Seal(ctx context.Context, binding Binding, state []byte) (requestState string, err error)

	// Open returns the state that was sealed for the same binding, or [ErrRejected]. requestState may be any text.
	Open(ctx context.Context, binding Binding, requestState string) (state []byte, err error)
}

// Binding is the request that a state belongs to. Seal and Open compute its digest themselves.
type Binding struct {
	// Principal is who has sent the request: [session.Principal] of the issuer and the subject of the verified token of
	// this request. In a stateful session that is not the one of its first request. It must not be empty, unless the guard
	// is [Anonymous].
	Principal string

	// Method is the method of the request, such as "tools/call". Name is what it is about: the name of the tool or the
	// prompt, the URI of the resource. Neither may be empty.
	Method, Name string

	// Arguments are the arguments of the request as JSON, which the client repeats. They count by value: spaces, the order
	// of members, escapes in strings and the notation of numbers make no difference, but numbers are compared exactly:
	// 2^53+1 is not 2^53. nil, null and {} are the same.
	//
	// Refused is what two decoders could understand differently: what is not JSON or not UTF-8, half of a surrogate pair,
	// and, at any depth, two members with the same name, or with names that differ only in case, which encoding/json takes
	// for the same; also more than 100 levels, and exponents of more than 9 digits.
	Arguments json.RawMessage
}

const bindingLabel = "github.com/seed34611480/session/requeststate binding"

// digest returns what stands for the binding. Two bindings have the same digest only if they are the same request.
func (b Binding) digest(o *options) (string, error) {
	if b.Method == "" || b.Name == "" || b.Principal == "" && !o.anonymous {
		return "", ErrIncomplete
	}
	arguments, err := canonical(b.Arguments)
	if err != nil {
		return "", rejected("the arguments are refused: " + err.Error())
	}
	sum := digest.Of(bindingLabel, b.Principal, b.Method, b.Name, string(arguments))
	return string(sum[:]), nil
}
