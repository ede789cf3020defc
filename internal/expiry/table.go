// Package expiry holds values until their time is over: until they have been idle for too long, or until an end of
// their own.
package expiry

import (
	"container/heap"
	"container/list"
	"iter"
	"time"
)

// Table finds values by id, by the group they belong to, and by when they are over. No operation costs more than the
// logarithm of its size, and it gives back the memory of a flood. It is not safe for concurrent use.
//
// What is over stays until the caller removes it: see [Table.Over].
type Table[V any] struct {
	idle   time.Duration
	byID   shrinkingMap[*Entry[V]]
	groups shrinkingMap[*list.List]
	byUse  list.List // the entries with the table's idle time, the longest unused one first
	byEnd  byEnd[V]  // the other ones, and those that have an end, the first one to end first
}

// Lifetime says when a value is over.
type Lifetime struct {
	Idle time.Duration // how long it lives without a use; 0: the table's idle time; negative: for ever
	End  time.Time     // when it is over in any case; the zero time: never
}

// Entry is a value in a [Table]. Callers change nothing but Value.
type Entry[V any] struct {
	ID     string
	Group  string // "": none
	Value  V
	UsedAt time.Time // the last Put or Use

	lifetime Lifetime
	inUse    *list.Element // in byUse; nil: it has an idle time of its own, or none
	inEnd    int           // in byEnd; -1: it has no end, and is in byUse
	inGroup  *list.Element // nil: it has no group
}

// New returns an empty table for values that live for an idle time, which must be positive, if they say nothing else.
func New[V any](idle time.Duration) *Table[V] { return &Table[V]{idle: idle} }

// Len returns the number of entries, including those that are over.
func (t *Table[V]) Len() int { return t.byID.len() }

// Get returns the entry of an id, over or not, or nil. It is no use of the value.
func (t *Table[V]) Get(id string) *Entry[V] { return t.byID.get(id) }

// Put adds an entry, used now, and removes that of the same id.
func (t *Table[V]) Put(id, group string, value V, lifetime Lifetime, now time.Time) {
	if old := t.byID.get(id); old != nil {
		t.Remove(old)
	}
	e := &Entry[V]{ID: id, Group: group, Value: value, UsedAt: now, lifetime: lifetime, inEnd: -1}
	t.byID.set(id, e)
	if lifetime.Idle == 0 {
		e.lifetime.Idle = t.idle
		e.inUse = t.byUse.PushBack(e)
	}
	if e.inUse == nil || !lifetime.End.IsZero() {
		heap.Push(&t.byEnd, e)
	}
	if group == "" {
		return
	}
	members := t.groups.get(group)
	if members == nil {
		members = list.New()
		t.groups.set(group, members)
	}
	e.inGroup = members.PushBack(e)
}

// Use starts the idle time of an entry anew. Uses are noted in the order of their times.
func (t *Table[V]) Use(e *Entry[V], now time.Time) {
	e.UsedAt = now
	if e.inUse != nil {
		t.byUse.MoveToBack(e.inUse)
	} else {
		heap.Fix(&t.byEnd, e.inEnd)
	}
}

// Remove removes an entry, which must be in the table.
func (t *Table[V]) Remove(e *Entry[V]) {
	t.byID.remove(e.ID)
	if e.inUse != nil {
		t.byUse.Remove(e.inUse)
	}
	if e.inEnd >= 0 {
		heap.Remove(&t.byEnd, e.inEnd)
	}
	if e.inGroup == nil {
		return
	}
	members := t.groups.get(e.Group)
	members.Remove(e.inGroup)
	if members.Len() == 0 {
		t.groups.remove(e.Group)
	}
}

// Over returns an entry that is over, or nil.
func (t *Table[V]) Over(now time.Time) *Entry[V] {
	if oldest := t.Idlest(); oldest != nil && !now.Before(oldest.UsedAt.Add(t.idle)) {
		return oldest
	}
	if len(t.byEnd) > 0 && t.byEnd[0].Over(now) {
		return t.byEnd[0]
	}
	return nil
}

// Idlest returns the entry that was not used for longest among those with the table's idle time, or nil.
func (t *Table[V]) Idlest() *Entry[V] {
	front := t.byUse.Front()
	if front == nil {
		return nil
	}
	return entryOf[V](front)
}

// GroupLen returns the number of entries of a group, including those that are over.
func (t *Table[V]) GroupLen(group string) int {
	if members := t.groups.get(group); members != nil {
		return members.Len()
	}
	return 0
}

// Group iterates over the entries of a group, in the order in which they were put. The entry at hand may be removed.
func (t *Table[V]) Group(group string) iter.Seq[*Entry[V]] {
	return func(yield func(*Entry[V]) bool) {
		members := t.groups.get(group)
		if members == nil {
			return
		}
		for at := members.Front(); at != nil; {
			next := at.Next()
			if !yield(entryOf[V](at)) {
				return
			}
			at = next
		}
	}
}

func entryOf[V any](at *list.Element) *Entry[V] {
	e, _ := at.Value.(*Entry[V])
	return e
}

// Over reports whether the time of an entry is over.
func (e *Entry[V]) Over(now time.Time) bool {
	return e.lifetime.Idle > 0 && !now.Before(e.UsedAt.Add(e.lifetime.Idle)) ||
		!e.lifetime.End.IsZero() && !now.Before(e.lifetime.End)
}

// end returns when an entry in byEnd is over. One that never is has no place in the order: it comes last. If it is in
// byUse, too, its uses do not move it here.
func (e *Entry[V]) end() time.Time {
	end := e.lifetime.End
	if e.inUse == nil && e.lifetime.Idle > 0 {
		if idle := e.UsedAt.Add(e.lifetime.Idle); end.IsZero() || idle.Before(end) {
			return idle
		}
	}
	return end
}

// byEnd is a heap.
type byEnd[V any] []*Entry[V]

// Len implements [heap.Interface], like the methods that follow.
func (h *byEnd[V]) Len() int { return len(*h) }

func (h *byEnd[V]) Less(i, j int) bool {
	a, b := (*h)[i].end(), (*h)[j].end()
	return !a.IsZero() && (b.IsZero() || a.Before(b))
}

func (h *byEnd[V]) Swap(i, j int) {
	s := *h
	s[i], s[j] = s[j], s[i]
	s[i].inEnd, s[j].inEnd = i, j
}

func (h *byEnd[V]) Push(e any) {
	added, _ := e.(*Entry[V])
	added.inEnd = len(*h)
	*h = append(*h, added)
}

func (h *byEnd[V]) Pop() any {
	last := len(*h) - 1
	e := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	if cap(*h) > floodSize && last <= cap(*h)/shrinkAt {
		*h = append(make(byEnd[V], 0, 2*last), *h...)
	}
	return e
}
