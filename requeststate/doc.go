// Package requeststate protects state that a server gives to a client, and gets back with a later request: the
// requestState of the Model Context Protocol. A server that needs more input answers a call with that state, and the
// client repeats the call, with the state and with what its user has said. To the server, what comes back is the input
// of an attacker.
//
//	guard := requeststate.NewStored(remote)           // or requeststate.NewSealed(ring)
//
//	binding := requeststate.Binding{
//		Principal: user,                              // of the verified token of this very request
//		Method:    "tools/call", Name: "deploy",
//		Arguments: params.Arguments,                  // as the client has sent them
//	}
//	requestState, err := guard.Seal(ctx, binding, state)    // in the answer that asks for input
//	state, err := guard.Open(ctx, binding, requestState)    // when the call is repeated
//
// What Open returns is what Seal was given, by this server, for the same principal, method, name and arguments, not
// long ago. Everything else is [ErrRejected]. So a user cannot have a call go on that another one has begun, nor
// confirm one call and have another one executed.
//
// # Which guard
//
//   - [Stored] keeps the state in a [session.Storage]: a round trip for each Seal and Open, 26 characters for the
//     client, no keys. It can be opened once.
//   - [Sealed] leaves the state with the client, encrypted with a [session.KeyRing]: no I/O, and a requestState that
//     grows with the state. It can be opened again and again until it expires.
//   - [Sealed] with [Once] can be opened once: Open has a round trip.
//
// Stored is the one to begin with. Sealed needs no storage, but cannot keep a client from presenting a requestState
// again within its lifetime. The specification says so, too: what must happen once needs one of the others.
//
// # After an outage
//
// An error that is not [ErrRejected] is an outage of the storage ([session.ErrUnavailable]): the client may repeat its
// request. If the storage had executed the question and only its answer was lost, the state is used up, and the
// repetition is rejected: the client begins anew. No state is ever opened twice.
package requeststate
