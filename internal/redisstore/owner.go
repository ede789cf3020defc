package redisstore

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed34611480/session/internal/errs"
)

// An owner's index is a sorted set under prefix + " !owner " + a hash of the owner: the ids of its values, each with
// the time until when it is listed, in microseconds. That time is also the stamp of the listing, and no id gets the
// same stamp twice while it is listed. A value's header keeps the owner's hash and the stamp.
//
// On a Cluster the index and the value are on different masters, so no step changes both. What holds is that no value
// outlives its listing:
//
//  1. A writer lists the id, and then writes the value with the stamp. The scripts let a value live until its stamp at
//     most. So a crash between the steps, or a write that arrives late, leaves no value that the index does not name.
//  2. A listing lasts for the value's lifetime and some slack. A Get or Unchanged that finds less, or that the listing
//     was made a quarter of the slack ago, lists the value anew, and then notes the new stamp in it. While that fails,
//     the value lives until the stamp that it has.
//  3. A listing is taken back only after a value with its stamp was deleted, or when no value can have it. If the id
//     has been listed anew since, the stamp differs, and the listing stays.
//
// A listing that was not taken back, after a crash or an expiry, ends by itself. So readers of an index look at each
// value.

var (
	//go:embed scripts/index.lua
	indexSource string
	//go:embed scripts/list.lua
	listSource string
	//go:embed scripts/unlist.lua
	unlistSource string
	//go:embed scripts/extend.lua
	extendSource string

	listScript   = newScript(headerSource + indexSource + listSource)
	unlistScript = newScript(headerSource + indexSource + unlistSource)
	extendScript = newScript(headerSource + extendSource)
)

const (
	timesLength = 12 + 12
	ownerLength = 32
	stampLength = 16
	timesAt     = 1 + 2*revisionLength + tokenLength // where the times begin in a value
	ownerAt     = timesAt + timesLength
	stampAt     = ownerAt + ownerLength
)

var (
	noOwner = strings.Repeat("0", ownerLength)
	noStamp = strings.Repeat("0", stampLength)
)

const errUnlisted = errs.SafeError("the listing in the owner's index was over before the write arrived")

// hashOf returns what stands for an owner in headers and in the key of its index; noOwner for "".
func hashOf(owner string) string {
	if owner == "" {
		return noOwner
	}
	sum := sha256.Sum256([]byte(owner))
	return hex.EncodeToString(sum[:ownerLength/2])
}

// index returns the key of an owner's index. It has two spaces more than the prefix, and an id has none, so it is no
// value's key.
func (s *Store) index(owner string) string { return s.ownKey("!owner " + owner) }

// listing is what the index of an owner has about a value.
type listing struct {
	member string // what stands for the id, in its key as well
	owner  string // its hash
	times  string // as in the header
	stamp  string
	before string // the stamp that the id had before this listing; "" for none
}

// listingOf returns the listing of a stored value, or false if it has no owner.
func listingOf(member, stored string) (l listing, ok bool) {
	if len(stored) < headerLength || stored[ownerAt:stampAt] == noOwner {
		return listing{}, false
	}
	return listing{
		member: member, owner: stored[ownerAt:stampAt], times: stored[timesAt:ownerAt], stamp: stored[stampAt:headerLength],
	}, true
}

// list lists a value that is to be written.
func (s *Store) list(ctx context.Context, l listing) (listing, error) {
	key := s.index(l.owner)
	reply, _, err := s.settle(ctx, key, func(on *redis.Conn, _ loss) (any, error) {
		return s.write(ctx, on, listScript, key, l.member, s.ttl.Milliseconds(), l.times)
	})
	if err != nil {
		return l, errs.During("the owner's index", err)
	}
	return l.stamped(reply)
}

// stamped returns a listing with the stamps from the reply of list.lua.
func (l listing) stamped(reply any) (listing, error) {
	parts, _ := reply.([]any)
	if len(parts) != 2 {
		return l, errUnexpectedReply
	}
	l.stamp, _ = parts[0].(string)
	l.before, _ = parts[1].(string)
	if len(l.stamp) != stampLength {
		return l, errUnexpectedReply
	}
	return l, nil
}

// upkeepTimeout bounds what a call does for an index beside its own work, which need not succeed. After a failure it is
// also the time for which no listing is renewed.
const upkeepTimeout = 250 * time.Millisecond

// unlist takes listings of one owner back, if it can. What is left in the index ends by itself.
func (s *Store) unlist(ctx context.Context, owner string, listings ...listing) {
	if len(listings) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, upkeepTimeout)
	defer cancel()
	args := make([]any, 0, 3*len(listings))
	for _, l := range listings {
		args = append(args, l.member, l.stamp, l.before)
	}
	// It is sent once: when a repetition succeeds, the first attempt may arrive later.
	_, _ = s.write(ctx, nil, unlistScript, s.index(owner), args...)
}

// due is a value that has to be listed anew.
type due struct {
	listing  // the present one
	revision string
	since    time.Duration // since its last use
}

// relist lists values anew, and notes that in them, if it can. They live on until their present listings end, and each
// use tries again. So a master that has an index, and does not answer, delays few calls and fails none.
func (s *Store) relist(ctx context.Context, all ...due) {
	if len(all) == 0 || time.Now().UnixNano() < s.relistAfter.Load() {
		return
	}
	caller := ctx
	ctx, cancel := context.WithTimeout(ctx, upkeepTimeout)
	defer cancel()
	if err := s.tryRelist(ctx, all); err != nil && caller.Err() == nil {
		s.failedListings.Add(1)
		s.relistAfter.Store(time.Now().Add(upkeepTimeout).UnixNano())
	}
}

// FailedListings returns how many attempts to list values anew have failed. No call fails because of that: its value
// ends with the listing that it has.
func (s *Store) FailedListings() uint64 { return s.failedListings.Load() }

func (s *Store) tryRelist(ctx context.Context, all []due) (failure error) {
	calls := make([]call, len(all))
	for i, d := range all {
		calls[i] = call{key: s.index(d.owner), args: []any{d.member, s.ttl.Milliseconds(), d.times}}
	}
	replies, failures := s.each(ctx, listScript, true, calls)
	var listed []due
	var notes []call
	for i, d := range all {
		err, present := failures[i], d.stamp
		if err == nil {
			d.listing, err = d.stamped(replies[i])
		}
		if d.before == present {
			d.before = "" // if that revision is gone below, no value has its stamp any more
		}
		if err != nil {
			failure = err
			continue
		}
		listed = append(listed, d)
		notes = append(notes, call{
			key:  s.ownKey(d.member),
			args: []any{d.revision, d.stamp, s.ttl.Milliseconds(), inMilliseconds(max(0, d.since))},
		})
	}
	replies, failures = s.each(ctx, extendScript, true, notes)
	for i, d := range listed {
		switch {
		case failures[i] != nil:
			failure = failures[i]
		case replies[i] == int64(0): // that revision never comes back, so no value will have the new stamp
			s.unlist(ctx, d.owner, d.listing)
		}
	}
	return failure
}

// takeBack takes the listing back of a value that was deleted, as delete.lua and put.lua tell it: owner and stamp.
func (s *Store) takeBack(ctx context.Context, member, ownerAndStamp string) {
	if len(ownerAndStamp) == ownerLength+stampLength {
		owner := ownerAndStamp[:ownerLength]
		s.unlist(ctx, owner, listing{member: member, owner: owner, stamp: ownerAndStamp[ownerLength:]})
	}
}
