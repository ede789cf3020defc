package live

import "container/list"

// room is how many objects there may be, which of them could make room, and which wait for a place. Guarded by
// Objects.mu.
//
// An object takes a place from before it is opened until after it was closed. So there are never more than the limit,
// however long those that have to go are in use.
type room[T any] struct {
	taken  int       // places
	ending int       // of them are those of objects that are being closed
	queue  list.List // of objects that wait for a place, in the order in which they came
	unused list.List // of open objects without users, the least recently used one first
}

func (r *room[T]) wait(obj *object[T]) { obj.place = r.queue.PushBack(obj) }

func (r *room[T]) idle(obj *object[T]) { obj.place = r.unused.PushBack(obj) }

// leave removes an object from the list that it is in, if any.
func (r *room[T]) leave(obj *object[T]) {
	if obj.place != nil {
		r.queue.Remove(obj.place) // without effect if it is in the other one
		r.unused.Remove(obj.place)
		obj.place = nil
	}
}

// first returns the first object of a list, or nil.
func first[T any](l *list.List) *object[T] {
	if l.Len() == 0 {
		return nil
	}
	obj, _ := l.Front().Value.(*object[T])
	return obj
}

// admitLocked gives free places to those who wait for one.
func (o *Objects[T]) admitLocked() {
	for o.room.taken < o.maxObjects {
		next := first[T](&o.room.queue)
		if next == nil {
			return
		}
		o.room.leave(next)
		o.room.taken++
		o.startLocked(next)
	}
}

// makeRoomLocked closes unused objects until as many places will be free as are waited for.
func (o *Objects[T]) makeRoomLocked() {
	for o.room.queue.Len() > o.room.ending {
		oldest := first[T](&o.room.unused)
		if oldest == nil {
			return
		}
		o.retireLocked(oldest, Evicted)
	}
}
