package session

import "unsafe"

const cacheLine = 128 // processors fetch lines in pairs

// stripe chooses among what several processors would write to, so that they hardly ever write to the same: by where the
// caller's stack is. A goroutine stays with its own, mostly.
func stripe() uint {
	var here byte
	return stripeAt(uintptr(unsafe.Pointer(&here))) //nolint:gosec // only a number, never a pointer again
}

// stripeAt is for stacks of 2 KiB, which is the least, and more: 64 neighbors have 64 stripes, and eight of them eight
// stripes of uses.
func stripeAt(stack uintptr) uint { return uint(stack>>11 ^ stack>>17) }
