// Package gosdk keeps the state of MCP servers that are built with github.com/modelcontextprotocol/go-sdk, so that any
// of their replicas can go on with what another one has begun.
//
// A server of the Model Context Protocol of 2026-07-28 has no sessions. Its state is either behind handles, which tools
// return and get back as arguments, or in the requestState that a client presents when it repeats a call with what its
// user has said. To the server, both are the input of an attacker.
//
//   - [RequestState] is middleware that guards every requestState of a server: no handler sees one that was not made
//     for this user, this call and these arguments.
//   - [For] binds a store of handles to the user of a request, and [ToolError] tells a model what to do after an error.
//   - [Principal] says who has sent a request.
package gosdk
