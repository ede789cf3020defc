package nearcache

// idMap is a map by id that gives back the memory of a flood: Go's maps do not shrink. The zero value is empty.
type idMap[T any] struct {
	byID map[string]T
	peak int // the most entries since byID was made
}

// floodSize is how many entries an idMap must have had to be made anew when it is empty again.
const floodSize = 1024

func (m *idMap[T]) get(id string) T { return m.byID[id] }

func (m *idMap[T]) set(id string, value T) {
	if m.byID == nil {
		m.byID = make(map[string]T)
	}
	m.byID[id] = value
	m.peak = max(m.peak, len(m.byID))
}

func (m *idMap[T]) remove(id string) {
	delete(m.byID, id)
	if len(m.byID) == 0 && m.peak > floodSize {
		m.byID, m.peak = nil, 0
	}
}

func (m *idMap[T]) len() int { return len(m.byID) }
