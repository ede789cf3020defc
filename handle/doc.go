// Package handle keeps state behind unguessable handles: a basket, a browser, a workflow, an upload. A tool mints a
// handle, gives it to its client, and gets it back with later calls, on any replica. With the Model Context Protocol of
// 2026-07-28 this is how a server keeps state between calls; it fits any API that hands out references.
//
//	baskets := handle.New[Basket](sessions, "basket", handle.WithIdleTimeout(24*time.Hour))
//
//	h, err := baskets.Mint(ctx, user, Basket{})     // the tool that creates one returns h
//	basket, err := baskets.Load(ctx, user, h)       // other tools get h as an argument
//	basket, err = baskets.Update(ctx, user, h, func(b *Basket) error { return b.Add(item) })
//
// # A handle is no proof
//
// Handles end up in chat logs, in prompts of other agents, in places where others read them. So each call also names
// the owner, whom the caller has authenticated: [session.Principal] of the issuer and the subject of a verified token,
// never something that the client has said. A handle works for the owner that it was minted for, and for no other.
//
// That is so by construction, not by a comparison that a caller could forget: what is stored is found under a hash of
// kind, owner and handle. Another owner's handle, a handle of another kind, one that was invented, has expired or was
// deleted lead to a key under which there is nothing. All of these are one and the same [session.ErrNotFound], in the
// same time. Any text may be passed for a handle.
//
// # What is at rest
//
// The storage gets that hash as the id of a session, with the JSON of the value as its data, and a hash of kind and
// owner as its principal. So a dump of Redis contains neither a handle that could be used, nor an owner; the values
// themselves are readable, unless the storage seals them. An index of owners ([session.WithOwnerIndex]) and its limit
// ([session.WithOwnerLimit]) count each owner's handles of one kind, and [Store.Revoke] ends them.
//
// There is no list of an owner's handles. For that, handles would have to be stored, and would be usable by all who can
// read the storage. A tool that lists what its user has keeps that list itself: in a value of its own, for example.
//
// # The storage
//
// It needs the four methods of [session.Storage], for Take also a [session.Taker]. A storage of their own, with another
// prefix ([session.WithKeyPrefix]), keeps handles apart from sessions that clients name by their id: with one storage
// for both, what a reader of the storage sees as the id of a value is also the id of a session without contents of its
// own. Through a [session.RoutingStorage] a Load is normally local.
package handle
