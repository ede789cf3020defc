package redisstore

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"
)

// On a Cluster, PUBLISH is passed on to all nodes, without acknowledgement. As each watch has a link to each master, it
// gets such an event once per master. SPUBLISH stays on the master and its replicas. There are 64 shard channels, one
// for each 256 slots: prefix + "!events:0{tag}", where the tag makes it fall on the first of the slots. A link
// subscribes to those that its master owns, see join.go. A writer takes the next one below its key that is on the same
// master, as far as its client knows.
//
// The rule that makes this safe is in announce.lua: the script publishes as before unless the shard channel has reached
// all links. So what a writer or a link knows about slots does not matter for correctness, nor whether a server, a user
// or a replica of an older version can use shard channels at all. The channels belong to the library: a subscriber of
// another program in one of them, and not in the channel for events, could stand for a link that is missing.

const (
	slots     = 16384
	groupSize = 256 // slots for each shard channel
	groups    = slots / groupSize
)

// groupTags returns the hash tag of each group's channel: the first number that falls on the first slot of the group.
var groupTags = sync.OnceValue(func() (tags [groups]string) {
	for number, found := 0, 0; found < groups; number++ {
		tag := strconv.Itoa(number)
		if slot := slotOf(tag); slot%groupSize == 0 && tags[slot/groupSize] == "" {
			tags[slot/groupSize] = tag
			found++
		}
	}
	return tags
})

// shardChannel returns the channel of a group of slots.
func shardChannel(events string, group int) string { return events + "{" + groupTags()[group] + "}" }

// announcing returns the arguments of a script on a key: with a shard channel behind them if it announces something.
func (s *Store) announcing(ctx context.Context, sc script, key string, args []any) []any {
	events := s.events.Load()
	if !sc.announces || !s.shards || s.refused.Load() || events == nil {
		return args
	}
	cluster, _ := s.base.(*redis.ClusterClient)
	master, err := cluster.MasterForKey(ctx, key)
	if err != nil {
		return args // the client knows no masters, and would look for them again for each channel
	}
	for group, n := slotOf(key)/groupSize, 0; n < groups; group, n = (group+groups-1)%groups, n+1 {
		channel := shardChannel(*events, group)
		if at, err := cluster.MasterForKey(ctx, channel); err == nil && at == master {
			return slices.Concat(args, []any{channel})
		}
	}
	return args
}

// canShard reports whether shard channels may be of use. With a brace in the prefix, a tag would not choose the slot.
func canShard(base redis.UniversalClient, prefix string) bool {
	return realCluster(base) != nil && !strings.ContainsAny(prefix, "{}")
}

// Broadcasts returns how many events have reached the watches of this store by PUBLISH, although it is on a Cluster.
func (s *Store) Broadcasts() uint64 { return s.broadcasts.Load() }

// ownerOf returns the address of the master that has a slot, or "".
func ownerOf(all []redis.ClusterSlot, slot int) string {
	for _, r := range all {
		if r.Start <= slot && slot <= r.End && len(r.Nodes) > 0 {
			return r.Nodes[0].Addr
		}
	}
	return ""
}

// slotOf returns the slot of a key on a Cluster: 14 bits of the CRC-16 by XMODEM of its hash tag, or else of all of it.
func slotOf(key string) int {
	if _, tail, ok := strings.Cut(key, "{"); ok {
		if end := strings.Index(tail, "}"); end > 0 {
			key = tail[:end]
		}
	}
	var crc uint16
	for i := range len(key) {
		crc = crc<<8 ^ crcTable[byte(crc>>8)^key[i]]
	}
	return int(crc % slots)
}

var crcTable = func() (table [256]uint16) {
	for i := range table {
		crc := uint16(i) << 8
		for range 8 {
			carry := crc & 0x8000
			crc <<= 1
			if carry != 0 {
				crc ^= 0x1021
			}
		}
		table[i] = crc
	}
	return table
}()
