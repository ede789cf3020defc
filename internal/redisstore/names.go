package redisstore

// Names says what Redis sees of the ids, which may be secrets. It is safe for concurrent use.
type Names interface {
	// Key returns what stands for an id in keys: the same text each time, another one for each id, and without a space.
	Key(id string) string

	// Event returns what stands for an id in events.
	Event(id string) string

	// ParseEvent is the reverse of Event. It is false for what it cannot read: that may be any id.
	ParseEvent(text string) (id string, ok bool)
}

// plainNames shows the ids as they are.
type plainNames struct{ valid func(id string) bool }

// Key implements [Names].
func (plainNames) Key(id string) string { return id }

// Event implements [Names].
func (plainNames) Event(id string) string { return id }

// ParseEvent implements [Names].
func (n plainNames) ParseEvent(text string) (id string, ok bool) { return text, n.valid(text) }
