package session

// The payload of an event is a letter, for a change its revision in 16 hex digits, and the id.
const (
	changedEvent = 'C'
	removedEvent = 'R'
)

// parseEvent never fails: what it does not understand could be any change, and that is what a Gap says.
func parseEvent(payload string) Event {
	if payload == "" {
		return Gap{}
	}
	kind, rest := payload[0], payload[1:]
	switch {
	case kind == removedEvent && ValidateID(rest) == nil:
		return Removed{ID: rest}
	case kind == changedEvent && len(rest) > 16 && ValidateID(rest[16:]) == nil:
		if revision, ok := parseRevision(rest[:16]); ok {
			return Changed{ID: rest[16:], Revision: revision}
		}
	}
	return Gap{}
}
