package session

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
)

// SealedCodec is a [Codec] that encrypts and authenticates what another one makes of a session, with [KeyRing] and
// [Sealer]: a reader of Redis learns nothing of the session but its size, and a writer can neither change nor invent
// one. The values are about 60 bytes longer: [WithMaxSize] counts them as they are stored.
//
// A value that this ring has not sealed, or that was altered, is [ErrCorrupt], and the text says which it was: "not
// sealed", "unknown key" or "altered". The value is left alone.
//
// A value is bound to its session. The id and the owner, like all the rest, are part of what is sealed, and storages
// refuse a value whose id is not the one that it was found under: what was moved to another key counts as altered. They
// need no additional data for that, and a storage can read a value whose id it does not know, as an index of owners
// requires. What nothing binds is the place: an older value of the same session, and one of the same id in another
// storage with the same ring. Storages whose sessions must not be mixed up need rings of their own.
//
// A session stays sealed with the key that was the first one when it was last stored; loads do not change that. So an
// old key has to stay in the ring, behind the first one, for as long as a session can live without being stored: until
// the last [Session.ExpiresAt] of then. What is left after that is ErrCorrupt.
type SealedCodec struct {
	hidden

	inner       Codec
	ring        *KeyRing
	sealer      *Sealer
	acceptPlain bool
	writePlain  bool
}

// SealedOption configures a [SealedCodec].
type SealedOption func(c *SealedCodec)

// AcceptPlain makes a [SealedCodec] accept values that are not sealed, for as long as there are some from before.
// Without it they are refused, because a writer of Redis could invent one.
func AcceptPlain() SealedOption { return func(c *SealedCodec) { c.acceptPlain = true } }

// WritePlain makes a [SealedCodec] write values that are not sealed, and accept them. It is the first of the three
// steps in which replicas begin to seal without losing a session: all of them read sealed values, with WritePlain; all
// of them seal, with AcceptPlain; and when no plain value is left, neither.
func WritePlain() SealedOption {
	return func(c *SealedCodec) { c.acceptPlain, c.writePlain = true, true }
}

// NewSealedCodec returns a codec that seals what inner encodes, which is [JSONCodec] if that is nil. It panics when
// ring is nil.
func NewSealedCodec(ring *KeyRing, inner Codec, opts ...SealedOption) *SealedCodec {
	if ring == nil {
		panic("session: NewSealedCodec: the key ring is nil")
	}
	if isNil(inner) {
		inner = JSONCodec{}
	}
	c := &SealedCodec{inner: inner, ring: ring, sealer: ring.Sealer("session/value")}
	for _, opt := range opts {
		opt(c)
	}
	return c
}

// sealedPrefix tells a sealed value from a plain one.
const sealedPrefix = "sealed:"

// Encode implements [Codec].
func (c *SealedCodec) Encode(s *Session) ([]byte, error) {
	data, err := c.inner.Encode(s)
	if err != nil || c.writePlain {
		return data, err
	}
	return c.sealer.seal(sealedPrefix, data, nil), nil
}

// Decode implements [Codec].
func (c *SealedCodec) Decode(data []byte) (*Session, error) {
	sealed, ok := bytes.CutPrefix(data, []byte(sealedPrefix))
	switch {
	case ok:
		plain, err := c.sealer.Open(sealed, nil)
		if err != nil {
			return nil, err
		}
		return c.inner.Decode(plain)
	case c.acceptPlain:
		return c.inner.Decode(data)
	}
	return nil, opErrBecause("open", ErrCorrupt, errNotSealed)
}

// hashedNames has Redis see the SHA-256 of an id, in hex, where it has to find something by it. In an event, whose
// readers need the id itself, Redis sees it sealed. See [WithHashedIDs].
type hashedNames struct{ sealer *Sealer }

func newHashedNames(codec Codec) hashedNames {
	sealed, ok := codec.(*SealedCodec)
	switch {
	case !ok:
		panic("session: NewRedisStorage: WithHashedIDs: the codec must be a SealedCodec, because values hold the ids")
	case sealed.writePlain:
		panic("session: NewRedisStorage: WithHashedIDs: the codec has WritePlain, and values hold the ids")
	}
	return hashedNames{sealed.ring.Sealer("session/event")}
}

// Key returns what the key of a session ends in.
func (hashedNames) Key(id string) string {
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:])
}

// Event returns what stands for the id in an event.
func (n hashedNames) Event(id string) string { return string(n.sealer.Seal([]byte(id), nil)) }

// ParseEvent is the reverse of Event. What it cannot read, be it of a key that is not in the ring yet, may be a change
// of any session.
func (n hashedNames) ParseEvent(text string) (id string, ok bool) {
	opened, err := n.sealer.open([]byte(text), nil)
	if err != nil || ValidateID(string(opened)) != nil {
		return "", false
	}
	return string(opened), true
}

// idOf returns a function that reads the id in a value.
func idOf(codec Codec) func(data []byte) (id string, ok bool) {
	return func(data []byte) (id string, ok bool) {
		s, err := codec.Decode(data)
		if err != nil || s == nil {
			return "", false
		}
		return s.id, true
	}
}
