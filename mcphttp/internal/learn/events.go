package learn

import "bytes"

// events finds the data in a stream of server-sent events, and hands it to the message that the event carries.
type events struct {
	state   lineState
	mark    int  // bytes of a byte order mark that the stream begins with
	matched int  // bytes of "data" that the line begins with
	hasData bool // the event has a line of data already
	cr      bool // the last byte was a CR: an LF after it belongs to the same line end
}

type lineState uint8

const (
	inName  lineState = iota // at the start of a line, or in the name of its field
	inSpace                  // after "data:": one space is no data
	inData
	skips // the rest of the line does not count
)

const (
	dataField     = "data"
	byteOrderMark = "\ufeff" // which clients skip at the start of a stream
)

// scan reads p until a byte completes a message with a task, and returns the index of that byte, or -1.
func (e *events) scan(p []byte, m *message) int {
	for i := 0; i < len(p); i++ {
		c := p[i]
		if e.mark < len(byteOrderMark) && e.beginStream(c) {
			continue
		}
		if e.cr && c == '\n' {
			e.cr = false
			continue
		}
		e.cr = c == '\r'
		switch {
		case c == '\n' || c == '\r':
			e.endLine(m)
		case e.state == inName:
			e.name(c, m)
		case e.state == skips:
			i += lineEnd(p[i:]) - 1
		case e.state == inSpace && c == ' ':
			e.state = inData
		default:
			e.state = inData
			end := i + lineEnd(p[i:])
			if at := m.scan(p[i:end]); at >= 0 {
				return i + at
			}
			i = end - 1
		}
	}
	return -1
}

// beginStream reports whether a byte at the start of the stream is one of a byte order mark.
func (e *events) beginStream(c byte) bool {
	if c == byteOrderMark[e.mark] {
		e.mark++
		return true
	}
	if e.mark > 0 {
		e.state = skips // it is another character, and no field begins with that
	}
	e.mark = len(byteOrderMark)
	return false
}

// name takes in a byte of the name of a field.
func (e *events) name(c byte, m *message) {
	switch {
	case e.matched < len(dataField) && c == dataField[e.matched]:
		e.matched++
	case e.matched == len(dataField) && c == ':':
		e.state = inSpace
		e.beginData(m)
	default:
		e.state = skips
	}
}

func (e *events) beginData(m *message) {
	if e.hasData {
		m.scan([]byte{'\n'}) // lines of data are joined by it; it completes nothing
	}
	e.hasData = true
}

func (e *events) endLine(m *message) {
	switch {
	case e.state == inName && e.matched == 0: // a blank line ends the event
		m.reset()
		e.hasData = false
	case e.state == inName && e.matched == len(dataField): // "data" alone is an empty line of data
		e.beginData(m)
	}
	e.state, e.matched = inName, 0
}

// lineEnd returns how many bytes of p are before the end of the line.
func lineEnd(p []byte) int {
	if n := bytes.IndexByte(p, '\n'); n >= 0 {
		p = p[:n]
	}
	if n := bytes.IndexByte(p, '\r'); n >= 0 {
		p = p[:n]
	}
	return len(p)
}
