package expiry

import "maps"

// shrinkingMap is a map that gives back the memory of a flood: Go's maps do not shrink. The zero value is empty.
type shrinkingMap[T any] struct {
	entries map[string]T
	peak    int // the most entries since the map was made
}

const (
	// floodSize is how large a container must have been to be made anew when it is nearly empty.
	floodSize = 1024
	// shrinkAt is the part of its size that is left then: it copies one element for seven that were removed.
	shrinkAt = 8
)

func (m *shrinkingMap[T]) get(key string) T { return m.entries[key] }

func (m *shrinkingMap[T]) len() int { return len(m.entries) }

func (m *shrinkingMap[T]) set(key string, value T) {
	if m.entries == nil {
		m.entries = make(map[string]T)
	}
	m.entries[key] = value
	m.peak = max(m.peak, len(m.entries))
}

func (m *shrinkingMap[T]) remove(key string) {
	delete(m.entries, key)
	if m.peak > floodSize && len(m.entries) <= m.peak/shrinkAt {
		kept := make(map[string]T, len(m.entries))
		maps.Copy(kept, m.entries)
		m.entries, m.peak = kept, len(kept)
	}
}
