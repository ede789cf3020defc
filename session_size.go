package session

import (
	"math/bits"
	"unsafe"
)

// size returns the number of bytes of content, without the overhead of any encoding.
func (s *Session) size() int {
	n := len(s.id) + len(s.typ) + len(s.principal) + len(s.data) + len(s.unknown)
	for _, p := range s.metadata {
		n += len(p.key) + len(p.value)
	}
	return n
}

// heapBytes returns how many bytes of the heap a session takes, about.
func (s *Session) heapBytes() int {
	n := allocated(int(unsafe.Sizeof(*s))) + allocated(cap(s.metadata)*int(unsafe.Sizeof(pair{})))
	n += allocated(len(s.id)) + allocated(len(s.typ)) + allocated(len(s.principal))
	n += allocated(len(s.data)) + allocated(len(s.unknown))
	for _, p := range s.metadata {
		n += allocated(len(p.key)) + allocated(len(p.value))
	}
	return n
}

// allocated returns what Go's allocator takes for n bytes, about: tiny objects share a block, small ones have classes
// of sizes, an eighth of a power of two apart, and large ones have pages.
func allocated(n int) int {
	const page, mostSmall = 8 << 10, 32 << 10
	step := 16
	switch {
	case n < step:
		return n
	case n > mostSmall:
		step = page
	case n > 8*step:
		step = 1 << (bits.Len(uint(n-1)) - 4)
	}
	return (n + step - 1) / step * step
}
