package session

import "crypto/rand"

const maxIDLength = 256

// NewID returns a fresh random id: at least 128 bits from the operating system's secure source, in visible ASCII. It is
// safe for concurrent use.
func NewID() string { return rand.Text() }

// ValidateID returns [ErrInvalidID] unless id is 1 to 256 bytes of visible ASCII (0x21 to 0x7E), which is what the
// Model Context Protocol allows in its session header. Storages check ids before anything else.
func ValidateID(id string) error {
	if len(id) == 0 || len(id) > maxIDLength {
		return ErrInvalidID
	}
	for i := range len(id) {
		if id[i] < 0x21 || id[i] > 0x7E {
			return ErrInvalidID
		}
	}
	return nil
}
